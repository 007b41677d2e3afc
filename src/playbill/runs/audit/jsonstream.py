"""Read JSON of any size piece by piece: the elements of a list, the members of an object. Holds one at a time."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from playbill.backends.common.jsonfile import DEEPEST, is_deeper
from playbill.backends.errors import FileFormatError

__all__ = ["JsonStream"]

_CHUNK = 1 << 20
_LARGEST = 1 << 28
_SPACE = " \t\r\n"


class JsonStream:
    """A file's JSON, taken in order.

    Every method raises FileFormatError, with the place, for what is not JSON or not what was asked for.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder()
        self._buffer = ""
        self._at = 0
        self._line = 1
        self._ended = False

    def peek(self) -> str:
        """Return the next character that is no white space; empty at the end."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more(_CHUNK):
                return ""

    def value(self) -> Any:
        """Return the next whole value."""
        self.peek()
        want = _CHUNK
        while True:
            try:
                value, end = self._json.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as e:
                if len(self._buffer) - self._at > _LARGEST or not self._more(want):
                    raise self._wrong(e.msg, e.pos) from e
            except RecursionError as e:
                raise self._wrong("nested too deeply", self._at) from e
            except ValueError as e:
                raise self._wrong("a number is too large", self._at) from e
            else:
                if is_deeper(value, DEEPEST):
                    raise self._wrong("nested too deeply", self._at)
                if end < len(self._buffer) or not self._more(want):
                    self._at = end
                    return value
            want *= 2

    def items(self) -> Iterator[Any]:
        """Yield the elements of the list that comes next."""
        self._take("[")
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self._take(",]") == "]":
                return

    def members(self) -> Iterator[str]:
        """Yield the names of the object that comes next; the caller takes each one's value before it goes on."""
        self._take("{")
        if self.peek() == "}":
            self._at += 1
            return
        while True:
            name = self.value()
            if not isinstance(name, str):
                raise self._wrong("a name in quotes is missing", self._at)
            self._take(":")
            yield name
            if self._take(",}") == "}":
                return

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            raise self._wrong("something follows the value", self._at)

    def _take(self, wanted: str) -> str:
        found = self.peek()
        if not found or found not in wanted:
            raise self._wrong(f"expected {' or '.join(wanted)}", self._at)
        self._at += 1
        return found

    def _more(self, size: int) -> bool:
        """Read on, and forget what was used. False at the file's end."""
        if self._ended:
            return False
        self._line += self._buffer.count("\n", 0, self._at)
        self._buffer = self._buffer[self._at :]
        self._at = 0
        data = self._file.read(size)
        try:
            self._buffer += self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as e:
            raise FileFormatError(f"{self._path}: not UTF-8 after line {self._line}") from e
        self._ended = not data
        return bool(data)

    def _wrong(self, what: str, at: int) -> FileFormatError:
        line = self._line + self._buffer.count("\n", 0, at)
        column = at - self._buffer.rfind("\n", 0, at)
        return FileFormatError(f"{self._path}:{line}:{column}: not JSON: {what}")
