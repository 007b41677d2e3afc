"""Adaptive concurrency: how many requests an endpoint gets at once, and when it gets none.

The limit follows AIMD: it grows while the endpoint answers (doubling until the first rate limit, then by one a round)
and halves on each rate limit. ``Retry-After`` pauses all requests. A circuit breaker declares an endpoint down that
never answered, and probes one that answered before. Lives on the service loop, so it needs no locks. Knows no wire.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from playbill.backends.common.words import counted
from playbill.backends.errors import EndpointDown

__all__ = ["Limiter", "LimiterKey", "ceiling", "limiter_for"]

START = 4.0
_MOST = 1024.0
DEAD_ATTEMPTS = 20
DEAD_SECONDS = 30.0
DEAD_LEAST = 3
"""Fewer failures are no sign of death, however long they took: one slow request times out after minutes."""
PAUSE, LONGEST_PAUSE = 2.0, 60.0
_GRACE = 10.0


def ceiling() -> float:
    """Return the most requests in flight that are ever tried: half of the files that the process may open."""
    try:
        import resource
    except ImportError:  # Windows, where sockets are not counted among files
        return _MOST
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if files == resource.RLIM_INFINITY else max(START, min(_MOST, files // 2))


@dataclass(frozen=True)
class LimiterKey:
    """Requests to one address with one key share a limiter. ``owner`` is a hash of the key, so that no key is held
    here."""

    origin: str
    owner: int
    fixed: int | None


class _Pace:
    """How many answers a second came at which limit, round by round; a round is as many answers as the limit."""

    def __init__(self, limit: float, now: float) -> None:
        self._best = 0.0
        self._best_limit = limit
        self._begin(limit, now)

    def _begin(self, limit: float, now: float) -> None:
        self._limit, self._since, self._answers = limit, now, 0

    def count(self, limit: float, now: float) -> bool:
        """Count an answer; False where a round brought hardly more than the best one at a lower limit."""
        self._answers += 1
        if self._answers < self._limit:
            return True
        rate = self._answers / max(1e-3, now - self._since)
        better = rate > self._best * 1.1
        if better:
            self._best, self._best_limit = rate, self._limit
        self._begin(limit, now)
        return better

    def most_useful(self, *, steep: bool) -> float:
        """Return the limit up to which trying is worth it: twice what was best so far, later on half more than that."""
        return self._best_limit * (2.0 if steep else 1.5) + START


class Limiter:
    """Admits attempts to one endpoint: AIMD for the limit, a circuit breaker for endpoints that are down."""

    def __init__(self, name: str, fixed: int | None, clock: Callable[[], float]) -> None:
        self._name = name
        self._fixed = fixed
        self._clock = clock
        self._limit = float(fixed) if fixed is not None else START
        self._ceiling = ceiling()
        self._steep = fixed is None  # doubling with every round, until the first rate limit
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._lowered_at = 0.0
        self._pace = _Pace(self._limit, clock())
        self._answered = False
        self._failures = 0
        self._failing_since = 0.0
        self._pause = 0.0
        self._dead_until = 0.0
        self._obituary = ""

    @property
    def limit(self) -> int:
        """The number of requests that may be in flight now."""
        return 1 if self._pause else int(self._limit)

    @property
    def width(self) -> int:
        """The number that may be in flight when nothing is wrong; a scheduler keeps as many ready."""
        return int(self._limit)

    async def enter(self, *, again: bool = False) -> None:
        """Wait for a place; ``again`` goes before those that never had one. Raises EndpointDown."""
        if self._clock() < self._dead_until:
            raise EndpointDown(self._obituary)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if again else self._waiting.append)(place)
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place back."""
        self._in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        now = self._clock()
        while self._waiting and self._in_flight < self.limit:
            if self._waiting[0].done():  # it was cancelled while it waited
                self._waiting.popleft()
            elif now < self._not_before:
                self._wake_at(self._not_before)
                return
            else:
                self._in_flight += 1
                self._waiting.popleft().set_result(None)

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, when - self._clock()) + 0.001, self._admit)

    def succeeded(self) -> None:
        """Record an attempt that brought a completion."""
        self._answered = True
        self._failures, self._pause, self._dead_until = 0, 0.0, 0.0
        if self._fixed is None and self._in_flight * 2 >= self._limit:  # else the limit limits nothing
            self._grow()

    def _grow(self) -> None:
        """Raise the limit as long as more requests in flight bring more answers a second."""
        self._steep = self._pace.count(self._limit, self._clock()) and self._steep
        step = 1.0 if self._steep else 1.0 / self._limit
        self._limit = max(
            self._limit, min(self._ceiling, self._pace.most_useful(steep=self._steep), self._limit + step)
        )

    def rate_limited(self, started: float, retry_after: float | None) -> None:
        """Record a rate limit: halve, once for all requests that were under way together, and pause."""
        now = self._clock()
        if self._fixed is None and started >= self._lowered_at:
            self._limit = max(1.0, self._limit / 2)
            self._steep = False
            self._lowered_at = now
        if retry_after is not None:
            self._not_before = max(self._not_before, now + retry_after)

    def failed(self, started: float, why: str) -> None:
        """Record a failed attempt.

        An endpoint that never answered is declared down; one that answered before is paused with exponential backoff.
        """
        now = self._clock()
        if not self._failures:
            self._failing_since = started
        self._failures += 1
        lasting = now - self._failing_since >= DEAD_SECONDS and self._failures >= DEAD_LEAST
        if self._failures < DEAD_ATTEMPTS and not lasting:
            return
        if self._answered:
            self._pause = min(LONGEST_PAUSE, self._pause * 2 or PAUSE)
            self._not_before = max(self._not_before, now + self._pause)
            return
        if now >= self._dead_until:
            self._obituary = self._write_obituary(now, why)
        self._dead_until = now + _GRACE
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(EndpointDown(self._obituary))

    def _write_obituary(self, now: float, why: str) -> str:
        attempts = counted(self._failures, "attempt")
        return (
            f"{self._name} answered none of {attempts} in {now - self._failing_since:.0f} s; the last "
            f"one: {why}. Is it running, and is its address right?"
        )

    @property
    def down_reason(self) -> str | None:
        """What to say of an endpoint that counts as dead now; None if it doesn't."""
        return self._obituary if self._clock() < self._dead_until else None


_gates: WeakValueDictionary[LimiterKey, Limiter] = WeakValueDictionary()


def limiter_for(key: LimiterKey, name: str, clock: Callable[[], float]) -> Limiter:
    """Return the limiter of an endpoint: one for all engines of a process that go there with the same key."""
    return _gates.setdefault(key, Limiter(name, key.fixed, clock))
