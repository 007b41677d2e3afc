"""What stands before every request: who may ask (Host, Origin, key), how much, and whether they are still there.

ASGI middleware; knows no model. A web page that somebody has open must not reach a server on their machine: by DNS
rebinding it would come with a foreign Host, otherwise with a foreign Origin.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from traceback import format_exception
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playbill.backends.common.secret import Secret, scrub
from playbill.serve.faults import ApiError, fault_of_error
from playbill.serve.metrics import Metrics

__all__ = ["LOOPBACK_HOSTS", "Guard", "Limits", "Rules", "refuse"]

_log = logging.getLogger(__name__)

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_OPEN = "/healthz"
_DISCARDED = 8
"""So many times the largest body are read of one that is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who may ask, and how much.

    ``hosts`` are the names by which the server may be called, None for any, which is safe only with a key.
    ``origins`` are the web pages that may ask, as ``https://example.org``. ``body_limit`` is in bytes,
    ``body_seconds`` how long a body may take, ``most_requests`` how many may be under way at once.
    """

    hosts: tuple[str, ...] | None = LOOPBACK_HOSTS
    origins: tuple[str, ...] = ()
    key: Secret | None = None
    body_limit: int = 16 << 20
    body_seconds: float = 60.0
    most_requests: int = 1024


async def refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with an error in OpenAI's form."""
    await JSONResponse(error.to_dict(), error.status, error.headers())(scope, receive, send)


class Guard:
    """Refuses requests by their headers: Host, Origin, content type, key."""

    def __init__(self, app: ASGIApp, rules: Rules, metrics: Metrics) -> None:
        self._app = app
        self._rules = rules
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        try:
            self._check(scope, Headers(scope=scope))
        except ApiError as e:
            self._metrics.count("refused", code=str(e.code))
            await refuse(e, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        self._check_host(headers.getlist("host"))
        origins = headers.getlist("origin")
        if any(origin not in self._rules.origins for origin in origins):
            raise ApiError(
                403, f"the origin {origins[0]!r} may not ask here; --allow-origin lets it", code="origin_not_allowed"
            )
        is_preflight = scope["method"] == "OPTIONS" and origins
        if scope["path"] != _OPEN and not is_preflight:
            self._check_key(headers.get("authorization", ""))
        if scope["method"] == "POST":
            if headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise ApiError(415, "the body must not be compressed", code="unsupported_content_encoding")
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise ApiError(415, "the content type must be application/json", code="unsupported_content_type")

    def _check_host(self, hosts: Sequence[str]) -> None:
        if self._rules.hosts is None:
            return
        if len(hosts) != 1 or _name_of(hosts[0]) not in self._rules.hosts:
            said = hosts[0] if hosts else "none"
            raise ApiError(403, f"the host {said!r} is not known here; --allow-host lets it", code="host_not_allowed")

    def _check_key(self, authorization: str) -> None:
        if self._rules.key is None:
            return
        scheme, _, given = authorization.partition(" ")
        # A header is bytes, which Starlette reads as Latin-1; clients write a key in UTF-8 or in Latin-1.
        sent, key = given.strip().encode("latin-1", "replace"), self._rules.key.reveal()
        forms = [key.encode("utf-8", "surrogatepass")]
        if _is_latin(key):
            forms.append(key.encode("latin-1"))
        right = sum(hmac.compare_digest(sent, form) for form in forms) > 0
        if scheme.lower() != "bearer" or not right:
            raise ApiError(401, "this server needs its key, as 'Authorization: Bearer …'", code="invalid_api_key")


def _is_latin(key: str) -> bool:
    """Tell whether Latin-1 can write the key."""
    return all(ord(letter) < 256 for letter in key)


def _name_of(host: str) -> str | None:
    """Return the name in a Host header, without its port."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.username is None and not parts.path else None


class Limits:
    """Bounds what a request may cost: how many at once, the body's size and time; and ends it when its client left."""

    def __init__(self, app: ASGIApp, rules: Rules, metrics: Metrics) -> None:
        self._app = app
        self._rules = rules
        self._metrics = metrics
        self.under_way = 0
        self._reading: list[asyncio.Timeout] = []  # the time that each body has left, in the order of arrival

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self.under_way >= self._rules.most_requests and not self._gave_up_a_body():
            self._metrics.count("refused", code="overloaded")
            busy = ApiError(503, "too many requests are under way", code="overloaded", retry_after=1)
            await refuse(busy, scope, receive, send)
            return
        self.under_way += 1
        try:
            await self._bounded(scope, receive, send)
        finally:
            self.under_way -= 1

    def _gave_up_a_body(self) -> bool:
        """Give the place of the body that has been on its way longest to another request; false where none is."""
        if not self._reading:
            return False
        self._reading.pop(0).reschedule(asyncio.get_running_loop().time())
        return True

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._rules.body_seconds) as time_left:
                self._reading.append(time_left)
                try:
                    body = await self._read(scope, receive)
                finally:
                    if time_left in self._reading:
                        self._reading.remove(time_left)
        except TimeoutError:
            await refuse(ApiError(408, "the body took too long", code="timeout"), scope, receive, send)
            return
        except ApiError as e:
            self._metrics.count("refused", code=str(e.code))
            await refuse(e, scope, receive, send)
            return
        if body is not None:
            await self._while_there(body, scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body, or None where the client left before it was whole."""
        limit = self._rules.body_limit
        declared = Headers(scope=scope).get("content-length", "0")
        said = f"the body is larger than {limit} bytes, with the pictures in it; --max-body of the server says how much"
        too_large = ApiError(413, said, code="body_too_large")
        if declared.isdigit() and int(declared) > limit:
            await _discard(receive, _DISCARDED * limit)
            raise too_large
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > limit:
                body.clear()
                await _discard(receive, _DISCARDED * limit)
                raise too_large
            more = message.get("more_body", False)
        return bytes(body)

    async def _while_there(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and cancel it as soon as the client is gone, or the server is to end."""
        noted = _NotedSend(send)
        work = asyncio.ensure_future(self._answer(body, scope, noted))
        gone = asyncio.ensure_future(_gone(receive))
        ending = False
        try:
            await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._metrics.count("vanished")
        except asyncio.CancelledError:  # by uvicorn, when the seconds of grace are over
            ending = True
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        if ending and not noted.begun:
            await refuse(ApiError(503, "the server is ending", code="ending"), scope, receive, send)

    async def _answer(self, body: bytes, scope: Scope, send: _NotedSend) -> None:
        """The application's answer; what it fails with becomes an error in OpenAI's form, if that can yet be sent."""
        rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if rest:
                return rest.pop()
            await asyncio.Event().wait()  # whether the client left is watched here, not by the application
            raise AssertionError("never set")

        try:
            await self._app(scope, receive, send)
        except Exception as e:  # noqa: BLE001 - the one place where an error meets the client
            error = fault_of_error(e)
            if error.status >= 500:
                _log.debug("a request failed: %s", scrub("".join(format_exception(e))))
            if not send.begun:
                await refuse(error, scope, receive, send)


class _NotedSend:
    """A ``send`` that knows whether an answer has begun, after which no other can."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        await self._send(message)


async def _discard(receive: Receive, most: int) -> None:
    """Read what a client still sends, so much at the most: one that is writing hears no answer."""
    while most > 0:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
        most -= len(message.get("body", b""))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
