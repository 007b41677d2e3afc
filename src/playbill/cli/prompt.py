"""`playbill prompt NAME [FILE]`: print exactly what would be sent, without loading weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from playbill.backends.common.jsonfile import parse_json, read_json
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.backends.errors import InputError
from playbill.backends.loading import load_prompt_path, make_request_body
from playbill.backends.model import Prompt, make_prompt
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.lookup import ModelRegistry
from playbill.backends.registry.spec import ModelSpec
from playbill.cli.options import (
    json_option,
    model_argument,
    parameter_option,
    read_parameters,
    read_selector,
    registry_option,
)
from playbill.cli.show import describe_thinking
from playbill.runs.inputs.inputs import open_inputs

__all__ = ["prompt", "read_messages"]

_SAMPLE = [{"role": "user", "content": "Describe the word 'tower' without saying it."}]


@click.command()
@model_argument
@click.argument("file", required=False)
@parameter_option
@registry_option
@json_option
def prompt(name: str, file: str | None, params: tuple[str, ...], registries: tuple[Path, ...], as_json: bool) -> None:
    """Print exactly what would be sent to the model NAME: text, token ids and stop ids, or a service's request.

    FILE holds messages as JSON: a list of {"role", "content"}, or an object with "messages"; - is the
    standard input; of JSONL for `playbill run`, the first dialogue's first turn is taken. Without FILE a short sample
    is used. No weights are loaded.
    """
    messages = _SAMPLE if file is None else read_messages(file)
    spec, path = load_prompt_path(
        read_selector(name),
        registry=ModelRegistry.load(registries),
        progress=True,
        **read_parameters(params),
    )
    made = make_prompt(spec, path, messages)
    folder = None if file in (None, "-") else Path(str(file)).resolve().parent
    body = make_request_body(spec, made.messages, folder=folder) if path is None else None
    if as_json:
        click.echo(printable_json({**_as_json(spec, made, path), "request": body}))
    else:
        _print(spec, made, path, body)


def read_messages(file: str) -> Any:
    """Return the messages in a file, or on the standard input for ``-``."""
    if file == "-":
        content = parse_json(sys.stdin.read(), "standard input")
    else:
        try:
            if Path(file).suffix.lower() == ".jsonl":
                return _first_messages(Path(file))
            content = read_json(Path(file))
        except OSError as e:
            raise InputError(f"can't read {file}: {e.strerror}") from e
    return content["messages"] if isinstance(content, dict) and "messages" in content else content


def _first_messages(path: Path) -> Any:
    """Return what the first dialogue of a run's inputs asks first, and say that the others are left out."""
    inputs = open_inputs(path)
    if len(inputs) > 1:
        left = counted(len(inputs) - 1, "dialogue")
        click.echo(printable(f"playbill: note: the first dialogue of {path}; {left} left out"), err=True)
    return list(next(iter(inputs)).messages([]))


def _as_json(spec: ModelSpec, made: Prompt, path: PromptPath | None) -> dict[str, Any]:
    stops = path.stops if path else None
    return {
        "text": made.text,
        "ids": list(made.ids) if made.ids is not None else None,
        "stop_ids": [stop.id for stop in stops.ids] if stops else [],
        "stops": [{"id": s.id, "text": s.text, "sources": list(s.sources)} for s in stops.ids] if stops else [],
        "stop_strings": list(stops.strings) if stops else [],
        "messages": list(made.messages),
        "changes": list(made.changes),
        "template": path.template.source if path else None,
        "thinking": describe_thinking(spec, path),
    }


def _print(spec: ModelSpec, made: Prompt, path: PromptPath | None, body: dict[str, Any] | None) -> None:
    for change in made.changes:
        click.echo(printable(f"playbill: note: {change}"), err=True)
    if body is not None:
        click.echo("This backend is a service; the body of the request is:", err=True)
        click.echo(printable_json(body))
        return
    if path is None or made.text is None or made.ids is None:
        click.echo("This backend takes messages; they are sent as:", err=True)
        click.echo(printable_json(list(made.messages)))
        return
    click.echo(printable(made.text))
    click.echo("")
    click.echo(f"{counted(len(made.ids), 'id')}: {' '.join(map(str, made.ids))}")
    for stop in path.stops.ids:
        click.echo(printable(f"stop id {stop.id} {stop.text!r}, says {', '.join(stop.sources)}"))
    for text in path.stops.strings:
        click.echo(printable(f"stop string {text!r}, says entry"))
    thinking = describe_thinking(spec, path)
    if thinking["source"] is not None:
        tags = f"{thinking['start'] or ''!r} to {thinking['end']!r}" if thinking["end"] else "no plain tags"
        click.echo(printable(f"thinking: {tags}, says {thinking['source']}"))
    click.echo(f"template: {path.template.source}; context: {path.context_size or 'not stated'}")
