"""llama.cpp's server inside of this process, reached by a socket that nobody else can open.

The binding always starts an HTTP listener. Where the system has Unix sockets it listens on one in a folder that
only the user may enter, and no port is open; elsewhere on a loopback port that asks for a random key.
Knows requests and answers as JSON, and nothing of what they mean.
"""

from __future__ import annotations

import http.client
import json
import secrets
import select
import shutil
import socket
import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playbill.backends.engines.llamacpp.socket_folder import socket_folder
from playbill.backends.engines.machine.process_state import interrupts_wait, wait_briefly
from playbill.backends.errors import ContextExceeded, EngineError

wait_briefly()

import xllamacpp  # noqa: E402 - OpenMP reads its settings when it is loaded

__all__ = ["Cancelled", "LlamaServer", "xllamacpp"]

_SOCKET = "llama.sock"  # the name tells llama.cpp that it is a socket
_POLL_SECONDS = 0.1
StopWanted = Callable[[], bool]


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


class LlamaServer:
    """A running server. ``params`` are the binding's, complete but for where it listens.

    Raises EngineError where llama.cpp can't start with them; it says why in its own log only.
    """

    def __init__(self, params: Any) -> None:
        self._key = secrets.token_urlsafe(32)
        self.folder: Path | None = None
        """A folder for the user alone, where the socket is and slots can be saved; gone with the server."""
        self._server: Any = None
        if hasattr(socket, "AF_UNIX"):
            self.folder = socket_folder()
            self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
            params.hostnames = [str(self.folder / _SOCKET)]
            params.slot_save_path = f"{self.folder}/"
        params.api_keys = [self._key]
        params.ui = False
        params.fit_params = False
        params.verbosity = 0
        try:
            with interrupts_wait():
                self._server = xllamacpp.Server(params)
        except RuntimeError as e:
            self.close()
            raise EngineError(f"llama.cpp can't load {params.model.path}: {e}") from e
        # Its loop of work may not have begun yet. Closed before that, it would begin afterwards and never end; this
        # answer comes from the loop.
        self.get("/slots")

    def close(self) -> None:
        """End it and give its memory back; waits for what is still computed."""
        self._server = None
        if self.folder is not None:
            self._remove()

    def get(self, path: str) -> Any:
        """Return what is at a path, as `post`."""
        return self._ask("GET", path, None, None)

    def post(self, path: str, body: Mapping[str, Any], stop_wanted: StopWanted | None = None) -> Any:
        """Post JSON and give the JSON answer.

        Raises ContextExceeded, EngineError, and Cancelled once ``stop_wanted`` is true, in which case the server
        ends the work within about a second.
        """
        return self._ask("POST", path, body, stop_wanted)

    def stream(self, path: str, body: Mapping[str, Any], stop_wanted: StopWanted) -> Generator[dict[str, Any]]:
        """Post JSON and give the events that come back. Leaving the iteration ends the work. Raises as `post`."""
        connection = self._connect()
        try:
            response = self._send(connection, "POST", path, body, stop_wanted)
            if response.status != 200:
                raise _error(_json(response.read()))
            for line in response:
                if stop_wanted():
                    raise Cancelled
                kind, _, data = line.partition(b": ")
                if kind == b"error":
                    raise _error({"error": _json(data)})
                if kind == b"data" and data.strip() != b"[DONE]":
                    event = _json(data)
                    if "error" in event:
                        raise _error(event)
                    yield event
        except (OSError, http.client.HTTPException) as e:
            raise EngineError(f"llama.cpp's server broke off: {e!r}") from e
        finally:
            _hang_up(connection)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, stop_wanted: StopWanted | None) -> Any:
        connection = self._connect()
        try:
            response = self._send(connection, method, path, body, stop_wanted)
            answer = _json(response.read())
        except (OSError, http.client.HTTPException) as e:
            raise EngineError(f"llama.cpp's server broke off: {e!r}") from e
        finally:
            _hang_up(connection)
        if response.status != 200 or (isinstance(answer, dict) and "error" in answer):
            raise _error(answer)
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        if self._server is None:
            raise EngineError("llama.cpp's server is closed")
        if self.folder is not None:
            return _UnixConnection(self.folder / _SOCKET)
        address = urlsplit(str(self._server.listening_address))
        return http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        stop_wanted: StopWanted | None,
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        while stop_wanted is not None and not select.select([connection.sock], [], [], _POLL_SECONDS)[0]:
            if stop_wanted():
                raise Cancelled
        return connection.getresponse()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """Close for good: a response that still reads would keep the socket open, and the server at work."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as e:
        raise EngineError(f"llama.cpp's server answered with what is not JSON: {text[:200]!r}") from e


def _error(answer: Any) -> EngineError:
    """Return the server's error as ours."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return EngineError(f"llama.cpp's server failed: {str(answer)[:300]}")
    if error.get("type") == "exceed_context_size_error":
        return ContextExceeded(
            f"the prompt has {error.get('n_prompt_tokens')} tokens, and the engine's context has {error.get('n_ctx')}"
        )
    return EngineError(f"llama.cpp: {error.get('message')}")
