"""`playbill import FILE`: bring a registry of clembench or clemcore into the flat form, and report the changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from playbill.backends.common.findings import Severity
from playbill.backends.common.jsonfile import write_atomically
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.backends.errors import InputError
from playbill.cli.listing import describe
from playbill.cli.options import json_option
from playbill.proof.add.importing import Imported, ImportedEntry, import_registry

__all__ = ["import_"]


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the registry here, not to stdout.")
@click.option("-y", "--yes", is_flag=True, help="Overwrite the output file if it is there.")
@json_option
def import_(file: Path, output: Path | None, yes: bool, as_json: bool) -> int:
    """Bring the registry FILE of clembench or clemcore into the flat form.

    The registry goes to stdout, or with -o into a file; each change, and each entry that could not be read, to
    stderr. With --json the report goes to stdout instead. Exits with 1 where an entry could not be read.
    """
    imported = import_registry(file, output.parent if output is not None else Path())
    if as_json:
        click.echo(printable_json([entry.to_dict() for entry in imported.entries]))
    else:
        _report(imported)
    text = printable_json(imported.registry) + "\n"
    if output is not None:
        _write(output, text, yes)
    elif not as_json:
        click.echo(text, nl=False)
    return 1 if any(entry.entry is None for entry in imported.entries) else 0


def _write(output: Path, text: str, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise InputError(f"{output} is there already; -y overwrites it, or give another name to -o")
    try:
        write_atomically(output, text)
    except OSError as e:
        raise InputError(f"can't write {output}: {e.strerror or e}") from e


def _report(imported: Imported) -> None:
    for entry in imported.entries:
        left = [f for f in entry.findings if f.severity is not Severity.NOTE]
        if entry.changes or left:
            _report_entry(entry)
    kinds = Counter(change.kind for entry in imported.entries for change in entry.changes)
    changed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "nothing changed"
    unread = sum(entry.entry is None for entry in imported.entries)
    unusable = sum(entry.entry is not None and not entry.usable for entry in imported.entries)
    click.echo(
        f"{imported.path}: {counted(len(imported.entries), 'entry')}; {changed}; {unread} could not be read, "
        f"{unusable} can't be used as {'it is' if unusable == 1 else 'they are'}",
        err=True,
    )


def _report_entry(entry: ImportedEntry) -> None:
    state = "could not be read" if entry.entry is None else "can't be used yet" if not entry.usable else "imported"
    click.echo(printable(f"{entry.name or entry.where}: {state}"), err=True)
    for change in entry.changes:
        click.echo(printable(f"  {change.message}"), err=True)
    for finding in entry.findings:
        click.echo(f"  {describe(finding)}", err=True)
