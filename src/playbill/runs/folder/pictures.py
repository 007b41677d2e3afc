"""The pictures of a run, each kept once beside the records, by its hash: ``pictures/<sha256>.png``.

A record names them there and holds none. Knows no model, and opens no picture.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from playbill.backends.errors import RunError
from playbill.backends.prompt.pictures import Picture
from playbill.runs.folder.inside import check_inside

__all__ = ["PICTURES", "PictureFolder", "gather_pictures", "picture_file", "referring_to_pictures", "stored_problem"]

PICTURES = "pictures"
_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp"}


def picture_file(sha256: str, media_type: str) -> str:
    """Return the name of a picture's file, relative to the run's folder."""
    return f"{PICTURES}/{sha256}{_SUFFIXES.get(media_type, '')}"


class PictureFolder:
    """The pictures of one run. Several models and threads may keep the same one; it is written once."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._kept: set[str] = set()

    def keep(self, pictures: Iterable[Picture]) -> None:
        """Write pictures that aren't there yet, each whole or not at all. Raises RunError where the disk is full."""
        for picture in pictures:
            if picture.content and picture.sha256 not in self._kept:
                self._write(picture)
                self._kept.add(picture.sha256)

    def _write(self, picture: Picture) -> None:
        name = picture_file(picture.sha256, picture.media_type)
        check_inside(self._run, *name.split("/"))
        path = self._run / name
        try:
            if path.is_file() and path.stat().st_size == len(picture.content):
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(picture.content)
            os.replace(file.name, path)
        except OSError as e:
            raise RunError(f"can't keep a picture in {path}: {e.strerror or e}") from e


def gather_pictures(runs: Iterable[Path], target: Path) -> list[str]:
    """Copy the pictures of runs into another run's folder, each once; return those that are not what their name says.

    Raises OSError where that can't be written.
    """
    wrong = []
    for run in runs:
        check_inside(run, PICTURES)
        for path in sorted((run / PICTURES).glob("*")):
            copy = target / PICTURES / path.name
            if copy.exists() or not path.is_file():
                continue
            check_inside(run, PICTURES, path.name)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
            if _sha256_of(copy) != path.stem:
                copy.unlink()
                wrong.append(str(path))
    return wrong


def referring_to_pictures(value: Any, pictures: Iterable[Picture]) -> Any:
    """Return a JSON value in which the data of pictures, alone or in a data URL, is the name of their file instead."""
    names = {p.data: picture_file(p.sha256, p.media_type) for p in pictures if p.content}
    return _referring(value, names) if names else value


def _referring(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value.partition(";base64,")[2] if value.startswith("data:") else value, value)
    if isinstance(value, Mapping):
        return {key: _referring(each, names) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_referring(each, names) for each in value]
    return value


def stored_problem(run: Path, fact: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the kept picture that a record speaks of; None where it is there and has its hash."""
    sha256, media_type = str(fact.get("sha256")), str(fact.get("mime"))
    path = run / picture_file(sha256, media_type)
    if len(sha256) != 64 or not sha256.isalnum() or not path.is_file():
        return f"{PICTURES}/ has no picture {sha256[:12]}…"
    found = _sha256_of(path)
    return None if found == sha256 else f"{path.name} is another picture: its hash is {found[:12]}…"


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
