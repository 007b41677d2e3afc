"""`playbill list` and `playbill backends`: the models and backends that there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from playbill.backends.common.findings import Finding, Severity
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.cli.options import json_option, registry_option

__all__ = ["list_backends", "list_models", "print_columns"]


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--backend", metavar="NAME", help="Only entries of this backend.")
@click.option("--language", metavar="CODE", help="Only entries that state this language.")
@click.option("--open-weight/--closed-weight", "open_weight", default=None, help="Only entries that state so.")
@click.option("--problems", is_flag=True, help="Only entries with an error, each with all that is wrong.")
@registry_option
@json_option
def list_models(
    pattern: str | None,
    backend: str | None,
    language: str | None,
    open_weight: bool | None,
    problems: bool,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """List the models of the registry.

    PATTERN is part of a name, or a pattern with * and ?. An entry marked ! can't be used as it is: --problems
    says why. An entry marked ^ is hidden by one of the same name before it; a selector still reaches it:
    '{"model_name": …, "backend": …}'.
    """
    registry = ModelRegistry.load(registries)
    entries = [
        entry
        for entry in registry
        if _matches(entry.name or "", pattern)
        and (backend is None or entry.flat.entry.get("backend") == backend)
        and (language is None or language in _languages(entry))
        and (open_weight is None or entry.flat.entry.get("open_weight") is open_weight)
        and not (problems and entry.usable)
    ]
    if as_json:
        click.echo(printable_json([_as_json(registry, entry) for entry in entries]))
        return
    if problems:
        _print_problems(entries)
    else:
        _print_entries(registry, entries)


def _matches(name: str, pattern: str | None) -> bool:
    if not pattern:
        return True
    lowered = pattern.lower()
    return fnmatchcase(name.lower(), lowered) if set("*?[") & set(pattern) else lowered in name.lower()


def _languages(entry: RegistryEntry) -> list[str]:
    languages = entry.flat.entry.get("languages")
    return languages if isinstance(languages, list) else []


def _hidden(registry: ModelRegistry, entry: RegistryEntry) -> bool:
    return entry.name is not None and registry.namesakes(entry.name)[0] is not entry


def _as_json(registry: ModelRegistry, entry: RegistryEntry) -> dict[str, Any]:
    return {
        "model_name": entry.name,
        "backend": entry.flat.entry.get("backend"),
        "file": str(entry.file),
        "index": entry.index,
        "usable": entry.usable,
        "hidden": _hidden(registry, entry),
        "findings": [finding.to_dict() for finding in entry.findings],
        "entry": entry.flat.entry,
    }


def _print_entries(registry: ModelRegistry, entries: Sequence[RegistryEntry]) -> None:
    rows = [
        (
            "!" if not entry.usable else "^" if _hidden(registry, entry) else "",
            entry.name or f"(no name: {entry.where})",
            _shown(entry, "backend"),
            _shown(entry, "parameters"),
            _shown(entry, "context_size"),
            _license(entry),
        )
        for entry in entries
    ]
    print_columns(("", "NAME", "BACKEND", "SIZE", "CONTEXT", "LICENCE"), rows)
    bad = sum(1 for entry in entries if not entry.usable)
    read = ", ".join(str(file) for file in registry.files)
    click.echo(f"{len(entries)} of {len(registry)} entries, from {read}", err=True)
    if bad:
        click.echo(f"{bad} can't be used as they are (!): `playbill list --problems` says why", err=True)


def _shown(entry: RegistryEntry, key: str) -> str:
    value = entry.flat.entry.get(key, "")
    return str(value) if isinstance(value, (str, int)) else "?"


def _license(entry: RegistryEntry) -> str:
    license_ = entry.flat.entry.get("license", "")
    return str(license_.get("name", "")) if isinstance(license_, dict) else str(license_)


def _print_problems(entries: Sequence[RegistryEntry]) -> None:
    for entry in entries:
        click.echo(printable(f"{entry.name or '(no name)'}"))
        for finding in entry.findings:
            if finding.severity is Severity.ERROR:
                click.echo(f"  {describe(finding)}")
    click.echo(f"{len(entries)} entries can't be used as they are", err=True)


def describe(finding: Finding) -> str:
    """Return a finding on one line, as a linter prints it."""
    return printable(f"{finding.severity.value} {finding.code} {finding.name}: {finding}")


def print_columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows as aligned columns; the last column is as long as it likes."""
    table = [tuple(head), *(tuple(printable(cell).replace("\n", " ") for cell in row) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
    click.echo("\n".join(lines))


@click.command("backends")
@json_option
def list_backends(as_json: bool) -> None:
    """List the backends, and what to type to install those that are not."""
    rows = [
        {
            "name": backend.name,
            "summary": backend.summary,
            "installed": not backend.missing(),
            "missing": list(backend.missing()),
            "install": backend.install,
        }
        for backend in BACKENDS.values()
    ]
    if as_json:
        click.echo(printable_json(rows))
        return
    shown = [
        (
            str(row["name"]),
            "ready" if row["installed"] else f"not installed: {row['install']}",
            str(row["summary"]),
        )
        for row in rows
    ]
    print_columns(("BACKEND", "STATE", "WHAT IT IS"), shown)
