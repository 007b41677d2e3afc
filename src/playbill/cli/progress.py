"""The progress of a run on stderr: a bar for each model where a person watches, single lines where not."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

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
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from playbill.backends.common.downloads import shown_by
from playbill.backends.common.terminal import printable
from playbill.backends.common.words import counted
from playbill.cli.messages import said_above, say
from playbill.runs import ModelSummary, Plan, Silent, Tick, Workload
from playbill.runs.summary import kind_of_fault

__all__ = ["RunProgress"]

_LONG_WAIT = 5.0  # seconds after which it is shown that an answer is being waited for
_NARROW, _WIDE = 60, 100  # columns of a terminal
_OTHERS = 24  # columns that count and time need beside a name


class _Speed(ProgressColumn):
    """Output tokens per second since the model was loaded, and how long the oldest request has been waiting."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if task.finished or task.stop_time is not None:
            rate = task.fields.get("rate")
            return Text(f"{rate:6.1f} tok/s" if rate else "", style="dim")
        tokens, started = task.fields["tokens"], task.fields["since"]
        elapsed = time.monotonic() - started if started else 0.0
        text = f"{tokens / elapsed:6.1f} tok/s" if tokens and elapsed > 0 else ""
        waiting = task.fields["waiting_since"]
        if waiting is not None and not task.finished and time.monotonic() - waiting > _LONG_WAIT:
            text += f"  waiting for {time.monotonic() - waiting:.0f} s"
        return Text(text, style="dim")


def _columns(width: int) -> list[ProgressColumn]:
    """Return what a bar shows in a terminal so wide."""
    others = _OTHERS + (0 if width < _NARROW else 11 if width < _WIDE else 45)
    room = Column(no_wrap=True, overflow="ellipsis", max_width=max(12, width - others))
    name, done = TextColumn("{task.description}", markup=False, table_column=room), MofNCompleteColumn()
    if width < _NARROW:
        return [name, done, TimeElapsedColumn()]
    bar = BarColumn(bar_width=30 if width >= _WIDE else 10)
    left = TimeRemainingColumn(elapsed_when_finished=True)
    return [name, bar, done, _Speed(), left] if width >= _WIDE else [name, bar, done, left]


class RunProgress(Silent):
    """Shows a run as it goes. Calls may come from several threads: rich locks, and single lines are whole.

    All that is said meanwhile, by whomever, comes above the bars. ``console`` is stderr, and ``line_every`` are the
    seconds between the lines of a log that nobody watches.
    """

    def __init__(self, console: Console | None = None, line_every: float = 15.0) -> None:
        console = console if console is not None else Console(stderr=True, force_terminal=sys.stderr.isatty())
        self._live = console.is_terminal
        self._line_every = line_every
        self._tasks: dict[str, TaskID] = {}
        self._since: dict[str, tuple[float, int]] = {}
        self._next_line: dict[str, float] = {}
        self._loading = ""
        self._problems: set[str] = set()
        self._faults: set[tuple[str, str]] = set()
        self._progress = Progress(*_columns(console.width), console=console, disable=not self._live)
        self._around = ExitStack()

    def __enter__(self) -> Self:
        self._progress.start()
        if self._live:
            self._around.enter_context(said_above(self._print))
            self._around.enter_context(shown_by(self._downloaded))
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._around.close()
        self._progress.stop()

    def has_said(self, problem: str) -> bool:
        """Tell whether a model's end was told in these words, so that nobody has to say it again."""
        return problem in self._problems

    def planned(self, plan: Plan) -> None:
        samples = f", {plan.repeat} samples of each" if plan.repeat > 1 else ""
        self._say(
            f"{counted(plan.dialogues, 'dialogue')}{samples}, {counted(len(plan.labels), 'model')}; "
            f"records go to {plan.folder}" + (", where an earlier start left some" if plan.resumed else "")
        )

    def loading(self, label: str) -> None:
        if self._live:
            self._loading = label
            self._tasks[label] = self._progress.add_task(
                printable(f"{label} (loading)"), total=None, tokens=0, since=None, waiting_since=None
            )
        else:
            self._log(f"{label}: loading")

    def started(self, label: str, work: Workload) -> None:
        self._since[label] = time.monotonic(), work.recorded
        self._next_line[label] = time.monotonic() + self._line_every
        if self._live:
            self._progress.update(
                self._tasks[label],
                description=printable(label),
                total=work.turns,
                completed=work.recorded,
                since=time.monotonic(),
            )
        else:
            there = f", {work.recorded} of them recorded before" if work.recorded else ""
            self._log(f"{label}: {counted(work.turns, 'turn')}{there}")

    def submitted(self, label: str, in_flight: int, waiting_since: float) -> None:
        if self._live:
            self._progress.update(self._tasks[label], waiting_since=waiting_since)

    def recorded(self, label: str, tick: Tick) -> None:
        if tick.fault is not None and (label, kind_of_fault(tick.fault)) not in self._faults:
            self._faults.add((label, kind_of_fault(tick.fault)))
            self._log(f"{label}: {tick.id}, turn {tick.turn}: {tick.outcome.value}: {tick.fault}")
        if self._live:
            self._progress.update(
                self._tasks[label],
                completed=tick.recorded,
                total=tick.turns,
                tokens=tick.output_tokens,
                waiting_since=tick.waiting_since,
            )
        elif (now := time.monotonic()) > self._next_line[label]:
            self._next_line[label] = now + self._line_every
            self._log(f"{label}: {self._pace(label, tick, now)}")

    def _pace(self, label: str, tick: Tick, now: float) -> str:
        """Say how far a model is, how fast, and how long the rest will take at the pace of this start."""
        since, before = self._since[label]
        parts = [f"{tick.recorded} of {counted(tick.turns, 'turn')}"]
        if tick.output_tokens:
            parts.append(f"{tick.output_tokens / (now - since):.1f} tok/s")
        if tick.recorded > before and tick.turns > tick.recorded:
            left = (tick.turns - tick.recorded) * (now - since) / (tick.recorded - before)
            parts.append(f"about {timedelta(seconds=round(left))} left")
        return ", ".join(parts)

    def finished(self, label: str, summary: ModelSummary) -> None:
        if self._live and label in self._tasks:
            state = " (failed)" if summary.problem else ""
            total = summary.records + summary.missing
            self._progress.update(
                self._tasks[label],
                description=printable(f"{label}{state}"),
                total=total or None,
                completed=summary.records,
                rate=summary.tokens_per_second,
            )
            if summary.problem:
                self._progress.stop_task(self._tasks[label])
        if summary.problem:
            self._problems.add(summary.problem)
            self._log(f"{label}: {summary.problem}")
        elif not self._live:
            self._log(f"{label}: done, {counted(summary.records, 'record')}")

    def said(self, label: str, text: str) -> None:
        self._say(f"{label}: {text}" if label else text)

    def _downloaded(self, what: str, done: int, total: int | None) -> None:
        """Show a download in the bar of the model that is being loaded."""
        if self._loading in self._tasks:
            share = f"{done / total:.0%}" if total else f"{done / 1e6:,.0f} MB"
            text = printable(f"{self._loading} (loading: {what}, {share})")
            self._progress.update(self._tasks[self._loading], description=text)

    def _log(self, text: str) -> None:
        """Say what happened, and in a log that nobody watches when."""
        self._say(text if self._live else f"{datetime.now():%H:%M:%S} {text}")

    def _say(self, text: str) -> None:
        say(printable(text) if self._live else f"playbill: {printable(text)}")

    def _print(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)
