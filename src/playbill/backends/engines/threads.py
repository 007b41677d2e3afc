"""Adapt a blocking function that completes one request to an engine, with threads.

Threads start as they are needed and are daemons, so that a blocked call never keeps a process alive.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from playbill.backends.engines.base import Completion, OnText, Request
from playbill.backends.errors import EngineError

__all__ = ["Blocking", "Threads", "WorkFuture", "call_apart"]

T = TypeVar("T")


class WorkFuture(Future[Completion]):
    """A future whose work can be asked to stop after it began; plain futures forget such a wish."""

    def __init__(self) -> None:
        super().__init__()
        self._stop = threading.Event()

    def cancel(self) -> bool:
        self._stop.set()
        return super().cancel()

    def stop_wanted(self) -> bool:
        """Tell whether nobody waits for the answer any more."""
        return self._stop.is_set()


class Blocking(Protocol):
    """Complete one request, and return when it is done; raise EngineError and below for its faults.

    ``stop_wanted`` may be asked at any time: true once nobody waits for the answer any more.
    """

    def __call__(self, request: Request, on_text: OnText | None, stop_wanted: Callable[[], bool], /) -> Completion: ...


@dataclass(frozen=True, slots=True)
class _Job:
    future: WorkFuture
    request: Request
    on_text: OnText | None


class Threads:
    """At most ``limit`` threads that complete requests in the order in which they came."""

    def __init__(self, complete: Blocking, limit: int, name: str) -> None:
        self._complete = complete
        self._limit = limit
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._unfinished: set[WorkFuture] = set()
        self._closed = False

    def submit(self, request: Request, on_text: OnText | None = None) -> WorkFuture:
        """Queue a request; a thread is started for it unless enough of them are idle."""
        future = WorkFuture()
        with self._lock:
            if self._closed:
                raise EngineError(f"{self._name} is closed")
            if len(self._threads) < min(self._limit, len(self._unfinished) + 1):
                self._start_thread()
            self._unfinished.add(future)
            self._jobs.put(_Job(future, request, on_text))
        return future

    def close(self) -> None:
        """Take no more: what waits is cancelled, what runs is asked to stop and may end by itself."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            unfinished = list(self._unfinished)
        for future in unfinished:
            future.cancel()
        for _ in self._threads:
            self._jobs.put(None)

    def join(self, seconds: float) -> bool:
        """Wait so long at the most, after `close`, for work that was asked to stop; whether all of it did."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start_thread(self) -> None:
        name = f"playbill-{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as e:  # the system gives no more threads
            if not self._threads:
                raise EngineError(f"{self._name}: {e}") from e
            return
        self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel():
                self._run(job)
            with self._lock:
                self._unfinished.discard(job.future)

    def _run(self, job: _Job) -> None:
        try:
            job.future.set_result(self._complete(job.request, job.on_text, job.future.stop_wanted))
        except BaseException as e:  # noqa: BLE001 - it is handed to who waits for it
            job.future.set_exception(e)


def call_apart(function: Callable[[], T]) -> T:
    """Call a function in a thread of its own that ends with it, and return what it returns or raise what it raises.

    Ctrl-C leaves the thread to itself, which doesn't keep the process: a load of minutes can't be waited for.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as e:  # noqa: BLE001 - it is raised where it is waited for
            future.set_exception(e)

    threading.Thread(target=work, daemon=True).start()
    return future.result()
