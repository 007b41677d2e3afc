"""A server of named models: its socket, its rules and its life. Knows no route."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn

from playbill.backends.errors import PlaybillError
from playbill.backends.model import Model
from playbill.serve.app import make_app
from playbill.serve.connection import ConnectionLimits, bounded_protocol
from playbill.serve.guard import Rules
from playbill.serve.metrics import Metrics
from playbill.serve.pool import Pool

__all__ = ["DEFAULT_PORT", "Server", "is_loopback"]

DEFAULT_PORT = 8790


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(kw_only=True)
class Server:
    """Models behind an address. ``loaders`` are the names that may be used, each with what loads its model.

    The socket listens once the server is made; ``port`` 0 takes a free one, and ``url`` tells it.
    ``grace_seconds`` is what requests under way get when it ends.
    Raises PlaybillError for an address that can't be had, or that others can reach while there is no key.
    """

    loaders: Mapping[str, Callable[[], Model]]
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    rules: Rules = field(default_factory=Rules)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    idle_seconds: float | None = None
    memory_limit: int | None = None
    grace_seconds: int = 5
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and self.rules.key is None:
            raise PlaybillError(
                f"others can reach {self.host}, so a key is needed: set PLAYBILL_SERVE_KEY, or `playbill keys set "
                "serve`; or leave --host out, to serve this machine alone"
            )
        self._socket = _listen(self.host, self.port)
        self.port = self._socket.getsockname()[1]
        self.pool = Pool(
            self.loaders,
            idle_seconds=self.idle_seconds,
            memory_limit=self.memory_limit,
            count=self.metrics.count,
        )
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                make_app(self.pool, self.rules, self.metrics),
                http=bounded_protocol(self.connections),
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="critical",  # what goes wrong is told to the client, and counted
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=self.grace_seconds,
            )
        )

    @property
    def url(self) -> str:
        """What an OpenAI client takes as its ``base_url``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM, or until `stop` is called from another thread."""
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """End it: requests under way get some seconds, then all models are closed."""
        self._uvicorn.should_exit = True

    @contextmanager
    def in_background(self) -> Iterator[str]:
        """Serve from a thread as long as the block runs; gives the ``url``."""
        thread = threading.Thread(target=self.run, name="playbill-serve", daemon=True)
        thread.start()
        try:
            while not self._uvicorn.started and thread.is_alive():
                time.sleep(0.005)
            yield self.url
        finally:
            self.stop()
            thread.join()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as e:
        raise PlaybillError(f"can't listen on {host}: {e.strerror}") from e
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as e:
        listening.close()
        raise PlaybillError(f"can't listen on {host} port {port}: {e.strerror}; --port takes another") from e
    return listening
