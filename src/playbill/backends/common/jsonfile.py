"""Read and write JSON files: errors name file, line and column; a write is complete or doesn't happen."""

from __future__ import annotations

import gc
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonslips import name_slip
from playbill.backends.common.surrogates import is_torn
from playbill.backends.errors import FileFormatError

__all__ = [
    "DEEPEST",
    "DEEPEST_OWN",
    "Repeating",
    "is_deeper",
    "parse_json",
    "parse_own_line",
    "read_json",
    "write_atomically",
    "write_json",
]

DEEPEST = 100
"""Levels of nesting that are read of any JSON; those who copy, compare and write it recurse over it."""
DEEPEST_OWN = DEEPEST + 20
"""Levels of nesting that are read of what Playbill wrote, which holds what it read."""
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}]|-?Infinity|NaN|-?\d[\d.eE+-]*', re.DOTALL)
_WORTH_A_PAUSE = 1_000_000
"""Characters from which on it matters that the garbage collector looks at each object that parsing makes."""
_LONG = 300
"""Digits of a number that may be too large to be read."""
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Repeating(dict[str, Any]):
    """An object in which keys stand more than once; it holds the last value of each, and says which keys."""

    repeated: tuple[str, ...] = ()


def parse_json(text: str, where: str, *, repeats: bool = False, deepest: int = DEEPEST) -> Any:
    """Parse JSON text. ``where`` names its source in the FileFormatError that is raised if it isn't JSON.

    NaN, Infinity, numbers beyond any type, nesting beyond ``deepest`` levels and halves of surrogate pairs are
    refused. So is a key that stands twice in one object, since which is meant can't be known; with ``repeats`` such
    an object is a `Repeating`.
    """
    hook = _repeating if repeats else _unique
    try:
        with _no_collections(len(text)):
            value = json.loads(text, parse_constant=_refuse, parse_float=_float, object_pairs_hook=hook)
        if text.count("[") + text.count("{") > deepest and is_deeper(value, deepest):
            raise RecursionError
        if _HALF.search(text) and any(is_torn(s) for s in _strings(value)):
            raise ValueError("a string holds half of a surrogate pair")
        return value
    except json.JSONDecodeError as e:
        place, words = name_slip(text, e.pos, e.msg)
        line, column = _line_and_column(text, place)
        raise FileFormatError(f"{where}:{line}:{column}: not JSON: {words}") from None
    except RecursionError:
        raise FileFormatError(f"{where}:1:1: not JSON that can be read: nested too deeply") from None
    except ValueError as e:
        line, column = _line_and_column(text, _first_bad(text))
        raise FileFormatError(f"{where}:{line}:{column}: not JSON: {e}") from None


@contextmanager
def _no_collections(length: int) -> Iterator[None]:
    """Pause the garbage collector while a long text is parsed, which makes no cycles: it takes half of the time."""
    if length < _WORTH_A_PAUSE or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def parse_own_line(line: bytes) -> Any:
    """Return the JSON value in a line that Playbill wrote; None where it is none, or not one that Playbill writes."""
    try:
        value = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    nested = line.count(b"[") + line.count(b"{") > DEEPEST_OWN and is_deeper(value, DEEPEST_OWN)
    return None if nested else value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _float(digits: str) -> float:
    number = float(digits)
    if number - number != 0:
        raise ValueError("a number is too large")
    return number


def _repeating(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    several = Repeating(found)
    several.repeated = tuple(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
    return several


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _repeating(pairs)
    if isinstance(found, Repeating):
        raise ValueError(f"the key '{found.repeated[0]}' stands twice in one object")
    return found


def _strings(value: Any) -> Iterator[str]:
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value


def is_deeper(value: Any, levels: int) -> bool:
    """Tell whether JSON containers stand in each other more than so many levels deep. Doesn't recurse."""
    layer = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        layer = [v for c in layer for v in (c.values() if isinstance(c, dict) else c) if isinstance(v, (dict, list))]
        if not layer:
            return False
    return True


def _first_bad(text: str) -> int:
    """Return the place of the value for which a text that parses was refused; called only once there is one."""
    keys: list[set[str]] = []
    for token in _TOKEN.finditer(text):
        if token[0] == "{":
            keys.append(set())
        elif token[0] == "}":
            keys.pop()
        elif token[0][0] != '"':
            if _is_bad_number(token[0]):
                return token.start()
        else:
            name = json.loads(token[0]) if "\\" in token[0] else token[0][1:-1]
            is_key = keys and text[token.end() : token.end() + 200].lstrip().startswith(":")
            if is_torn(name) or (is_key and name in keys[-1]):
                return token.start()
            if is_key:
                keys[-1].add(name)
    return 0


def _is_bad_number(digits: str) -> bool:
    if len(digits) < _LONG and digits.isdigit():  # most are; in a large text it counts
        return False
    try:
        json.loads(digits, parse_constant=_refuse, parse_float=_float)
    except ValueError:
        return True
    return False


def _line_and_column(text: str, place: int) -> tuple[int, int]:
    before = text[:place]
    return before.count("\n") + 1, place - (before.rfind("\n") + 1) + 1


def read_json(path: Path, *, repeats: bool = False, deepest: int = DEEPEST) -> Any:
    """Read a JSON file, with or without a byte order mark.

    Raises FileFormatError for what is not JSON or not UTF-8, and OSError as the system gives it.
    """
    data = path.read_bytes()
    if data.startswith(_UTF16_MARKS):
        raise FileFormatError(f"{path}:1:1: is UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        before = data[: e.start].decode("utf-8-sig", "replace")
        line, column = _line_and_column(before, len(before))
        raise FileFormatError(f"{path}:{line}:{column}: not UTF-8") from None
    return parse_json(text, str(path), repeats=repeats, deepest=deepest)


def write_atomically(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a text file so that a reader sees the old one or the new one, whole. ``mode`` as for chmod.

    A link is followed: the file it points to is replaced, and the link stays.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode is None:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, *, mode: int | None = None) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomically(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n", mode=mode)
