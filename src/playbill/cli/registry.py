"""`playbill registry`: compare two registries, and bring one into its plainest form."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from playbill.backends.common.jsonfile import write_atomically
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.backends.errors import InputError, PlaybillError
from playbill.backends.registry.lookup import FILE_NAME, ModelRegistry, packaged_file
from playbill.cli.options import json_option
from playbill.proof.registries.compare import EntryChange, KeyChange, compare_registries
from playbill.proof.registries.formatting import format_file

__all__ = ["registry"]

_LONGEST = 70
_MARKS = {"added": "+", "removed": "-", "renamed": ">", "changed": "~", "reordered": "~"}


@click.group()
def registry() -> None:
    """Keep registry files: say what changed between two, and format one."""


@registry.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--requests", is_flag=True, help="Also compare the requests that changed entries of services make.")
@json_option
def diff(old: Path, new: Path, requests: bool, as_json: bool) -> int:
    """Say in words what changed from the registry OLD to NEW, in whichever layout they are.

    Entries that came, went or were renamed, and key by key what it means for requests. "packaged" stands for the
    registry that comes with Playbill. Exits with 1 where who asks by name may get other answers, or none.
    """
    changes = compare_registries(_open(old), _open(new), requests=requests)
    if as_json:
        click.echo(printable_json([change.to_dict() for change in changes]))
    else:
        _print(changes)
    return 1 if any(change.matters for change in changes) else 0


def _open(path: Path) -> ModelRegistry:
    return ModelRegistry.from_file(packaged_file() if str(path) == "packaged" else path)


def _print(changes: Sequence[EntryChange]) -> None:
    for change in changes:
        click.echo(printable(f"{_MARKS[change.kind]} {_headline(change)}"))
        for key in change.keys:
            click.echo(printable(f"    {key.path}: {_shown(key)}: {key.effect.value}"))
        for line in change.request:
            click.echo(printable(f"    {line}"))
    counts = Counter(change.kind for change in changes)
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing changed"
    matters = sum(change.matters for change in changes)
    click.echo(f"{said}; {matters} of {len(changes)} may matter to who asks by name" if changes else said, err=True)


def _headline(change: EntryChange) -> str:
    name = change.name if change.new_name is None else f"{change.name} -> {change.new_name}"
    notes = f": {'; '.join(change.notes)}" if change.notes else ""
    before, after = change.usable
    unusable = "" if after else ", which can't be used as it is" if before else ", which still can't be used"
    usable = ", which can be used now" if after and not before else ""
    return f"{name} {change.kind}{notes}{unusable}{usable}"


def _shown(key: KeyChange) -> str:
    old, new = (_short(value) for value in (key.old, key.new))
    if not key.had:
        return f"now {new}, was not there"
    return f"{old} -> {new}" if key.has else f"gone, was {old}"


def _short(value: Any) -> str:
    text = printable_json(value, indent=None)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}… ({counted(len(text), 'character')})"


@registry.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 where a file would be written otherwise.")
@click.option("--diff", "show", is_flag=True, help="Write nothing; print what would change.")
@click.option("--sort", is_flag=True, help="Also sort the entries by name; those of one name keep their order.")
def lint(files: tuple[Path, ...], check: bool, show: bool, sort: bool) -> int:
    """Format FILE, by default ./model_registry.json: keys in the order of the docs, one a line.

    Nothing that it says changes: values stay, unknown keys stay, and so does the order inside of a value. Whether the
    entries are right, `playbill check FILE` says.
    """
    changed = 0
    for path in files or (Path(FILE_NAME),):
        before, after = _read(path), format_file(path, sort=sort)
        if before == after:
            continue
        changed += 1
        if show:
            click.echo(printable(_unified(path, before, after)), nl=False)
        elif not check:
            _write(path, after)
        click.echo(f"{path}: {'would be formatted' if check or show else 'formatted'}", err=True)
    if not changed:
        click.echo("nothing to do", err=True)
    return 1 if changed and (check or show) else 0


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError as e:
        raise InputError(f"can't read {path}: {e.strerror or e}") from e


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as e:
        raise PlaybillError(f"can't write {path}: {e.strerror or e}") from e


def _unified(path: Path, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), str(path), f"{path} (formatted)", n=2
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
