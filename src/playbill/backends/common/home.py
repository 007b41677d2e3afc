"""The user's folders for settings and caches, and paths that begin with ~; also where there is no home at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from playbill.backends.errors import PlaybillError

__all__ = ["MissingHome", "cache_folder", "config_folder", "expanded", "home_folder"]


class MissingHome(PlaybillError):
    """There is no home folder, as in a container whose user is not in its list of users."""


def config_folder() -> Path:
    """Return Playbill's folder in the user's config directory; raises MissingHome."""
    return _found(lambda: platformdirs.user_config_path("playbill"), "XDG_CONFIG_HOME")


def cache_folder() -> Path:
    """Return Playbill's folder in the user's cache directory; raises MissingHome."""
    return _found(lambda: platformdirs.user_cache_path("playbill"), "PLAYBILL_CACHE")


def home_folder() -> Path:
    """Return the user's home; raises MissingHome."""
    return _found(Path.home, "HOME")


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ~ replaced; as it is where there is no such home."""
    return Path(os.path.expanduser(path))


def _found(find: Callable[[], Path], variable: str) -> Path:
    try:
        return find()
    except RuntimeError as e:
        wanted = "set HOME" if variable == "HOME" else f"set HOME or {variable}"
        raise MissingHome(f"there is no home folder: {wanted} to a folder of yours") from e
