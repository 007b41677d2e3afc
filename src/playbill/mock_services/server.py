"""Run the mock server: sockets on an event loop, in a thread for tests or in the foreground for a command."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from typing import TYPE_CHECKING, Self

from playbill.backends.errors import PlaybillError
from playbill.mock_services.answers import Answers, echo
from playbill.mock_services.http import Connection
from playbill.mock_services.log import Received, RequestLog
from playbill.mock_services.options import MockOptions
from playbill.mock_services.service import Service

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

__all__ = ["MockServer", "serve_forever"]

BACKLOG = 4096
STOP_SECONDS = 10.0


class Listener:
    """The server on one event loop."""

    def __init__(self, answers: Answers, options: MockOptions) -> None:
        self._options = options
        self._service = Service(answers, options)
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.log = RequestLog(options.keep_requests)

    async def run(self, ready: Callable[[int], None], stop: asyncio.Event) -> None:
        """Listen, tell the port to ``ready``, and serve until ``stop`` is set; leaves no connection open."""
        options = self._options
        server = await asyncio.start_server(
            self._connected, options.host, options.port, backlog=BACKLOG, ssl=tls_context(options)
        )
        try:
            ready(server.sockets[0].getsockname()[1])
            await stop.wait()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # A client that goes away, or is told to stop, is no event worth a word.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._serve(Connection(reader, writer))
                writer.close()
                await writer.wait_closed()
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, connection: Connection) -> None:
        good = True
        while good and (request := await connection.receive(self._options.idle_seconds)) is not None:
            received_at = time.monotonic()
            before = self.log.begin()
            try:
                self._number += 1
                decision = self._service.decide(request, self._number, before)
                self.log.add(
                    Received(
                        self._number,
                        request.method,
                        request.path,
                        request.query,
                        request.headers,
                        request.body,
                        received_at,
                        decision.wire,
                        decision.outcome,
                    )
                )
                good = await connection.wait(decision.latency) and await connection.send(decision.reply)
            finally:
                self.log.end()


class MockServer:
    """A mock server in a thread of its own, for as long as the ``with`` block lasts.

    >>> with MockServer("Hello!") as server:
    ...     client = openai.OpenAI(base_url=server.openai_url, api_key="any")  # doctest: +SKIP
    """

    def __init__(self, answers: Answers = echo, options: MockOptions | None = None) -> None:
        self._options = options or MockOptions()
        self._listener = Listener(answers, self._options)
        self._thread = threading.Thread(target=self._run, name="playbill-mock-server", daemon=True)
        self._ready = threading.Event()
        self._port: int | None = None
        self._failure: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> Self:
        """Start listening; returns once the server can be reached."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            where = f"{self._options.host}:{self._options.port}"
            raise PlaybillError(f"the mock server can't listen on {where}: {self._failure}") from self._failure
        return self

    def stop(self) -> None:
        """Stop listening and close every connection, also those that hang."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        def ready(port: int) -> None:
            self._port = port
            self._ready.set()

        await self._listener.run(ready, self._stop)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._port is None:
            raise PlaybillError("the mock server is not running: use it in a `with` block, or call start()")
        return self._port

    @property
    def url(self) -> str:
        """Scheme, host and port; the base URL for the Anthropic and Google clients."""
        return base_url(self._options, self.port)

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI's client."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The base URL for Anthropic's client."""
        return self.url

    @property
    def google_url(self) -> str:
        """The base URL for Google's client."""
        return self.url

    @property
    def requests(self) -> tuple[Received, ...]:
        """The last requests received, oldest first."""
        return self._listener.log.requests

    @property
    def counts(self) -> Counter[str]:
        """How many requests had each outcome."""
        return self._listener.log.counts

    @property
    def total(self) -> int:
        """How many requests came."""
        return self._listener.log.total

    @property
    def in_flight(self) -> int:
        """How many requests are in work now."""
        return self._listener.log.in_flight

    @property
    def peak(self) -> int:
        """How many requests were in work at once, at most."""
        return self._listener.log.peak

    def wait_until(self, condition: Callable[[MockServer], bool], timeout: float = 30.0) -> bool:
        """Wait until a condition on this server holds; false if it doesn't within ``timeout`` seconds."""
        return self._listener.log.wait_until(lambda: condition(self), timeout)


def serve_forever(
    options: MockOptions, answers: Answers = echo, on_ready: Callable[[str], None] | None = None
) -> RequestLog:
    """Serve in the foreground until Ctrl-C; ``on_ready`` is told the URL. Returns what was received."""
    listener = Listener(answers, options)

    def ready(port: int) -> None:
        if on_ready is not None:
            on_ready(base_url(options, port))

    async def serve() -> None:
        await listener.run(ready, asyncio.Event())

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        pass
    except OSError as error:
        raise PlaybillError(f"the mock server can't listen on {options.host}:{options.port}: {error}") from error
    return listener.log


def base_url(options: MockOptions, port: int) -> str:
    """Return where a server with these options is reached."""
    scheme = "http" if options.tls_certificate is None else "https"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{scheme}://{host}:{port}"


def tls_context(options: MockOptions) -> ssl.SSLContext | None:
    """TLS with the certificate that the options name, if they do."""
    if options.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.tls_certificate, options.tls_key)
    return context
