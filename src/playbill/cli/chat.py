"""`playbill chat NAME`: a conversation at the terminal, streamed."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from playbill.backends.common.terminal import printable
from playbill.backends.generation import Outcome
from playbill.backends.loading import load_model
from playbill.backends.model import Model
from playbill.backends.registry.lookup import ModelRegistry
from playbill.cli.options import (
    key_file_option,
    model_argument,
    parameter_option,
    read_parameters,
    read_selector,
    registry_option,
    trust_option,
)

__all__ = ["chat"]


@click.command()
@model_argument
@click.option("--system", metavar="TEXT", help="A system message to begin with.")
@parameter_option
@trust_option
@registry_option
@key_file_option
def chat(
    name: str,
    system: str | None,
    params: tuple[str, ...],
    trust_remote_code: bool,
    registries: tuple[Path, ...],
    key_files: tuple[Path, ...],
) -> None:
    """Talk to the model NAME. Ctrl-C stops an answer; an empty line or Ctrl-D ends the conversation."""
    from playbill.backends.credentials import Credentials

    model = load_model(
        read_selector(name),
        registry=ModelRegistry.load(registries),
        credentials=Credentials.load(key_files),
        trust_remote_code=trust_remote_code,
        dialogues=1,
        progress=True,
        **read_parameters(params),
    )
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    with model:
        while (line := _ask()) is not None:
            messages.append({"role": "user", "content": line})
            answer = _answer(model, messages)
            if answer is None:
                messages.pop()
            else:
                messages.append({"role": "assistant", "content": answer})


def _ask() -> str | None:
    """Return the next line of the person, or None at the end."""
    if sys.stdin.isatty():
        with suppress(ImportError):  # Windows has none, and edits lines itself
            import readline  # noqa: F401 - gives input() its line editing
    try:
        line = input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None
    return line if line.strip() else None


def _answer(model: Model, messages: list[dict[str, Any]]) -> str | None:
    stream = model.stream(messages)
    try:
        for text in stream:
            click.echo(printable(text), nl=False)
    except KeyboardInterrupt:
        stream.cancel()
        click.echo("\n(stopped; your message is taken back)", err=True)
        return None
    generation = stream.generation
    click.echo("")
    if generation.outcome is not Outcome.ANSWERED:
        why = (generation.error or {}).get("message", "")
        click.echo(printable(f"({generation.outcome.value}{': ' + why if why else ''})"), err=True)
    return generation.text if generation.outcome.goes_on else None
