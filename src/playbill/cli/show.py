"""`playbill show NAME`: print the spec that a name finds, and where each value comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from playbill.backends.answer.cleaning_rule import cleaning_rule, who_separates
from playbill.backends.common.findings import Severity
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.loading import find_spec, judge_spec, open_prompt_path
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.fields.table import PATHS
from playbill.backends.registry.lookup import ModelRegistry
from playbill.backends.registry.spec import ModelSpec, path_in
from playbill.cli.listing import describe, print_columns
from playbill.cli.options import (
    json_option,
    model_argument,
    parameter_option,
    read_parameters,
    read_selector,
    registry_option,
)

__all__ = ["describe_thinking", "show"]


@click.command()
@model_argument
@click.option(
    "--full", is_flag=True, help="Also open tokenizer and template: stop ids, context, what the repository recommends."
)
@parameter_option
@registry_option
@json_option
def show(name: str, full: bool, params: tuple[str, ...], registries: tuple[Path, ...], as_json: bool) -> int:
    """Show the entry that NAME finds, and for each value the file it came from.

    Exits with 1 where the entry can't be used as it is.
    """
    registry = ModelRegistry.load(registries)
    overrides = read_parameters(params)
    spec = find_spec(read_selector(name), registry=registry, overrides=overrides)
    findings = judge_spec(spec)
    path = open_prompt_path(spec, progress=True) if full else None
    if as_json:
        content = {
            "spec": spec.to_dict(),
            "sources": spec.sources(),
            "paths": meant_paths(spec),
            "findings": [finding.to_dict() for finding in findings],
            **({"prompt_path": describe_path(spec, path)} if full else {}),
        }
        click.echo(printable_json(content))
    else:
        _print(spec, path)
        for finding in findings:
            click.echo(describe(finding))
    return 1 if any(f.severity is Severity.ERROR for f in findings) else 0


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
    rows = [(key, printable_json(value, indent=None), sources[key]) for key, value in spec.to_dict().items()]
    width = max((len(value) for _, value, _ in rows), default=0)
    if width <= 60:
        print_columns(("KEY", "VALUE", "FROM"), rows)
    else:
        for key, value, source in rows:
            click.echo(printable(f"{key}: {value}\n    from {source}"))
    for key, meant in meant_paths(spec).items():
        if spec[key] != meant:
            click.echo(printable(f"{key} is {meant}"))
    if path is not None:
        click.echo("")
        for key, value in (describe_path(spec, path) or {}).items():
            click.echo(printable(f"{key}: {printable_json(value, indent=None)}"))
