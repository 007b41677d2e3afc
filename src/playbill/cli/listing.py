"""`playbill list` and `playbill backends`: the models and backends that there are."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from playbill.backends.common.findings import Finding, Severity
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.backends.registry.stamps.files import StampFiles
from playbill.backends.registry.stamps.stamp import Depth
from playbill.backends.registry.stamps.state import StampState
from playbill.cli.options import json_option, registry_option
from playbill.cli.stamped import proven, state_of
from playbill.cli.tables import echo_wrapped, print_columns

__all__ = ["describe", "list_backends", "list_models"]


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--backend", metavar="NAME", help="Only entries of this backend.")
@click.option("--language", metavar="CODE", help="Only entries that state this language.")
@click.option("--open-weight/--closed-weight", "open_weight", default=None, help="Only entries that state so.")
@click.option(
    "--proven",
    "depth",
    type=click.Choice([depth.value for depth in Depth]),
    is_flag=False,
    flag_value=Depth.WRITTEN.value,
    help="Only entries whose stamp holds and is at least so deep; without a value, any stamp that holds.",
)
@click.option("--problems", is_flag=True, help="Only entries with an error, each with all that is wrong.")
@registry_option
@json_option
def list_models(
    pattern: str | None,
    backend: str | None,
    language: str | None,
    open_weight: bool | None,
    depth: str | None,
    problems: bool,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """List the models of the registry.

    PATTERN is part of a name, or a pattern with * and ?. An entry marked ! can't be used as it is: --problems
    says why. An entry marked ^ is hidden by one of the same name before it; a selector still reaches it:
    '{"model_name": …, "backend": …}'. PROVEN is how deep the stamp of an entry goes (see check --stamp): as-written,
    prompt-path or live; stale where the entry or its files have changed since; ? where large files were not
    read to tell.
    """
    registry = ModelRegistry.load(registries)
    stamps = StampFiles()
    found = [
        (entry, state_of(entry, stamps))
        for entry in registry
        if _matches(entry.name or "", pattern)
        and (backend is None or entry.flat.entry.get("backend") == backend)
        and (language is None or language in _languages(entry))
        and (open_weight is None or entry.flat.entry.get("open_weight") is open_weight)
        and not (problems and entry.usable)
    ]
    if depth is not None:
        found = [(entry, state) for entry, state in found if _is_proven(state, Depth(depth))]
    if as_json:
        click.echo(printable_json([_as_json(registry, entry, state) for entry, state in found]))
    elif problems:
        _print_problems([entry for entry, _ in found])
    else:
        _print_entries(registry, found)


def _is_proven(state: StampState | None, depth: Depth) -> bool:
    return state is not None and state.depth is not None and state.depth.rank >= depth.rank


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


def _as_json(registry: ModelRegistry, entry: RegistryEntry, state: StampState | None) -> dict[str, Any]:
    return {
        "model_name": entry.name,
        "backend": entry.flat.entry.get("backend"),
        "file": str(entry.file),
        "index": entry.index,
        "usable": entry.usable,
        "hidden": _hidden(registry, entry),
        "proven": proven(state),
        "stale": list(state.stale) if state is not None else [],
        "findings": [finding.to_dict() for finding in entry.findings],
        "entry": entry.flat.entry,
    }


def _print_entries(registry: ModelRegistry, found: Sequence[tuple[RegistryEntry, StampState | None]]) -> None:
    rows = [
        (
            "!" if not entry.usable else "^" if _hidden(registry, entry) else "",
            entry.name or f"(no name: {entry.where})",
            _shown(entry, "backend"),
            _shown(entry, "parameters"),
            _shown(entry, "context_size"),
            proven(state),
            _license(entry),
        )
        for entry, state in found
    ]
    if rows:
        print_columns(("", "NAME", "BACKEND", "SIZE", "CONTEXT", "PROVEN", "LICENCE"), rows)
    bad = sum(1 for entry, _ in found if not entry.usable)
    stale = sum(1 for _, state in found if state is not None and state.stale)
    read = ", ".join(str(file) for file in registry.files)
    click.echo(f"{len(found)} of {counted(len(registry), 'entry')}, from {read}", err=True)
    if bad:
        click.echo(f"{_unusable(bad)} (!): `playbill list --problems` says why", err=True)
    if stale:
        click.echo(f"the stamp of {stale} is stale: `playbill show NAME` says why", err=True)


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
    click.echo(_unusable(len(entries)), err=True)


def _unusable(number: int) -> str:
    return f"{counted(number, 'entry')} can't be used as {'it is' if number == 1 else 'they are'}"


def describe(finding: Finding) -> str:
    """Return a finding on one line, as a linter prints it."""
    return printable(f"{finding.severity.value} {finding.code} {finding.name}: {finding}")


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
    ready = [(str(row["name"]), str(row["summary"])) for row in rows if row["installed"]]
    if ready:
        print_columns(("READY", "WHAT IT IS"), ready)
    missing: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        if not row["installed"]:
            missing.setdefault(str(row["install"]), []).append((str(row["name"]), str(row["summary"])))
    for install, named in missing.items():
        click.echo("")
        echo_wrapped(f"not installed; {install}", indent="  ")
        print_columns(("MISSING", "WHAT IT IS"), named)
