"""`playbill diff A B [FILE]`: give the same messages to two prompt paths, and show where they first differ."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import Context
from playbill.backends.registry.lookup import ModelRegistry
from playbill.cli.options import json_option, key_file_option, read_selector, registry_option
from playbill.cli.prompt import read_messages
from playbill.proof.diff.compare import Comparison, Spot, compare
from playbill.proof.diff.renderers import Rendering, open_renderer

__all__ = ["diff"]

_SAMPLE = [
    {"role": "user", "content": "Describe the word 'tower' without saying it."},
    {"role": "assistant", "content": "A tall building,\n\n  often of stone: «Turm», 塔."},
    {"role": "user", "content": "Another <clue>, please."},
]


@click.command()
@click.argument("a")
@click.argument("b")
@click.argument("file", required=False)
@registry_option
@key_file_option
@json_option
def diff(
    a: str, b: str, file: str | None, registries: tuple[Path, ...], key_files: tuple[Path, ...], as_json: bool
) -> int:
    """Give the same messages to A and B, and compare the prompts, as text and as token ids, and what ends an answer.

    A and B are each a model's name, a GGUF file, a model's folder, or the address of a server of llama.cpp or
    vLLM (with #MODEL where it serves several). FILE holds messages as for `playbill prompt`; without it a short
    dialogue is used. Exits with 1 where they differ.
    """
    messages = _SAMPLE if file is None else read_messages(file)
    registry = ModelRegistry.load(registries)
    context = Context(
        credentials=Credentials.load(key_files), date=datetime.now().replace(microsecond=0), progress=True
    )
    folder = None if file in (None, "-") else Path(str(file)).resolve().parent
    left, right = (open_renderer(read_selector(target), registry, context, folder) for target in (a, b))
    made = (left.make(messages), right.make(messages))
    found = compare(*made)
    if as_json:
        sides = {"a": {"name": a, **made[0].to_dict()}, "b": {"name": b, **made[1].to_dict()}}
        click.echo(printable_json({**found.to_dict(), **sides}))
    else:
        _print((a, b), made, found)
    return 1 if found.differs else 0


def _print(names: tuple[str, str], made: tuple[Rendering, Rendering], found: Comparison) -> None:
    for letter, name, side in zip("AB", names, made, strict=True):
        click.echo(printable(f"{letter}: {name}: {_summary(side)}"))
    if found.refusal is not None:
        click.echo(printable(found.refusal))
        return
    if found.text is not None:
        _print_spot("text", "character", found.text, quote=True)
    if found.ids is not None:
        _print_spot("ids", "token", found.ids, quote=False)
    if found.counts is not None:
        click.echo(printable(found.counts))
    if found.stops is not None:
        click.echo(printable(f"stops differ: {found.stops}"))
    if not found.differs:
        click.echo("the ids are the same, though the texts differ" if found.text is not None else "no difference")


def _summary(side: Rendering) -> str:
    if side.refused is not None:
        return "refused"
    if side.around is not None and side.ids is None:
        known = "its pictures expanded later" if side.around.tokens is None else counted(side.around.tokens, "token")
        return f"{counted(len(side.around.text), 'character')} around the pictures, {known}"
    text = "no text" if side.text is None else counted(len(side.text), "character")
    return f"{text}, {'no ids' if side.ids is None else counted(len(side.ids), 'id')}"


def _print_spot(what: str, unit: str, spot: Spot, *, quote: bool) -> None:
    common, left, right = ((repr(s) if quote else s) for s in (spot.common, spot.left, spot.right))
    click.echo(printable(f"{what} differ from {unit} {spot.at} on, after {common}"))
    click.echo(printable(f"  A: {left}\n  B: {right}"))
