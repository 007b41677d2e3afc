"""Tell a display that is there already of downloads, so that no second bar is drawn into the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["download_display", "shown_by"]

Display = Callable[[str, int, int | None], None]
"""Takes what is downloaded, the bytes that are here, and the bytes in all, as far as they are known."""

_displays: list[Display] = []


@contextmanager
def shown_by(display: Display) -> Iterator[None]:
    """Let ``display`` show downloads, in place of bars of their own."""
    _displays.append(display)
    try:
        yield
    finally:
        _displays.remove(display)


def download_display() -> Display | None:
    """Return the display that shows downloads now; None where a bar of one's own may be drawn."""
    return _displays[-1] if _displays else None
