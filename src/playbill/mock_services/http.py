"""One HTTP/1.1 connection of the mock server: whole requests in; replies out, well-formed or broken on purpose.

h11 frames messages; what is cut, reset or left hanging is done here, on the transport. Knows no model and no service.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus

import h11

__all__ = ["Connection", "Ending", "HttpRequest", "Reply"]

MAX_BODY_BYTES = 64 * 2**20
READ_BYTES = 2**16


class Ending(Enum):
    """How a reply ends: as it should, or cut off half way and then closed, reset, or left hanging."""

    WHOLE = auto()
    CLOSE = auto()
    RESET = auto()
    HANG = auto()


@dataclass(frozen=True)
class HttpRequest:
    """A request as received; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What to send. ``chunks`` go out as one body with its length, or one by one if ``streamed``.

    With an ending other than ``WHOLE``, half of the body's bytes are sent, or nothing at all, not even a
    status, if ``silent``. ``hang_seconds`` bounds a hang, ``chunk_seconds`` is the pause between chunks.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    chunks: tuple[bytes, ...] = ()
    streamed: bool = False
    ending: Ending = Ending.WHOLE
    silent: bool = False
    chunk_seconds: float = 0.0
    hang_seconds: float = 0.0


class Connection:
    """Reads requests from, and writes replies to, one client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def receive(self, idle_seconds: float | None) -> HttpRequest | None:
        """Return the next request, or ``None`` when the client has gone, or been silent for ``idle_seconds``."""
        try:
            async with asyncio.timeout(idle_seconds):
                head = await self._next_event()
        except TimeoutError:
            return None
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                await self.send(Reply(413, ending=Ending.CLOSE))
                return None
        path, _, query = head.target.decode("ascii", "replace").partition("?")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        return HttpRequest(head.method.decode("ascii"), path, query, headers, bytes(body))

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED] | None:
        """Return the next h11 event; ``None`` if what came is no HTTP, which the client is told."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    await self.send(Reply(error.error_status_hint, chunks=(str(error).encode(),)))
                return None
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._reader.read(READ_BYTES))

    async def wait(self, seconds: float) -> bool:
        """Let time pass; false as soon as the client has gone."""
        if seconds <= 0:
            return True
        try:
            async with asyncio.timeout(seconds):
                while data := await self._reader.read(READ_BYTES):
                    self._http.receive_data(data)
                return False
        except TimeoutError:
            return True

    async def send(self, reply: Reply) -> bool:
        """Send a reply; true if the connection is still good for another request."""
        if not reply.silent:
            self._write(h11.Response(status_code=reply.status, reason=reason(reply.status), headers=head(reply)))
            for chunk in reply.chunks if reply.ending is Ending.WHOLE else half(reply.chunks):
                self._write(h11.Data(data=chunk))
                if reply.chunk_seconds:
                    await self._writer.drain()
                    await asyncio.sleep(reply.chunk_seconds)
        if reply.ending is Ending.WHOLE:
            self._write(h11.EndOfMessage())
            await self._writer.drain()
            return self._start_next_cycle()
        await self._writer.drain()
        if reply.ending is Ending.HANG:
            await self.wait(reply.hang_seconds)
        if reply.ending is Ending.RESET:
            self._reset()
        return False

    def _write(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            self._writer.write(data)

    def _start_next_cycle(self) -> bool:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    def _reset(self) -> None:
        """Close so that the client gets a reset, not an orderly end: lingering for zero seconds does that."""
        connected = self._writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
        self._writer.transport.abort()


def reason(status: int) -> bytes:
    """Return the phrase that goes with a status, also with those that no standard has."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Overloaded" if status == 529 else b"Status"


def head(reply: Reply) -> list[tuple[bytes, bytes]]:
    """Return the headers of a reply with the one that frames its body; values are Latin-1, as HTTP once had them."""
    framing = (
        ("transfer-encoding", "chunked") if reply.streamed else ("content-length", str(sum(map(len, reply.chunks))))
    )
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in (*reply.headers, framing)]


def half(chunks: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the first half of the bytes, in the same pieces; always fewer than all."""
    kept, left = [], sum(map(len, chunks)) // 2
    for chunk in chunks:
        if left <= 0:
            break
        kept.append(chunk[:left])
        left -= len(chunk)
    return tuple(kept)
