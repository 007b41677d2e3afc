"""Bound the pixels that llama.cpp holds at once: it decodes all pictures of a request as soon as it has the request.

Each pixel takes some ten bytes until its picture is encoded, whatever the file's size, and each request has a thread of
its own there. Knows no picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playbill.backends.engines.llamacpp.server import Cancelled

__all__ = ["PixelBudget"]

_WAKE = 0.1  # seconds
_MOST = 80_000_000


class PixelBudget:
    """Lets requests wait while those under way show ``most`` pixels; one that shows more goes alone."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._held = 0
        self._freed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int, stop_wanted: Callable[[], bool]) -> Iterator[None]:
        """Hold so many pixels as soon as there is room. Raises Cancelled where nobody waits any more."""
        with self._freed:
            while self._held and self._held + pixels > self._most:
                if stop_wanted():
                    raise Cancelled
                self._freed.wait(_WAKE)
            self._held += pixels
        try:
            yield
        finally:
            with self._freed:
                self._held -= pixels
                self._freed.notify_all()
