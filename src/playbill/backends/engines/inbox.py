"""The inbox of an engine whose one thread owns the model: requests go in from any thread, and that thread takes them.

Knows no model and no library. huggingface_local and vllm share it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Generic, TypeVar

from playbill.backends.engines.base import Completion
from playbill.backends.engines.sequence import TokenSequence
from playbill.backends.errors import EngineError

__all__ = ["Inbox"]

S = TypeVar("S", bound=TokenSequence)


class Inbox(Generic[S]):
    """Requests on their way to the engine's thread. ``name`` is the engine's, for messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: queue.SimpleQueue[S | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._error: EngineError | None = None

    def put(self, sequence: S) -> Future[Completion]:
        """Hand a request over, and return its future. Raises EngineError once the engine is closed or has failed."""
        with self._lock:
            if self._closed:
                raise self._error or EngineError(f"{self._name} is closed")
            self._queue.put(sequence)
        return sequence.future

    def get(self, *, block: bool, timeout: float | None = None) -> S | None:
        """Return the next request that somebody still waits for; None where the engine is to end.

        Raises queue.Empty where none came: at once, or after ``timeout`` seconds.
        """
        while True:
            sequence = self._queue.get(block=block, timeout=timeout)
            if sequence is None or sequence.future.set_running_or_notify_cancel():
                return sequence

    def close(self) -> bool:
        """Take no more requests, and let the thread end. Return False if the inbox was closed before."""
        with self._lock:
            if self._closed:
                return False
            self._closed = True
            self._queue.put(None)
            return True

    def fail(self, error: EngineError | None, under_way: Iterable[S]) -> None:
        """Take no more requests, and deliver ``error`` (None: closed) to those under way and those still waiting."""
        with self._lock:
            self._closed = True
            self._error = error
        left = list(under_way)
        while True:
            try:
                sequence = self.get(block=False)
            except queue.Empty:
                break
            if sequence is not None:
                left.append(sequence)
        for sequence in left:
            if sequence.unwanted:
                sequence.drop()
            else:
                sequence.fail(error or EngineError(f"{self._name} was closed before it answered"))
