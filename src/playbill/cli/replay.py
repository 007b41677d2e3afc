"""`playbill replay DIR`: make a run's prompts and texts again from its records, and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from playbill.backends.common.prefixes import shared_length
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.cli.options import json_option
from playbill.runs.replay import Difference, Replayed
from playbill.runs.replay import replay as replayed

__all__ = ["replay"]

_AROUND = 40


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@json_option
def replay(folder: Path, as_json: bool) -> int:
    """Make the prompts and texts of a run again from its records, and compare.

    Needs no model and no network: template, date and cleaning rule are those of the run's manifest, the code is
    that which is installed. Exits with 1 where anything is made otherwise than it was recorded.

    To run your own code on recorded answers, load them as a model: backend `replay`, with `records`.
    """
    counts = Replayed()
    if as_json:
        found = [difference.to_dict() for difference in replayed(folder, counts)]
        content: dict[str, Any] = {
            "records": counts.records,
            "prompts": counts.prompts,
            "texts": counts.texts,
            "differences": found,
        }
        click.echo(printable_json(content))
    else:
        for difference in replayed(folder, counts):
            click.echo(printable(_describe(difference)))
        made = f"{counted(counts.prompts, 'prompt')} and {counted(counts.texts, 'text')} made again"
        said = counted(counts.differences, "difference", none="no")
        click.echo(f"{counted(counts.records, 'record')}: {made}, {said}")
    return 1 if counts.differences else 0


def _describe(found: Difference) -> str:
    recorded, now = _around(found.recorded, found.now)
    where = f"{found.label}: {found.id}, turn {found.turn}, sample {found.sample}"
    return f"{where}: {found.field}: recorded {recorded}, now {now}"


def _around(one: Any, other: Any) -> tuple[str, str]:
    """Return two values, each as short as it may be to show where they part."""
    if not isinstance(one, str) or not isinstance(other, str):
        return printable_json(one, indent=None), printable_json(other, indent=None)
    place = shared_length(one, other)
    start = max(0, place - _AROUND)
    return _cut(one, start, place + _AROUND), _cut(other, start, place + _AROUND)


def _cut(text: str, start: int, end: int) -> str:
    return f"{'…' if start else ''}{text[start:end]!r}{'…' if end < len(text) else ''}"
