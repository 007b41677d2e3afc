"""The user's cache: its place, and hashes of large files, computed once. Everything in it may be deleted."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from playbill.backends.common.home import cache_folder, expanded
from playbill.backends.common.jsonfile import write_json

__all__ = ["cache_directory", "file_sha256", "known_sha256", "remember_sha256"]


def cache_directory() -> Path:
    """``PLAYBILL_CACHE``, else the user's cache directory. It need not exist yet."""
    named = os.environ.get("PLAYBILL_CACHE")
    return expanded(named).resolve() if named else cache_folder()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content; computed again only when its size or time of change is another."""
    path = path.resolve()
    known = known_sha256(path)
    if known is not None:
        return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    remember_sha256(path, digest)
    return digest


def remember_sha256(path: Path, digest: str) -> None:
    """Note the hash of a file that was just written or read. A cache that can't be written to is no error."""
    note = _note(path.resolve())
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, {"file": str(path.resolve()), "stamp": _stamp(path), "sha256": digest})
    except OSError:
        return


def known_sha256(path: Path) -> str | None:
    """Return the noted hash of a file; None where it was never computed, or the file has changed since."""
    path = path.resolve()
    try:
        noted = json.loads(_note(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(noted, dict) or noted.get("stamp") != _stamp(path) or noted.get("file") != str(path):
        return None
    return str(noted["sha256"])


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _note(path: Path) -> Path:
    name = hashlib.sha256(str(path).encode()).hexdigest()[:32]
    return cache_directory() / "sha256" / f"{name}.json"
