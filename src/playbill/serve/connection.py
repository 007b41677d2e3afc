"""Bound what one connection may hold: the time for its headers, the time without reading, and its place.

Who opens connections and says nothing, or asks and never reads, gets out of the way of the others. Knows no request's
meaning.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["ConnectionLimits", "bounded_protocol", "most_open_files"]

_MOST = 4096
_OTHER_FILES = 128  # files that the models, their servers and the standard streams hold open


def most_open_files() -> int:
    """Return how many connections the process can hold, by the system's limit of open files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(16, min(_MOST, soft - _OTHER_FILES))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """``header_seconds`` is the time for the headers of a request, ``unread_seconds`` how long an answer may wait for
    its reader. Beyond ``most_connections`` the one goes that has waited longest without a request; None is what the
    system's limit of open files allows."""

    header_seconds: float = 20.0
    unread_seconds: float = 60.0
    most_connections: int | None = None


def bounded_protocol(limits: ConnectionLimits) -> type[H11Protocol]:
    """Return the class of connections that keep these limits."""
    most = most_open_files() if limits.most_connections is None else limits.most_connections
    return type("_Limited", (_BoundedConnection,), {"limits": limits, "most": most})


class _BoundedConnection(H11Protocol):
    """A connection that is dropped where it takes too long to ask, or to read."""

    limits: ClassVar[ConnectionLimits]
    most: ClassVar[int]
    _asking: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _since = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether no request of this connection is under way."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        self._wait_for_headers()
        if len(self.connections) > self.most:
            self._make_room()

    def _make_room(self) -> None:
        """Drop the connection that has been waiting longest, be it this one."""
        waiting = [c for c in self.connections if isinstance(c, _BoundedConnection) and c.is_waiting]
        oldest = min(waiting, key=lambda c: c._since)
        self.connections.discard(oldest)  # at once, for its end comes with the loop's next round
        oldest.transport.abort()

    def _wait_for_headers(self) -> None:
        if self._asking is None:
            self._asking = self.loop.call_later(self.limits.header_seconds, self._drop)

    def _drop(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_waiting:
            self._wait_for_headers()  # after an answer, they begin with the first byte
        elif self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._since = self.loop.time()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.limits.unread_seconds, self._drop)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._asking, self._unread):
            if timer is not None:
                timer.cancel()
