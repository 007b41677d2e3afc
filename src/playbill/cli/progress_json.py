"""The progress of a run as lines of JSON on stderr, for logs that programs read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, Self

import click

from playbill.backends.common.terminal import printable_json
from playbill.cli.messages import said_above
from playbill.replicas import ReplicaStatus
from playbill.runs import ModelSummary, Plan, Silent, Tick, Workload

__all__ = ["JsonProgress"]

_LINE_EVERY = 15.0  # seconds


class JsonProgress(Silent):
    """Says what happens, an object with an ``event`` a line: planned, loading, started, progress, said, finished.

    What others say meanwhile, as warnings, is ``said`` too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self._replicas: dict[str, Callable[[], Sequence[ReplicaStatus]] | None] = {}

        self._around = ExitStack()
        self._problems: set[str] = set()

    def __enter__(self) -> Self:
        self._around.enter_context(said_above(lambda text: self.said("", text)))
        return self

    def __exit__(self, *error: object) -> None:
        self._around.close()

    def has_said(self, problem: str) -> bool:
        """Tell whether a model's end was told in these words, so that nobody has to say it again."""
        return problem in self._problems

    def planned(self, plan: Plan) -> None:
        self._say("planned", folder=str(plan.folder), models=plan.labels, dialogues=plan.dialogues, repeat=plan.repeat)

    def loading(self, label: str) -> None:
        self._say("loading", model=label)

    def started(self, label: str, work: Workload) -> None:
        self._since[label] = time.monotonic()
        self._next[label] = time.monotonic() + _LINE_EVERY
        self._replicas[label] = work.replicas
        self._say("started", model=label, turns=work.turns, recorded=work.recorded, **self._told(label))

    def recorded(self, label: str, tick: Tick) -> None:
        now = time.monotonic()
        if now < self._next[label]:
            return
        self._next[label] = now + _LINE_EVERY
        self._say(
            "progress",
            model=label,
            recorded=tick.recorded,
            turns=tick.turns,
            in_flight=tick.in_flight,
            waiting_seconds=round(now - tick.waiting_since, 1) if tick.waiting_since is not None else None,
            tokens_per_second=round(tick.output_tokens / (now - self._since[label]), 2),
            **self._told(label),
        )

    def finished(self, label: str, summary: ModelSummary) -> None:
        if summary.problem:
            self._problems.add(summary.problem)
        self._say("finished", **summary.to_dict(), **self._told(label))

    def said(self, label: str, text: str) -> None:
        self._say("said", model=label or None, text=text)

    def _told(self, label: str) -> dict[str, Any]:
        replicas = self._replicas.get(label)
        if replicas is None:
            return {}
        return {"replicas": [{**asdict(each), "tokens_per_second": each.tokens_per_second} for each in replicas()]}

    def _say(self, event: str, **content: Any) -> None:
        with self._lock:
            click.echo(printable_json({"event": event, **content}, indent=None), err=True)
