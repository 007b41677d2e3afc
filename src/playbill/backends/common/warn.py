"""Warn once: each warning is printed once in a process, however often it is raised."""

from __future__ import annotations

import logging
from functools import cache

from playbill.backends.common.terminal import printable

__all__ = ["warn_once", "warned"]

_log = logging.getLogger("playbill")
_said: list[str] = []


@cache
def warn_once(message: str) -> None:
    """Log a warning, made safe for a terminal, unless the same was logged before."""
    _said.append(message)
    _log.warning("%s", printable(message))


def warned() -> tuple[str, ...]:
    """Return all that was said so in this process, in its order."""
    return tuple(_said)
