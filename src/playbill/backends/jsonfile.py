"""Reading and writing JSON files: errors with file, line and column; writes that are whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from playbill.backends.errors import FileFormatError

__all__ = ["parse_json", "read_json", "write_atomically", "write_json"]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_json(text: str, where: str) -> Any:
    """Parse JSON text. ``where`` names its source in the FileFormatError that is raised if it isn't JSON.

    NaN and Infinity are refused, as the standard does. Of a key that stands twice in an object, that is
    refused too: which of the two is meant can't be known.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as e:
        raise FileFormatError(f"{where}:{e.lineno}:{e.colno}: not JSON: {e.msg}") from e
    except RecursionError as e:
        raise FileFormatError(f"{where}: not JSON that can be read: nested too deeply") from e
    except ValueError as e:
        raise FileFormatError(f"{where}: {e}") from e


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{twice}' stands twice in one object")
    return found


def read_json(path: Path) -> Any:
    """Read a JSON file, with or without a byte order mark.

    Raises FileFormatError for what is not JSON or not UTF-8, and OSError as the system gives it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise FileFormatError(f"{path}: not UTF-8 at byte {e.start}") from e
    return parse_json(text, str(path))


def write_atomically(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a text file so that a reader sees the old one or the new one, whole. ``mode`` as for chmod.

    A link is followed: the file it points to is replaced, and the link stays.
    """
    path = path.resolve()
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
