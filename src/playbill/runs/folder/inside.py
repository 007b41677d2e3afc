"""Keep a run's writing inside of its folder, whoever made the folder: no links, no names that lead out of it.

A folder may come from a stranger. Writes nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbill.backends.errors import FileFormatError, RunError
from playbill.runs.folder.names import is_plain_name

__all__ = ["check_folders", "check_inside"]


def check_inside(folder: Path, *parts: str) -> None:
    """Raise RunError where a file of the run, or a folder on the way to it, is a link or no file at all.

    The run's folder itself may be a link, which is its owner's own.
    """
    path = Path(os.path.realpath(folder))
    for part in parts:
        path = path / part
        try:
            kind = os.lstat(path).st_mode
        except OSError:  # it isn't there, or can't be reached: who writes it will find out
            return
        if os.path.normcase(os.path.realpath(path)) != os.path.normcase(path) or stat.S_ISLNK(kind):
            target = os.path.realpath(path)
            raise RunError(
                f"{folder / Path(*parts)} would be written to {target}, since {path.name} is a link, and a run writes "
                "into its own folder only; remove the link, or name another folder with -o"
            )
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise RunError(f"{path} is neither a file nor a folder; remove it, or name another folder with -o")


def check_folders(path: Path, models: Mapping[str, Any]) -> None:
    """Raise FileFormatError where a manifest's models name folders that are none of the run's, or one for two."""
    taken: dict[str, str] = {}
    for label, model in models.items():
        if not isinstance(model, dict):
            raise FileFormatError(f"{path}: models.{label}: is no object")
        folder = model.setdefault("folder", label)
        if not isinstance(folder, str) or not is_plain_name(folder):
            raise FileFormatError(
                f"{path}: models.{label}.folder: {folder!r} is no name of a folder beside the manifest; "
                "the records of a model lie in a folder of the run"
            )
        if folder.casefold() in taken:
            raise FileFormatError(f"{path}: models.{label}.folder: is also that of '{taken[folder.casefold()]}'")
        taken[folder.casefold()] = label
