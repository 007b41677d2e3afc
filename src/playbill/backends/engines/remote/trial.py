"""Learn from a service's first answers: whether it takes requests of this shape at all, and which defaults it refuses.

A wrong body is refused at once, and alike for every dialogue. So the first requests of an engine go one by one, and
what would fail for all costs two requests, not one a dialogue. A service that takes longer to refuse costs those that
were under way. Lives on the service loop, so it needs no locks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection

from playbill.backends.engines.remote.failure import Failure, Kind
from playbill.backends.errors import CredentialsError, PlaybillError, QuotaUsedUp, RequestRefused

__all__ = ["Trial", "named_parameter"]

PATIENCE = 5.0
"""Seconds for which the others wait; a service that has not refused a request by then is answering it, as a rule."""
VALID = 30.0
"""Seconds for which a verdict holds; who asks later may have changed something at the service."""
STRIKES = 2
_LASTING = (Kind.REQUEST, Kind.NOT_FOUND, Kind.FORBIDDEN, Kind.KEY, Kind.QUOTA)
_AT_ONCE = (Kind.NOT_FOUND, Kind.KEY, Kind.QUOTA)
_WORDS = frozenset(["stop", "seed", "logprobs"])
"""Names that are words of plain English as well: they count where they are quoted."""


class Trial:
    """Lets requests through one by one until the service took one, or lets it wait; judges until it took one."""

    def __init__(self, clock: Callable[[], float], *, patience: float = PATIENCE, valid: float = VALID) -> None:
        self._clock = clock
        self._patience = patience
        self._valid = valid
        self._taken = False
        self._open = False
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._strikes: dict[str, int] = {}
        self._verdict: PlaybillError | None = None
        self._until = 0.0

    async def enter(self) -> None:
        """Wait until the request may be sent. Raises the verdict, where every request is refused."""
        while True:
            if self._verdict is not None and self._clock() < self._until:
                raise type(self._verdict)(str(self._verdict))
            if self._open:
                return
            loop = asyncio.get_running_loop()
            if not self._busy:
                self._busy = True
                self._timer = loop.call_later(self._patience, self.open)
                return
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append(turn)
            await turn

    def took(self) -> None:
        """Open for good: the service took a request."""
        self._taken = True
        self._verdict = None
        self.open()

    def open(self) -> None:
        """Let all through: a request is being answered, or it failed in a way that says nothing of its form."""
        self._open = True
        self.left()

    def left(self) -> None:
        """Let the next one try: the last one is done, and whatever it brought was said."""
        self._busy = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)

    def refused(self, failure: Failure, error: PlaybillError, *, asked: bool) -> None:
        """Record a failure that stays, and judge whether it holds for every request.

        ``error`` is what the request ends with; ``asked`` says that the refusal names what was asked for.
        """
        if self._taken:
            return
        if failure.kind not in _LASTING:
            self.open()
            return
        words = str(failure)
        self._strikes[words] = self._strikes.get(words, 0) + 1
        if asked or failure.kind in _AT_ONCE or self._strikes[words] >= STRIKES:
            known = isinstance(error, (CredentialsError, QuotaUsedUp))
            alike = "every request of this entry would be refused alike, so nothing more is sent"
            self._verdict = error if known else RequestRefused(f"{error}; {alike}")
            self._until = self._clock() + self._valid
            self._open = False  # who asks after that tries anew, one by one
        self.left()


def named_parameter(failure: Failure, names: Collection[tuple[str, str]]) -> str | None:
    """Return the parameter that a refusal names: ``names`` are pairs of ours and the wire's name."""
    if failure.kind is not Kind.REQUEST:
        return None
    text = str(failure)
    for ours, theirs in names:
        if failure.param in (ours, theirs):
            return ours
    for ours, theirs in names:
        for name in {ours, theirs}:
            pattern = rf"['\"`]{re.escape(name)}['\"`]" if name in _WORDS else rf"\b{re.escape(name)}\b"
            if re.search(pattern, text):
                return ours
    return None
