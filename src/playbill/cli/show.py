"""`playbill show NAME`: print the spec that a name finds, and where each value comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from playbill.backends.answer.cleaning_rule import cleaning_rule, who_separates
from playbill.backends.common.findings import Severity
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.backends.loading import find_spec, judge_spec, open_prompt_path
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.fields.table import PATHS
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.backends.registry.spec import ModelSpec, path_in
from playbill.backends.registry.stamps.files import StampFiles
from playbill.backends.registry.stamps.state import StampState, newest_state
from playbill.cli.listing import describe
from playbill.cli.options import (
    json_option,
    model_argument,
    parameter_option,
    read_parameters,
    read_selector,
    registry_option,
)
from playbill.cli.stamped import state_of
from playbill.cli.tables import echo_wrapped, print_columns

__all__ = ["describe_thinking", "show"]

_LONGEST = 400


@click.command()
@model_argument
@click.option(
    "--full", is_flag=True, help="Also open tokenizer and template: stop ids, context, what the repository recommends."
)
@parameter_option
@registry_option
@json_option
def show(name: str, full: bool, params: tuple[str, ...], registries: tuple[Path, ...], as_json: bool) -> int:
    """Show the entry that NAME finds, what its stamp proves, and for each value the file it came from.

    Exits with 1 where the entry can't be used as it is.
    """
    registry = ModelRegistry.load(registries)
    overrides = read_parameters(params)
    spec = find_spec(read_selector(name), registry=registry, overrides=overrides)
    findings = judge_spec(spec)
    path = open_prompt_path(spec, progress=True) if full else None
    entry = registry.entry_of(read_selector(name))
    state = _stamp(entry, spec, path, full=full) if entry is not None else None
    if as_json:
        content = {
            "spec": spec.to_dict(),
            "sources": spec.sources(),
            "paths": meant_paths(spec),
            "findings": [finding.to_dict() for finding in findings],
            "stamp": state.to_dict() if state is not None else None,
            **({"prompt_path": describe_path(spec, path)} if full else {}),
        }
        click.echo(printable_json(content))
    else:
        _print(spec, path)
        if state is not None:
            click.echo(printable(f"stamp: {state.sentence()}"))
        for finding in findings:
            click.echo(describe(finding))
    return 1 if any(f.severity is Severity.ERROR for f in findings) else 0


def _stamp(entry: RegistryEntry, spec: ModelSpec, path: PromptPath | None, *, full: bool) -> StampState | None:
    """Return the state of an entry's stamp for what is used of it; with ``full`` its files are read as well."""
    files = StampFiles()
    if not full:
        return state_of(entry, files, spec=spec)
    from playbill.backends.prompt.fingerprints import content_of
    from playbill.backends.weights.identity import weights_identity

    return newest_state(files.of(entry), spec, content_of(weights_identity(spec), path))


def describe_path(spec: ModelSpec, path: PromptPath | None) -> dict[str, Any] | None:
    """Return what a prompt path knows, as JSON."""
    if path is None:
        return None
    return {
        "template": {"source": path.template.source, "text": path.template.text},
        "variables": dict(path.template.variables),
        "stop_ids": [{"id": s.id, "text": s.text, "sources": list(s.sources)} for s in path.stops.ids],
        "stop_strings": list(path.stops.strings),
        "context_size": path.context_size,
        "recommended": dict(path.recommended),
        "thinking": describe_thinking(spec, path),
        "tokenizer": dict(path.tokenizer.facts()),
    }


def describe_thinking(spec: ModelSpec, path: PromptPath | None) -> dict[str, Any]:
    """Return how thinking is told from the answer, and who says so, as JSON."""
    rule = cleaning_rule(spec, path)
    found = {"source": who_separates(spec, rule), "start": rule.thinking_start, "end": rule.thinking_end}
    return found if rule.response is None else {**found, "response_template": dict(rule.response)}


def meant_paths(spec: ModelSpec) -> dict[str, str]:
    """Return for each key with a path, whose file or folder is there, where that is."""
    there = {key: path_in(spec, key).absolute() for key in spec if key in PATHS and isinstance(spec[key], str)}
    return {key: str(path) for key, path in there.items() if path.exists()}


def _print(spec: ModelSpec, path: PromptPath | None) -> None:
    sources = spec.sources()
    home = sources.get("model_name", "").removesuffix(".model_name")
    echo_wrapped(f"{spec.get('model_name')}{f', from {home}' if home else ''}", indent="  ")
    click.echo("")
    rows, meant = [], meant_paths(spec)
    for key, value in spec.to_dict().items():
        elsewhere = sources[key].removeprefix(f"{home}.")
        place = f"  (that is {meant[key]})" if key in meant and meant[key] != value else ""
        if key != "model_name":
            rows.append((key, _short(value) + place + (f"  (from {elsewhere})" if elsewhere != key else "")))
    print_columns(("KEY", "VALUE"), rows)
    if path is not None:
        click.echo("")
        for key, value in (describe_path(spec, path) or {}).items():
            click.echo(printable(f"{key}: {printable_json(value, indent=None)}"))


def _short(value: Any) -> str:
    """Return a value as JSON; a long template or list only begins, which is said."""
    text = printable_json(value, indent=None)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({counted(len(text), 'character')}; --json has all)"
