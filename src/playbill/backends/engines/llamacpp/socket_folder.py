"""A folder for a Unix socket. Knows no server."""

from __future__ import annotations

import tempfile
from pathlib import Path

__all__ = ["socket_folder"]

_LONGEST = 90
"""Characters; a socket's path has about a hundred at the most."""


def socket_folder() -> Path:
    """Return a new folder for the user alone, with a path short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="playbill-"))
    if len(str(folder)) <= _LONGEST or not Path("/tmp").is_dir():
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="playbill-", dir="/tmp"))
