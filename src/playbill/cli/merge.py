"""`playbill merge DIR… -o DIR`: put the shards of a run together."""

from __future__ import annotations

from pathlib import Path

import click

from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.cli.options import json_option
from playbill.runs.folder.merge import merge as merge_folders

__all__ = ["merge"]


@click.command()
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", metavar="DIR", required=True, type=click.Path(path_type=Path), help="The new folder.")
@json_option
def merge(folders: tuple[Path, ...], out: Path, as_json: bool) -> int:
    """Put the folders of one run's shards together in a new one, each answer once.

    Refuses folders that are not of one run. What is missing is said; the command for the whole with the merged folder
    as its -o asks for it.

    \b
    playbill run in.jsonl -m mock --shard 1/2 -o part1
    playbill run in.jsonl -m mock --shard 2/2 -o part2
    playbill merge part1 part2 -o whole

    Exits with 1 where something is missing.
    """
    merged = merge_folders(folders, out)
    for text in merged.notes:
        click.echo(f"playbill: {printable(text)}", err=True)
    for text in merged.missing:
        click.echo(f"playbill: missing: {printable(text)}", err=True)
    if as_json:
        found = {name: getattr(merged, name) for name in ("records", "missing", "notes")}
        click.echo(printable_json({"folder": str(merged.folder), **found}))
    else:
        for label, count in merged.records.items():
            click.echo(f"{label}: {counted(count, 'record')}")
        click.echo(f"merged: {merged.folder}")
    return 1 if merged.missing else 0
