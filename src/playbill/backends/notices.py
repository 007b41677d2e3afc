"""What has to be said aloud, said once in a process, however often it is met. Knows no message itself."""

from __future__ import annotations

import logging
from functools import cache

from playbill.backends.plain import printable

__all__ = ["warn_once"]

_log = logging.getLogger("playbill")


@cache
def warn_once(message: str) -> None:
    """Log a warning, made safe for a terminal, unless the same was logged before."""
    _log.warning("%s", printable(message))
