"""The progress of a run on stderr: a bar for each model where a person watches, single lines where not."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from playbill.backends.common.terminal import printable
from playbill.replicas import ReplicaStatus
from playbill.runs import ModelSummary, Plan, Silent, Tick, Workload

__all__ = ["LINE_EVERY", "RunProgress"]

_MOST_NAMED = 8  # replicas
_LONG_WAIT = 5.0  # seconds after which it is shown that an answer is being waited for
LINE_EVERY = 15.0  # seconds between the lines of a log that nobody watches


class _Speed(ProgressColumn):
    """Output tokens per second since the model was loaded, and how long the oldest request has been waiting."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        tokens, started = task.fields["tokens"], task.fields["since"]
        elapsed = time.monotonic() - started if started else 0.0
        text = f"{tokens / elapsed:6.1f} tok/s" if tokens and elapsed > 0 else ""
        waiting = task.fields["waiting_since"]
        if waiting is not None and not task.finished and time.monotonic() - waiting > _LONG_WAIT:
            text += f"  waiting for {time.monotonic() - waiting:.0f} s"
        replicas = task.fields.get("replicas")
        if replicas is not None and not task.finished:
            text += f"  {replicas_in_short(replicas())}"
        return Text(text, style="dim")


def replicas_in_short(statuses: Sequence[ReplicaStatus]) -> str:
    """Return how many replicas are ready, the range of their rates, and what the others wait for."""
    rates = [rate for status in statuses if (rate := status.tokens_per_second) is not None]
    ready = sum(status.state == "ready" for status in statuses)
    text = f"{ready} of {len(statuses)} replicas"
    if len(rates) > 1:
        text += f" at {min(rates):.1f} to {max(rates):.1f} tok/s"
    others = Counter(status.state for status in statuses if status.state != "ready")
    return ", ".join([text, *(f"{count} {state}" for state, count in others.items())])


def replicas_in_full(statuses: Sequence[ReplicaStatus]) -> str:
    """Return how each replica does; where there are many, in short."""
    if len(statuses) > _MOST_NAMED:
        return replicas_in_short(statuses)
    return "; ".join(map(_replica_in_full, statuses))


def _replica_in_full(status: ReplicaStatus) -> str:
    if status.state != "ready":
        return f"replica {status.replica}: {status.state}"
    rate = status.tokens_per_second or 0
    return f"replica {status.replica} on {status.node}: {rate:.1f} tok/s, {status.in_flight} under way"


class RunProgress(Silent):
    """Shows a run as it goes. Calls may come from several threads: rich locks, and single lines are whole."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._tasks: dict[str, TaskID] = {}
        self._since: dict[str, float] = {}
        self._replicas: dict[str, Callable[[], Sequence[ReplicaStatus]] | None] = {}
        self._next_line: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _Speed(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not self._live,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def planned(self, plan: Plan) -> None:
        samples = f", {plan.repeat} samples of each" if plan.repeat > 1 else ""
        self._say(
            f"{plan.dialogues} dialogues{samples}, {len(plan.labels)} model(s); records go to {plan.folder}"
            + (", where an earlier start left some" if plan.resumed else "")
        )

    def loading(self, label: str) -> None:
        if self._live:
            self._tasks[label] = self._progress.add_task(
                printable(f"{label} (loading)"), total=None, tokens=0, since=None, waiting_since=None
            )
        else:
            self._say(f"{label}: loading")

    def started(self, label: str, work: Workload) -> None:
        self._since[label] = time.monotonic()
        self._replicas[label] = work.replicas
        self._next_line[label] = time.monotonic() + LINE_EVERY
        if self._live:
            self._progress.update(
                self._tasks[label],
                description=printable(label),
                total=work.turns,
                completed=work.recorded,
                since=time.monotonic(),
                replicas=work.replicas,
            )
        else:
            there = f", {work.recorded} of them recorded before" if work.recorded else ""
            self._say(f"{label}: {work.turns} turns{there}")

    def submitted(self, label: str, in_flight: int, waiting_since: float) -> None:
        if self._live:
            self._progress.update(self._tasks[label], waiting_since=waiting_since)

    def recorded(self, label: str, tick: Tick) -> None:
        if self._live:
            self._progress.update(
                self._tasks[label],
                completed=tick.recorded,
                total=tick.turns,
                tokens=tick.output_tokens,
                waiting_since=tick.waiting_since,
            )
        elif (now := time.monotonic()) > self._next_line[label]:
            self._next_line[label] = now + LINE_EVERY
            speed = tick.output_tokens / (now - self._since[label])
            replicas = self._replicas.get(label)
            more = f"; {replicas_in_full(replicas())}" if replicas is not None else ""
            self._say(f"{label}: {tick.recorded} of {tick.turns} turns, {speed:.1f} tok/s{more}")

    def finished(self, label: str, summary: ModelSummary) -> None:
        if self._live and label in self._tasks:
            self._progress.update(self._tasks[label], total=summary.records, completed=summary.records)
        if summary.problem:
            self._say(f"{label}: {summary.problem}")
        elif not self._live:
            self._say(f"{label}: done, {summary.records} records")

    def said(self, label: str, text: str) -> None:
        self._say(f"{label}: {text}" if label else text)

    def _say(self, text: str) -> None:
        text = printable(text)
        if self._live:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(f"playbill: {text}", err=True)
