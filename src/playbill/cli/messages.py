"""Say things on stderr: above a live progress bar while there is one, as a line of their own where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

__all__ = ["say", "said_above"]

_above: list[Callable[[str], None]] = []


def say(text: str) -> None:
    """Print a line to stderr, where no bar overwrites it. The text is safe for a terminal already."""
    if _above:
        _above[-1](text)
    else:
        click.echo(text, err=True)


@contextmanager
def said_above(printer: Callable[[str], None]) -> Iterator[None]:
    """Let a live display print what is said while it is there."""
    _above.append(printer)
    try:
        yield
    finally:
        _above.remove(printer)
