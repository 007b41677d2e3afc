"""Read the objects of a JSONL or JSON file one by one, each with its line. Knows no dialogue."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import parse_json
from playbill.backends.errors import FileFormatError, InputError

__all__ = ["Item", "read_items"]

_WHITE = " \t\r\n"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a file, and the line it begins on; or, where it can't be read, what is wrong with it."""

    line: int
    value: Any = None
    problem: str | None = None
    column: int | None = None


def read_items(path: Path) -> Iterator[Item]:
    """Yield the objects of a file: those of a JSON list, or one a line; a single object over several lines is one.

    A file of lines is streamed. Blank lines, a byte order mark and CRLF mean nothing. Raises InputError for
    a file that can't be read at all.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            if head.startswith(_UTF16):
                raise InputError(f"{path}: is UTF-16; save it as UTF-8")
            file.seek(0)
            if _is_one_value(path, head):
                yield from _whole(file.read())
                return
            for number, line in enumerate(file, 1):
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if line.strip():
                    yield _line(line, number)
    except FileNotFoundError as e:
        raise InputError(f"no such input: {path}") from e
    except OSError as e:
        raise InputError(f"can't read the input {path}: {e.strerror}") from e


def _is_one_value(path: Path, head: bytes) -> bool:
    """Tell whether the file is one JSON value: a list, or an object whose first line is not all of it."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"["):
        return True
    if path.suffix.lower() != ".json" or not text.startswith(b"{"):
        return False
    try:
        json.loads(text.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return True
    return False


def _line(line: bytes, number: int) -> Item:
    try:
        return Item(number, parse_json(line.decode(), ""))
    except UnicodeDecodeError as e:
        return Item(number, problem=f"not UTF-8 at byte {e.start} of the line")
    except FileFormatError as e:
        return _fault(e, number)


def _fault(e: FileFormatError, first_line: int) -> Item:
    """Return what is wrong with a text that was parsed without a name, so that its error begins ``:LINE:COLUMN: ``."""
    _, line, column, text = str(e).split(":", 3)
    return Item(first_line + int(line) - 1, problem=text.strip(), column=int(column))


def _whole(content: bytes) -> Iterator[Item]:
    """Yield the items of a file that is one list or one object, each parsed from where it stands."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        yield Item(content.count(b"\n", 0, e.start) + 1, problem="not UTF-8")
        return
    try:
        value = parse_json(text, "")
    except FileFormatError as e:
        yield _fault(e, 1)
        return
    if isinstance(value, dict):
        yield Item(1, value)
        return
    for line, element in zip(_lines_of_elements(text), value, strict=True):
        yield Item(line, element)


def _lines_of_elements(text: str) -> Iterator[int]:
    """Yield the line on which each element of a list begins; the text is known to be a list in JSON."""
    decoder = json.JSONDecoder()
    place, line, counted = text.index("[") + 1, 1, 0
    while True:
        while text[place] in _WHITE or text[place] == ",":
            place += 1
        if text[place] == "]":
            return
        line += text.count("\n", counted, place)
        counted = place
        yield line
        place = decoder.raw_decode(text, place)[1]
