"""Insert entries into a registry file as text, so that every byte of what is there stays. Judges no entry."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import parse_json, write_atomically
from playbill.backends.errors import FileFormatError, InputError

__all__ = ["Insertion", "plan_insertion"]

_FIRST_INDENT = re.compile(r"\A\ufeff?\s*\[[ \t]*\r?\n([ \t]+)\S")


@dataclass(frozen=True)
class Insertion:
    """A registry file before and after; ``write`` makes it so, unless the file has changed meanwhile."""

    path: Path
    before: str | None
    after: str

    def diff(self) -> str:
        """Return what changes, as a unified diff."""
        old = (self.before or "").splitlines(keepends=True)
        new = self.after.splitlines(keepends=True)
        lines = difflib.unified_diff(old, new, str(self.path), str(self.path), n=2)
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def write(self) -> None:
        """Write the file whole. Raises InputError where somebody else changed it since it was read."""
        if _read(self.path) != self.before:
            raise InputError(f"{self.path} has changed while you looked; nothing was written, try again")
        try:
            write_atomically(self.path, self.after)
        except OSError as e:
            raise InputError(f"can't write {self.path}: {e.strerror or e}") from e


def plan_insertion(path: Path, entries: Sequence[dict[str, Any]]) -> Insertion:
    """Entries at the end of a registry file, in its own indentation and line ends.

    Raises FileFormatError where the file is no registry, and InputError where it has an entry of such a name.
    """
    before = _read(path)
    if before is None:
        return Insertion(path, None, _with("[]\n", entries, empty=True))
    content = parse_json(before.removeprefix("\ufeff"), str(path), repeats=True)
    if not isinstance(content, list):
        raise FileFormatError(f"{path}:1:1: a registry is a list of entries, [{{…}}, …]")
    _refuse_namesakes(path, content, entries)
    return Insertion(path, before, _with(before, entries, empty=not content))


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as e:
        raise FileFormatError(f"{path}: not UTF-8 at byte {e.start}") from e
    except OSError as e:
        raise InputError(f"can't read {path}: {e.strerror or e}") from e


def _refuse_namesakes(path: Path, content: list[Any], entries: Sequence[dict[str, Any]]) -> None:
    there = {e.get("model_name"): i for i, e in enumerate(content) if isinstance(e, dict)}
    for entry in entries:
        if entry["model_name"] in there:
            place = f"{path} $[{there[entry['model_name']]}]"
            raise InputError(f"'{entry['model_name']}' is there already: {place}; take it out, or give --name")


def _with(text: str, entries: Sequence[dict[str, Any]], *, empty: bool) -> str:
    """Return the text with entries before its closing bracket."""
    newline = "\r\n" if "\r\n" in text else "\n"
    found = _FIRST_INDENT.match(text)
    indent = found[1] if found else "  "
    end = text.rindex("]")
    head, tail = text[:end].rstrip(), text[end:]
    added = f",{newline}".join(_indented(entry, indent, newline) for entry in entries)
    return f"{head}{'' if empty else ','}{newline}{added}{newline}{tail}"


def _indented(entry: dict[str, Any], indent: str, newline: str) -> str:
    unit = indent if set(indent) == {"\t"} else " " * len(indent)
    lines = json.dumps(entry, ensure_ascii=False, indent=unit).splitlines()
    return newline.join(f"{indent}{line}" for line in lines)
