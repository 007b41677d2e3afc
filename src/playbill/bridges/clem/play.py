"""`playbill clem run`: episodes of clembench's games, many at once, over models that are loaded here.

The games run in clemcore's environment, in a process that this one starts and speaks to; see ``side``.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from playbill import __version__
from playbill.backends.common.secret import Secret
from playbill.backends.errors import PlaybillError, RunError
from playbill.backends.model import Model
from playbill.bridges.clem.child import make_door
from playbill.bridges.clem.places import SIDE

__all__ = ["Asked", "Played", "play"]

_MOST_AT_ONCE = 64
_BY_CLEMCORE = ("mock", "programmatic", "human", "terminal")
"""Names that clemcore keeps for players that no model plays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be played. ``players`` are labels of models, in the order of the game's players."""

    games: Sequence[str]
    players: Sequence[str]
    results: Path
    experiment: str | None = None
    instances: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    at_once: int | None = None


@dataclass(slots=True)
class Played:
    """What became of it: numbers of episodes, and the games that could not be played at all."""

    episodes: int = 0
    finished_before: int = 0
    failed: int = 0
    unplayable: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failed and not self.unplayable


Tell = Callable[[Mapping[str, Any]], None]


def play(asked: Asked, loaders: Mapping[str, Callable[[], Model]], python: Path, tell: Tell) -> Played:
    """Load the models, then play all episodes that are not finished. ``tell`` is given what happens, as it happens.

    Raises what loading raises, and RunError where nothing could be played. An interrupt ends it between two steps
    of a game; what was played stays.
    """
    with ExitStack() as stack:
        models = {
            label: stack.enter_context(loaders[label]())
            for label in dict.fromkeys(asked.players)
            if label not in _BY_CLEMCORE
        }
        key = os.urandom(24).hex()
        door = make_door({label: partial(_itself, model) for label, model in models.items()}, Secret(key))
        url = stack.enter_context(door.in_background())
        config = {
            "url": url,
            "key": key,
            "models": [{"name": label, "told": _told(models.get(label))} for label in asked.players],
            "gen_args": {"temperature": 0.0, "max_tokens": 300, **asked.params},
            "games": list(asked.games),
            "experiment": asked.experiment,
            "instances": asked.instances,
            "results": str(asked.results),
            "at_once": asked.at_once or _at_once(models),
        }
        return _attend(config, python, tell)


def _itself(model: Model) -> Model:
    return model


def _told(model: Model | None) -> dict[str, Any]:
    return {"version": __version__, "entry": model.spec.to_dict() if model else None}


def _at_once(models: Mapping[str, Model]) -> int:
    """Enough episodes to keep all engines full: each has one request under way."""
    return max(1, min(_MOST_AT_ONCE, sum(model.concurrency for model in models.values())))


def _attend(config: Mapping[str, Any], python: Path, tell: Tell) -> Played:
    """Start the process that plays, and listen to it until it ends."""
    played = Played()
    problem = None
    command = [str(python), str(SIDE / "playbill_clem_worker.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(config).encode() + b"\n")
            process.stdin.flush()
            for line in process.stdout:
                event = json.loads(line)
                problem = event["message"] if event["event"] == "problem" else problem
                _count(event, played)
                tell(event)
            process.wait()
        except BrokenPipeError:
            pass  # it ended early; its exit code says so
        finally:
            process.stdin.close()  # upon which it ends, if it hasn't yet
    if problem is not None:
        raise RunError(problem)
    if process.returncode not in (0, 1):
        raise PlaybillError(f"the process that plays ended with {process.returncode}; what it said stands above")
    return played


def _count(event: Mapping[str, Any], played: Played) -> None:
    if event["event"] == "game":
        played.episodes += event["episodes"]
        played.finished_before += event["finished"]
    if event["event"] == "unplayable":
        played.unplayable.append(event["game"])
    if event["event"] == "episode" and event["error"] is not None:
        played.failed += 1
