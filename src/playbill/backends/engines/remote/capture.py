"""Capture what went over the wire in one attempt: the bytes sent and received, beside the official client.

Hooks on the HTTP client write into the capture of the task that sends, and set the request's headers. Knows no wire.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import httpx2

from playbill.backends.engines.remote.failure import Failure, Kind
from playbill.backends.engines.remote.values import DEEPEST, is_deeper

__all__ = ["MOST_BYTES", "MOST_ERROR_BYTES", "Capture", "http_client"]

MOST_BYTES = 32_000_000
"""Of an answer's body, once decompressed: more than any model writes, log probabilities included."""
MOST_ERROR_BYTES = 1_000_000
_KEPT_OF_TOO_MUCH = 10_000
_LONGEST_GAP = len(b"\r\n\r\n")

_current: ContextVar[Capture | None] = ContextVar("capture", default=None)


class TooLarge(Exception):
    """A body is larger than it may be; what that means depends on its status."""


class Capture:
    """One attempt on the wire. Use as a context manager around the client's call.

    ``on_event`` gets each JSON value of a stream as it comes. ``sent`` is None where nothing was sent.
    """

    def __init__(self, on_event: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._on_event = on_event
        self._received = bytearray()
        self._read_to = 0
        self._searched_to = 0
        self.too_large = False
        """Whether the body was larger than it may be; then only its beginning is kept."""
        self.sent: bytes | None = None
        self.sent_headers = httpx2.Headers()
        self.status: int | None = None
        self.headers = httpx2.Headers()
        self.events: list[dict[str, Any]] = []
        self.ended = False
        """Whether a stream said that it is over (``[DONE]``)."""

    def __enter__(self) -> Capture:
        self._token = _current.set(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _current.reset(self._token)

    @property
    def is_stream(self) -> bool:
        return "event-stream" in self.headers.get("content-type", "")

    def text(self) -> str:
        """Return the response's body as received, its content encoding undone."""
        kind = {name: self.headers[name] for name in ("content-type",) if name in self.headers}
        try:
            return httpx2.Response(self.status or 0, headers=kind, content=bytes(self._received)).text
        except UnicodeError:  # UTF-16 by its header, and not by its bytes
            return bytes(self._received).decode(errors="replace")

    def json(self) -> Any:
        """Return the response's body; raises ValueError where it is no JSON."""
        # By its bytes, as the official clients read it: JSON is UTF-8, whatever a charset in the header says.
        try:
            value = json.loads(bytes(self._received))
        except RecursionError as e:
            raise ValueError("nested too deeply") from e
        if is_deeper(value, DEEPEST):
            raise ValueError("nested too deeply")
        return value

    def request_body(self) -> Any:
        """Return the request's body, as sent."""
        return None if self.sent is None else json.loads(self.sent)

    def response_body(self) -> Any:
        """Return the response's body for a record: a stream's events, JSON, or text where it is none; None if none
        came."""
        if self.status is None:
            return None
        if self.is_stream:
            return list(self.events)
        try:
            return self.json()
        except ValueError:
            return self.text() or None

    def completion(self) -> dict[str, Any]:
        """Return the JSON object that should be a completion. Raises Failure where it is none, or an error in
        disguise."""
        kind = self.headers.get("content-type", "")
        try:
            body = self.json()
        except ValueError as e:
            what = f"it is {kind or 'of no content type'}" if "json" not in kind else "its JSON is broken"
            raise Failure(Kind.BROKEN, f"200, but the answer can't be read: {what}") from e
        if not isinstance(body, dict):
            raise Failure(Kind.BROKEN, "200, but the answer is no JSON object")
        return body

    def feed(self, data: bytes) -> None:
        """Take up a piece of the response's body, decompressed. Raises TooLarge once it is more than it may be."""
        self._received += data
        is_error = (self.status or 0) >= 300
        most = MOST_ERROR_BYTES if is_error else MOST_BYTES
        if len(self._received) > most:
            self.too_large = True
            del self._received[_KEPT_OF_TOO_MUCH:]
            raise TooLarge
        if self.is_stream:
            self._read_events()

    def _read_events(self) -> None:
        """Take up each whole server-sent event that has come; every wire's data are JSON objects."""
        while True:
            start = max(self._read_to, self._searched_to - _LONGEST_GAP)
            ends = [
                (place, len(gap)) for gap in (b"\n\n", b"\r\n\r\n") if (place := self._received.find(gap, start)) >= 0
            ]
            self._searched_to = len(self._received) if not ends else self._read_to
            if not ends:
                return
            place, width = min(ends)
            block = bytes(self._received[self._read_to : place])
            if self._read_to == 0:
                block = block.removeprefix(codecs.BOM_UTF8)
            self._read_to = place + width
            self._take(b"\n".join(_data(line) for line in block.splitlines() if line.startswith(b"data:")))

    def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.ended = True
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):  # a comment, or a piece of garbage: the client has its own opinion of that
            return
        if isinstance(event, dict) and not is_deeper(event, DEEPEST):
            self.events.append(event)
            if self._on_event is not None:
                self._on_event(event)


def _data(line: bytes) -> bytes:
    return line.removeprefix(b"data:").removeprefix(b" ")


def _http_headers(request: httpx2.Request) -> dict[str, str]:
    """Return the headers that HTTP itself needs. No content encoding, so that a stream's bytes can be read as they
    come."""
    needed = {
        "host": request.url.netloc.decode("ascii").rpartition("@")[2],
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "keep-alive",
    }
    if request.url.userinfo:  # user and password in the entry's own base_url
        needed["authorization"] = request.headers["authorization"]
    if request.content:
        needed |= {"content-type": "application/json", "content-length": str(len(request.content))}
    return needed


class _Tee(httpx2.AsyncByteStream):
    """A response's stream that the capture sees as well, decompressed piece by piece, so that it can be bounded."""

    def __init__(self, response: httpx2.Response, stream: httpx2.AsyncByteStream, capture: Capture) -> None:
        self._encoded = httpx2.Response(response.status_code, headers=response.headers, stream=stream)
        self._capture = capture

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._encoded.aiter_bytes():
            self._capture.feed(data)
            yield data

    async def aclose(self) -> None:
        await self._encoded.aclose()


def http_client(timeout: httpx2.Timeout, ca_bundle: str | None, headers: Mapping[str, str]) -> httpx2.AsyncClient:
    """Return the HTTP client beneath an official one: no redirects (a key stays where it may go), TLS always verified.

    The official clients add headers that they find in the environment (OPENAI_CUSTOM_HEADERS,
    ANTHROPIC_CUSTOM_HEADERS, organisations, projects), an Authorization among them. So each request's headers are
    written anew: those that HTTP needs, and ``headers``.
    """

    async def sending(request: httpx2.Request) -> None:
        capture = _current.get()
        if capture is not None:
            capture.sent = request.content
        request.headers = httpx2.Headers({**headers, **_http_headers(request)})
        if capture is not None:
            capture.sent_headers = request.headers
        request.extensions["timeout"] = timeout.as_dict()

    async def receiving(response: httpx2.Response) -> None:
        capture = _current.get()
        if capture is not None and isinstance(response.stream, httpx2.AsyncByteStream):
            capture.status, capture.headers = response.status_code, response.headers.copy()
            response.stream = _Tee(response, response.stream, capture)
            response.headers.pop("content-encoding", None)  # which the tee has undone

    verify: Any = True
    if ca_bundle is not None:
        import ssl

        verify = ssl.create_default_context(cafile=ca_bundle)
    return httpx2.AsyncClient(
        verify=verify,
        timeout=timeout,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=30),
        follow_redirects=False,
        event_hooks={"request": [sending], "response": [receiving]},
    )
