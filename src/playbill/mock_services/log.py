"""The log of requests that a mock server received, readable from another thread."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Received", "RequestLog"]


@dataclass(frozen=True)
class Received:
    """One request. ``outcome`` is ``answered``, a fault's name, ``rate_limited``, ``refused_form``, or
    ``other``.

    Headers, which hold keys, and the body are left out of the ``repr``. ``time`` is that of
    ``time.monotonic``.
    """

    number: int
    method: str
    path: str
    query: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    time: float
    wire: str | None
    outcome: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class RequestLog:
    """A bounded record of requests, and counts of all of them; safe to read from any thread."""

    def __init__(self, keep: int) -> None:
        self._changed = threading.Condition()
        self._kept: deque[Received] = deque(maxlen=keep)
        self._counts: Counter[str] = Counter()
        self._in_flight = 0
        self._peak = 0

    def begin(self) -> int:
        """Count a request as in work; how many were before it."""
        with self._changed:
            before = self._in_flight
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)
            return before

    def add(self, received: Received) -> None:
        """Keep a request, once it is decided what to do with it."""
        with self._changed:
            self._kept.append(received)
            self._counts[received.outcome] += 1
            self._changed.notify_all()

    def end(self) -> None:
        """A request is done with, well or badly."""
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    @property
    def requests(self) -> tuple[Received, ...]:
        """The last requests, oldest first; at most as many as are kept."""
        with self._changed:
            return tuple(self._kept)

    @property
    def counts(self) -> Counter[str]:
        """How many requests had each outcome, since the start."""
        with self._changed:
            return Counter(self._counts)

    @property
    def total(self) -> int:
        """How many requests came since the start."""
        with self._changed:
            return self._counts.total()

    @property
    def in_flight(self) -> int:
        """How many requests are in work now."""
        with self._changed:
            return self._in_flight

    @property
    def peak(self) -> int:
        """How many requests were in work at once, at most."""
        with self._changed:
            return self._peak

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until a condition on this log holds; false if it doesn't within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            with self._changed:
                if not self._changed.wait(min(0.05, max(0.0, deadline - time.monotonic()))) and (
                    time.monotonic() >= deadline
                ):
                    return condition()
        return True
