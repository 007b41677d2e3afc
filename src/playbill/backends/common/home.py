"""The user's folders, and what ``~`` stands for. A user without a home directory (in containers) has none of them."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from playbill.backends.errors import PlaybillError

__all__ = ["cache_folder", "config_folder", "expanded"]


def config_folder() -> Path:
    """Return the folder of the user's configuration; it need not exist. PlaybillError where there is no home."""
    try:
        return platformdirs.user_config_path("playbill")
    except RuntimeError:
        raise PlaybillError("no home directory is known; set HOME or XDG_CONFIG_HOME to a folder") from None


def cache_folder() -> Path:
    """Return the folder of the user's cache; it need not exist. PlaybillError where there is no home."""
    try:
        return platformdirs.user_cache_path("playbill")
    except RuntimeError:
        raise PlaybillError(
            "no home directory is known; set PLAYBILL_CACHE, HOME or XDG_CACHE_HOME to a folder"
        ) from None


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` filled in, as it is where nobody knows the user's home."""
    return Path(os.path.expanduser(path))
