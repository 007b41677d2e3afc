"""One replica of a model, through all the processes that it has: what is known of it, and what may not be mixed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from playbill.replicas.places import Place, ReplicaStatus
from playbill.replicas.wire import Portrait

__all__ = ["Slot", "identity", "mismatch", "otherwise"]

_WEIGHTS = ("weights", "sha256", "revision", "commit")
_COMPUTED = ("dtype", "attention", "quantization", "class")
_MOST_SAID = 3


def identity(portrait: Portrait) -> dict[str, Any]:
    """Return what all replicas of one model must have alike: versions, weights, and how they render and clean."""
    path = portrait.path
    return {
        "playbill": portrait.versions.get("playbill"),
        "packages": portrait.versions.get("packages"),
        "weights": {k: v for k, v in portrait.facts.items() if any(word in k for word in _WEIGHTS)},
        "cleaning": asdict(portrait.cleaning),
        "parameters": dict(portrait.defaults.effective),
        "template": asdict(path.template) if path is not None else None,
        "stops": asdict(path.stops) if path is not None else None,
        "pictures": asdict(path.processor) if path is not None and path.processor is not None else None,
        "context_size": path.context_size if path is not None else None,
    }


def mismatch(first: Portrait, other: Portrait) -> str | None:
    """Return in words where a replica is another than the first one; None where they may answer side by side."""
    return _said(identity(first), identity(other), first, other)


def otherwise(first: Portrait, other: Portrait) -> str | None:
    """Return in words where a replica's hardware computes otherwise than the first one's; answers may differ."""
    one, two = ({key: portrait.facts.get(key) for key in _COMPUTED} for portrait in (first, other))
    return _said(
        {**one, "device": first.device.partition(":")[0]},
        {**two, "device": other.device.partition(":")[0]},
        first,
        other,
    )


def _said(one: Mapping[str, Any], two: Mapping[str, Any], first: Portrait, other: Portrait) -> str | None:
    found = list(_differing(one, two, ""))
    if not found:
        return None
    said = "; ".join(f"{path}: {mine} on {first.node}, {theirs} on {other.node}" for path, mine, theirs in found[:3])
    return said + (f"; and {len(found) - _MOST_SAID} more" if len(found) > _MOST_SAID else "")


def _differing(one: Any, other: Any, path: str) -> Any:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            yield from _differing(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
    elif one != other:
        yield path, *(str(value)[:80] for value in (one, other))


@dataclass(slots=True)
class Slot:
    """The place of a replica. ``process`` tells its processes apart, so that late news of an old one is known."""

    replica: int
    clock: Callable[[], float] = time.monotonic
    process: int = 0
    place: Place | None = None
    state: str = "waiting"
    portrait: Portrait | None = None
    died_at_load: float = 0
    turns: int = 0
    output_tokens: int = 0
    started: float = 0.0
    is_told: bool = False
    """Whether it was said that it waits."""
    since: float = 0.0
    """When the process of now was ready; 0 where there is none."""
    ready_seconds: float = 0.0
    """How long earlier processes were ready."""
    heard: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    """Each process that was ready, as the manifest has it."""

    @property
    def name(self) -> str:
        """What records call it: its node, and its number."""
        return f"{self.portrait.node if self.portrait is not None else ''}/{self.replica}"

    @property
    def is_ready(self) -> bool:
        return self.state == "ready"

    @property
    def is_given_up(self) -> bool:
        return self.state == "given up"

    def restart(self, process: int) -> None:
        """Note that another process is being started."""
        self.process, self.state, self.portrait = process, "waiting", None
        self.started, self.is_told = self.clock(), False

    def end(self) -> None:
        """Note that its process is over."""
        if self.since:
            self.ready_seconds += self.clock() - self.since
        self.since = 0.0

    def take_portrait(self, portrait: Portrait) -> None:
        self.portrait, self.state = portrait, "ready"
        self.since = self.heard = self.clock()
        entry = {"replica": self.replica, "node": portrait.node, "pid": portrait.pid, "device": portrait.device}
        self.history.append({**entry, "gpus": portrait.gpus, **portrait.versions, "answered": 0})

    def count(self, tokens: int) -> None:
        """Count an answer, of this process and of all."""
        self.turns += 1
        self.output_tokens += tokens
        self.history[-1]["answered"] += 1

    def status(self, in_flight: int, waits_for: str) -> ReplicaStatus:
        portrait = self.portrait
        return ReplicaStatus(
            replica=self.replica,
            state=waits_for if self.state == "waiting" else self.state,
            node=portrait.node if portrait is not None else "",
            device=portrait.device if portrait is not None else "",
            in_flight=in_flight,
            turns=self.turns,
            output_tokens=self.output_tokens,
            seconds=self.ready_seconds + (self.clock() - self.since if self.since else 0.0),
        )
