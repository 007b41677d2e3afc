"""Whether other processes keep an engine's threads from computing: measured while it is at work, said once.

An engine's threads wait for each other many times a token, so one that has to wait for a core holds all of them up.
Linux tells how long each thread waited for a core; elsewhere, with psutil, less is known: how much CPU time this
process got, and how much the others. Knows no engine.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.common.words import counted
from playbill.backends.engines.machine.cpu_threads import usable_cores

__all__ = ["ContentionWatch", "CpuReading", "complaint", "read_cpu"]

_WINDOW_SECONDS = 10.0
_WAITING = 0.3
"""The threads that wait for a core on an average, from which on it is worth saying."""
_OTHERS = 0.3
"""The cores that others keep busy, below which they are not the cause."""
_SHARE = 0.7
"""Of the CPU time that the threads could use, where it isn't known how long they waited."""
_IDLE = 0.1
"""The share of a window without work, above which it tells nothing."""
_TASKS, _STAT = Path("/proc/self/task"), Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class CpuReading:
    """Clocks, all in seconds that went by since anywhen: ``time`` on the wall, ``own`` of this process's CPU,
    ``all`` of all processes' CPU, and for each of our threads how long it computed and waited for a core (empty
    where the system doesn't say)."""

    time: float
    own: float
    all: float
    threads: dict[str, tuple[float, float]]


def read_cpu() -> CpuReading | None:
    """Return the clocks as they stand; None on a system that doesn't tell what others use."""
    everybody = _cpu_of_all()
    if everybody is None:
        return None
    return CpuReading(time.monotonic(), time.process_time(), everybody, _cpu_of_threads())


def _cpu_of_all() -> float | None:
    try:
        user, nice, system, _, _, interrupts, soft = map(int, _STAT.read_text("ascii").split()[1:8])
    except (OSError, ValueError):
        return _cpu_by_psutil()
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def _cpu_by_psutil() -> float | None:
    try:
        import psutil
    except ImportError:
        return None
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))


def _cpu_of_threads() -> dict[str, tuple[float, float]]:
    found = {}
    try:
        for task in _TASKS.iterdir():
            computed, waited = map(int, (task / "schedstat").read_text("ascii").split()[:2])
            found[task.name] = (computed / 1e9, waited / 1e9)
    except (OSError, ValueError):  # another system, a kernel without it, or a thread that just ended
        return found
    return found


def complaint(before: CpuReading, after: CpuReading, *, threads: int, cores: int) -> str | None:
    """Return what to say of an engine with so many threads that was at work between two readings; None for nothing."""
    seconds = after.time - before.time
    own = (after.own - before.own) / seconds
    others = max(0.0, (after.all - before.all) / seconds - own)
    if others < _OTHERS and threads <= cores:
        return None
    common = before.threads.keys() & after.threads.keys()
    computed, waited = (sum(after.threads[t][i] - before.threads[t][i] for t in common) / seconds for i in (0, 1))
    if computed:
        if waited < _WAITING:
            return None
        figures = f"its {_threads(threads)} waited for a core for {waited / (computed + waited):.0%} of their time"
    else:
        # Threads that wait for one another compute little too; only with too few cores for all is it the others.
        if own >= _SHARE * threads or threads + others < cores + _OTHERS:
            return None
        figures = f"its {_threads(threads)} got {own / threads:.0%} of the CPU time that they could use"
    return f"{figures} in the last {seconds:.0f} s, and other processes used {others:.1f} of {cores} cores; " + _advice(
        others, threads, cores
    )


def _advice(others: float, threads: int, cores: int) -> str:
    fitting = max(1, min(cores, round(cores - others)))
    fewer = f'set "threads": {fitting}' if fitting < threads else ""
    end = "end the other processes" if others >= _OTHERS else ""
    return f"answers come faster if you {' or '.join(part for part in (end, fewer) if part)}"


def _threads(number: int) -> str:
    return "thread" if number == 1 else counted(number, "thread")


class ContentionWatch:
    """Reads the clocks now and then while an engine is at work, and says once what slows it down.

    ``threads`` are those that compute. While nothing is asked, nothing runs but a thread that sleeps.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        *,
        window: float = _WINDOW_SECONDS,
        read: Callable[[], CpuReading | None] = read_cpu,
        say: Callable[[str], None] = warn_once,
    ) -> None:
        self._name = name
        self._threads = threads
        self._window = window
        self._read = read
        self._say = say
        self._changed = threading.Condition()
        self._at_work = 0
        self._idle_since = time.monotonic()
        self._idle = 0.0
        self._over = False
        self._thread: threading.Thread | None = None

    def follow(self, future: Future[Any]) -> None:
        """Count a request as work until it is done."""
        if self._over:
            return
        with self._changed:
            if self._at_work == 0:
                self._idle += time.monotonic() - self._idle_since
                self._changed.notify()
            self._at_work += 1
            if self._thread is None:
                self._start()
        future.add_done_callback(self._leave)

    def close(self) -> None:
        """Watch no more."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="playbill-contention", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system gives no more threads: those that compute matter more
            self._over = True

    def _leave(self, _: Future[Any]) -> None:
        with self._changed:
            self._at_work -= 1
            if self._at_work == 0:
                self._idle_since = time.monotonic()

    def _watch(self) -> None:
        while self._work_comes():
            idle, before = self._idle, self._read()
            if before is None or self._closed_within(self._window):
                break
            after = self._read()
            mostly_idle = self._at_work == 0 or self._idle - idle > _IDLE * self._window
            if after is None or mostly_idle:
                continue
            text = complaint(before, after, threads=self._threads, cores=usable_cores())
            if text is not None:
                self._say(f"{self._name}: {text}")
                break
        self._over = True

    def _work_comes(self) -> bool:
        """Wait for work; whether it came before the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._at_work > 0)
            return not self._over

    def _closed_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._over, seconds)
