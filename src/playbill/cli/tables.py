"""Print tables that fit the terminal: columns where they fit, a paragraph for each row where they don't."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

import click

from playbill.backends.common.terminal import printable

__all__ = ["echo_wrapped", "print_columns", "terminal_width"]

_GAP = "  "
_LEAST = 24
"""Characters that a wrapped last column needs to be readable."""


def terminal_width() -> int | None:
    """Return the terminal's width in characters; None where the output goes to a file or another program.

    COLUMNS says it, if it is set.
    """
    if os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty():
        return max(20, shutil.get_terminal_size().columns)
    return None


def print_columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows as aligned columns; in a narrow terminal the last column is wrapped, or each row is a paragraph."""
    cells = [tuple(printable(cell).replace("\n", " ") for cell in row) for row in rows]
    table = [tuple(head), *cells]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    room = terminal_width()
    left = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    if room is None or left + widths[-1] <= room:
        for row in table:
            click.echo(_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    elif room - left >= min(_LEAST, widths[-1]):
        for row in table:
            begin = "".join(cell.ljust(width) + _GAP for cell, width in zip(row[:-1], widths[:-1], strict=True))
            _echo(row[-1], room, begin, " " * left)
    else:
        _print_paragraphs(head, cells, room)


def _print_paragraphs(head: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> None:
    """Print each row as its name, and below it what the other columns say."""
    named = 1 if head[0] else 2  # a first column without a head marks the row
    for row in rows:
        _echo(" ".join(cell for cell in row[:named] if cell), room, "", _GAP)
        said = [f"{name.lower()}: {cell}" for name, cell in zip(head[named:], row[named:], strict=True) if cell]
        if len(head) == named + 1:
            said = list(row[named:])
        if said:
            _echo("; ".join(said), room, _GAP, _GAP)


def echo_wrapped(text: str, *, indent: str = "", err: bool = False) -> None:
    """Print a text, wrapped to the terminal's width where there is one; lines after the first are indented."""
    room = terminal_width()
    if room is None:
        click.echo(printable(text), err=err)
    else:
        _echo(printable(text), room, "", indent, err=err)


def _echo(text: str, room: int, first: str, later: str, *, err: bool = False) -> None:
    """Print a text wrapped at white space. A word longer than a line is left to the terminal, which cuts none."""
    lines = textwrap.wrap(
        text, room, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
    for line in lines or [first.rstrip()]:
        click.echo(line.rstrip(), err=err)
