"""What a run tells its observer: all that a progress display needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from playbill.backends.generation import Outcome
from playbill.runs.summary import ModelSummary

__all__ = ["Observer", "Plan", "Silent", "Tick", "Workload"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before its first model: where it goes, and over what. ``resumed``: the folder was there before."""

    folder: Path
    labels: tuple[str, ...]
    dialogues: int
    repeat: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class Workload:
    """A model's work as it starts: ``turns`` in all, ``recorded`` of them before this start."""

    turns: int
    recorded: int
    in_flight: int
    """The most requests that will be under way at once."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A turn that was just recorded, and the state of its model.

    ``turns`` is how many the model will have in the end as far as is known by now: it shrinks as dialogues end
    early. Tokens are those of this start. ``waiting_since`` is when the oldest request under way was submitted,
    on `time.monotonic`; None where none is.
    """

    id: str
    turn: int
    sample: int
    outcome: Outcome
    recorded: int
    turns: int
    input_tokens: int
    output_tokens: int
    in_flight: int
    waiting_since: float | None
    fault: str | None = None
    """What an answer that is none failed with."""


class Observer(Protocol):
    """Watches a run. Models of services run side by side, so calls may come from several threads at once."""

    def planned(self, plan: Plan) -> None:
        """Note that all inputs and names are checked; models come next."""
        ...

    def loading(self, label: str) -> None:
        """Note that a model is being loaded."""
        ...

    def started(self, label: str, work: Workload) -> None:
        """Note that a model is loaded, and its first requests are about to go."""
        ...

    def submitted(self, label: str, in_flight: int, waiting_since: float) -> None:
        """Note that a request was sent."""
        ...

    def recorded(self, label: str, tick: Tick) -> None:
        """Note that a turn was recorded."""
        ...

    def finished(self, label: str, summary: ModelSummary) -> None:
        """Note that a model is done, or stopped: then the summary has a ``problem`` or ``missing`` turns."""
        ...

    def said(self, label: str, text: str) -> None:
        """Something to be told once: what was mended, what changed since the last start."""
        ...


class Silent:
    """An observer that shows nothing; the one of a run that has none. A base for those that show a part."""

    def planned(self, plan: Plan) -> None:
        return None

    def loading(self, label: str) -> None:
        return None

    def started(self, label: str, work: Workload) -> None:
        return None

    def submitted(self, label: str, in_flight: int, waiting_since: float) -> None:
        return None

    def recorded(self, label: str, tick: Tick) -> None:
        return None

    def finished(self, label: str, summary: ModelSummary) -> None:
        return None

    def said(self, label: str, text: str) -> None:
        return None
