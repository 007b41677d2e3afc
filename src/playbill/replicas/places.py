"""Where replicas run: what a place must offer, and what a replica asks for. Starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from playbill.backends.engines.machine.memory import gibibytes
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.fields.types import parse_bytes
from playbill.replicas.wire import Ask, LoadOrder

__all__ = ["Event", "Place", "Places", "ReplicaStatus", "Wanted", "gpus_wanted", "has_replicas", "works_alone"]

STOPPED_SECONDS = 5.0
"""A thread that looks every half second and finds so many gone knows that its own process was stopped."""
REPLICATED = frozenset(["huggingface_local", "llamacpp", "vllm", "programmatic"])
"""The backends whose models can have replicas."""


def has_replicas(entry: Mapping[str, Any]) -> bool:
    """Return whether models of this entry's backend can have replicas."""
    return entry.get("backend") in REPLICATED


def works_alone(entry: Mapping[str, Any]) -> str:
    """Return in words that a model gets no replicas, and which do."""
    *names, last = sorted(REPLICATED)
    return (
        f"works in this process, without replicas: those are for {', '.join(names)} and {last}, and its backend is "
        f"{entry.get('backend')}"
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one replica asks of its machine. ``gpus`` may be a part of one; ``memory`` is in bytes."""

    cpus: float
    gpus: float = 0
    memory: int | None = None
    others: Mapping[str, float] | None = None

    def as_bundle(self) -> dict[str, float]:
        """Return it in Ray's words."""
        found = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory or 0), **(self.others or {})}
        return {name: amount for name, amount in found.items() if amount}

    def __str__(self) -> str:
        return said_resources(self.as_bundle()) or "nothing"


def said_resources(bundle: Mapping[str, float]) -> str:
    """Return resources in words: ``4 CPU, 1 GPU, 20.0 GiB memory``."""
    parts = (f"{gibibytes(int(v))} memory" if k == "memory" else f"{v:g} {k}" for k, v in bundle.items())
    return ", ".join(parts)


def gpus_wanted(entry: Mapping[str, Any], *, there_are_some: bool) -> float:
    """Return how many GPUs a replica gets. What the entry says counts; else by its backend, where there are any."""
    if entry.get("num_gpus") is not None:
        return float(entry["num_gpus"])
    backend = entry.get("backend")
    if backend == "llamacpp":
        asked = entry.get("execute_on")
        return float(asked == "gpu" or (asked is None and bool(setting(entry, "gpu_layers_offloaded"))))
    if not there_are_some:
        return 0.0
    if backend == "vllm":
        return float(setting(entry, "number_gpus") * setting(entry, "pipeline_parallel_size"))
    return float(backend == "huggingface_local")


def wanted(entry: Mapping[str, Any], *, gpus: bool, cpus: float) -> Wanted:
    """Return what an entry's replica asks for; ``cpus`` is what it gets where the entry says nothing."""
    given = entry.get("num_cpus")
    return Wanted(
        cpus=float(entry.get("threads") or cpus) if given is None else float(given),
        gpus=gpus_wanted(entry, there_are_some=gpus),
        memory=parse_bytes(entry.get("memory")),
        others={str(name): float(amount) for name, amount in (entry.get("resources") or {}).items()} or None,
    )


@dataclass(frozen=True, slots=True)
class Event:
    """What a place tells of a replica: ``kind`` and what belongs to it.

    ``placed``: it has its resources, and loads; ``ready``: its Portrait; ``answers``: a list of Answers, which is a
    sign of life too; ``died``: an exception, the end of its log as ``log``, and whether ``moved``: the place took it
    away before it could load, which is no fault of its own; ``refused``: an error of ours that loading raised.
    """

    replica: int
    kind: str
    value: Any = None
    log: str = ""
    moved: bool = False


Tell = Callable[[Event], None]


class Place(Protocol):
    """One replica where it was put. All calls come from one thread."""

    def send(self, asks: Sequence[Ask], cancelled: Sequence[int]) -> None:
        """Hand over turns, at once or as soon as there is room; never waits."""
        ...

    def answered(self) -> None:
        """Note that an ``answers`` event was taken: the next may be asked for."""
        ...

    def kill(self) -> None:
        """End it, whatever it does. Idempotent, never waits, and tells nothing any more."""
        ...


class Places(Protocol):
    """A machine or a cluster that replicas can be put on.

    ``silence`` is how many seconds a loaded replica may give no sign of life, which comes every two seconds, before it
    is taken for dead.
    """

    silence: float

    def count(self, entry: Mapping[str, Any]) -> int:
        """Return how many replicas are wanted. Raises RunError where not one fits, saying what is missing."""
        ...

    def order(self, order: LoadOrder) -> LoadOrder:
        """Return the order with what follows from the place, as the number of threads."""
        ...

    def start(self, replica: int, order: LoadOrder, tell: Tell) -> Place:
        """Begin to put a replica somewhere; ``tell`` is called from any thread with what becomes of it."""
        ...

    def waits_for(self, entry: Mapping[str, Any]) -> str:
        """Return what a replica that isn't placed yet waits for, in words."""
        ...

    @property
    def lost(self) -> str:
        """Return why nothing there can be reached any more, in words; the empty string while it can."""
        ...

    @property
    def side_by_side(self) -> bool:
        """Whether several models may be started at once, since the place makes each wait for its resources."""
        ...


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """How a replica does: for progress displays and the manifest."""

    replica: int
    state: str
    node: str = ""
    device: str = ""
    in_flight: int = 0
    turns: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens a second while it was ready; None where there are none yet."""
        return self.output_tokens / self.seconds if self.output_tokens and self.seconds > 0 else None
