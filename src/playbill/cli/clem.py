"""`playbill clem init` and `playbill clem run`: clembench's games with Playbill's models."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.backends.credentials import Credentials
from playbill.backends.errors import BackendUnavailable
from playbill.backends.registry.lookup import ModelRegistry
from playbill.bridges.clem.places import find_clem_python
from playbill.bridges.clem.prepare import prepare_folder
from playbill.cli.help import HelpGroup
from playbill.cli.options import (
    json_option,
    key_file_option,
    model_option,
    parameter_option,
    read_parameters,
    registry_option,
    trust_option,
)

__all__ = ["clem"]

_LONGEST = 600


@click.group(cls=HelpGroup)
def clem() -> None:
    """Play clembench's games, through clemcore in its own environment."""


@clem.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), default=".", help="Which one.")
@registry_option
def init(names: tuple[str, ...], folder: Path, registries: tuple[Path, ...]) -> None:
    """Make this folder ready for `clem run -g GAME -m NAME`, for all of Playbill's models or those of NAME.

    Writes playbill_api.py, a backend that clemcore finds in its working directory, and names it in
    model_registry.json, whose other entries stay.
    """
    _need_serve()
    registry = ModelRegistry.load(registries)
    for name in names:
        registry.find(name)
    known = [entry.name for entry in registry if entry.name and entry.usable]
    chosen = list(dict.fromkeys(names or known))
    for path in prepare_folder(folder, chosen):
        click.echo(printable(str(path)))
    click.echo(
        f"playbill: `clem run -g GAME -m NAME` in {folder} now plays with {counted(len(chosen), 'model')}", err=True
    )


@clem.command()
@click.option("-g", "--game", "games", metavar="GAME", multiple=True, required=True, help="A game. Repeatable.")
@model_option
@click.argument("more", metavar="[NAME]...", nargs=-1)
@click.option("-e", "--experiment", metavar="NAME", help="Only this experiment.")
@click.option("-i", "--instances", metavar="NAME", help="The file of instances, as clem's -i.")
@click.option(
    "-r", "--results", type=click.Path(path_type=Path, file_okay=False), default="results", help="As clem's -r."
)
@click.option("--episodes", type=click.IntRange(1), help="Episodes at once; as many as fill the models, by default.")
@click.option("--clem-python", metavar="PATH", help="The Python that has clemcore; looked for, by default.")
@parameter_option
@trust_option
@registry_option
@key_file_option
@json_option
def run(
    games: tuple[str, ...],
    models: tuple[str, ...],
    more: tuple[str, ...],
    experiment: str | None,
    instances: str | None,
    results: Path,
    episodes: int | None,
    clem_python: str | None,
    params: tuple[str, ...],
    trust_remote_code: bool,
    registries: tuple[Path, ...],
    key_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Play GAME with one model for each player in their order, or one for all; many episodes at a time.

    Models are given as `-m NAME NAME`, or each with its own -m. The same command plays what is not finished yet. The
    results are clemcore's own: go on with `clem score`, `clem eval` and `clem transcribe`. Exits with 1 where episodes
    failed, or a game can't be played.
    """
    _need_serve()
    from playbill.bridges.clem.play import Asked, play
    from playbill.serve.loaders import make_loaders

    if more and len(models) > 1:  # their order, which tells who plays whom, can't be known any more
        raise click.UsageError("give all models after one -m, or each with its own -m")
    models += more
    python = find_clem_python(clem_python)
    given = read_parameters(params)
    loaders = make_loaders(
        dict.fromkeys(models),
        registry=ModelRegistry.load(registries),
        credentials=Credentials.load(key_files),
        params=given,
        trust_remote_code=trust_remote_code,
        dialogues=None if episodes is None else episodes * _dialogues_of_an_episode(models),
    )
    label_of = dict(zip(dict.fromkeys(models), loaders, strict=True))
    asked = Asked(
        games=games,
        players=[label_of[model] for model in models],
        results=results,
        experiment=experiment,
        instances=instances,
        params={name: given[name] for name in ("temperature", "max_tokens") if name in given},
        at_once=episodes,
    )
    played = play(asked, loaders, python, _tell)
    if as_json:
        names = ("episodes", "finished_before", "failed", "unplayable")
        click.echo(
            printable_json({name: getattr(played, name) for name in names} | {"results": str(results)}, indent=None)
        )
    else:
        click.echo(printable(str(results)))
    return 0 if played.ok else 1


def _tell(event: Mapping[str, Any]) -> None:
    """What happens, in a line each, on stderr."""
    if event["event"] == "game":
        before = f", {event['finished']} of them finished before" if event["finished"] else ""
        episodes = counted(event["episodes"], "episode")
        said = f"{event['game']}: {episodes}{before}"
    elif event["event"] == "episode":
        fate = "finished" if event["error"] is None else f"FAILED: {event['error']}"
        said = f"{event['game']} {event['experiment']} {event['id']}: {fate} ({event['seconds']:.1f} s)"
    elif event["event"] == "unplayable":
        said = f"{event['game']}: can't be played: {event['message']}"
    else:
        return
    said = " ".join(said.split())  # some errors are pages long
    click.echo(f"playbill: {printable(said[:_LONGEST])}", err=True)
    sys.stderr.flush()


def _dialogues_of_an_episode(models: Sequence[str]) -> int:
    """Return how many dialogues a model has in an episode, at the most: one as each player. One alone plays both of
    two."""
    return 2 if len(models) == 1 else max(models.count(model) for model in models)


def _need_serve() -> None:
    """Say now that something is missing, rather than from within another process."""
    try:
        import playbill.serve.server  # noqa: F401 - to see whether it can be had
    except ImportError as e:
        raise BackendUnavailable(f'this needs {e.name}; install with: pip install "playbill[serve]"') from e
