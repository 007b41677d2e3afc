"""The parent's side of the worker: starts it, asks it one thing at a time, ends it when it takes too long.

Templates never run in this process, and jinja2 isn't imported here. A worker serves many requests and is
replaced when one of them used up what it may. It knows requests and replies; what is in them is for
`_render.py` and `_worker.py` to know.
"""

from __future__ import annotations

import atexit
import json
import marshal
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Self
from weakref import WeakSet

from playbill.backends.errors import TemplateError, TemplateFault, TemplateRefusal

__all__ = ["WorkerLimits", "Worker"]

SCRIPT = Path(__file__).with_name("_worker.py")
HEADER = 8
START_SECONDS = 60.0  # a cold Python on a network disk; no template runs in this time
KEPT_VARIABLES = (
    "TZ",
    "TZDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "PYTHONHOME",
    "SYSTEMROOT",
)
HAS_POLL = hasattr(select, "poll")  # without it (Windows) only the worker's own alarm limits the time


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one request may use: seconds by the clock, bytes of memory and of request, characters of text."""

    seconds: float = 5.0
    memory: int = 1 << 30
    request: int = 1 << 27
    output: int = 1 << 25


class Worker:
    """One process that renders, started when first needed. Safe in threads, and in the children of a fork."""

    def __init__(self, limits: WorkerLimits | None = None) -> None:
        self.limits = limits or WorkerLimits()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        _WORKERS.add(self)

    def ask(self, request: dict[str, Any]) -> str:
        """Return the worker's answer to plain data, which travels exactly as it is; raises TemplateError."""
        body = marshal.dumps(request)
        if len(body) > self.limits.request:
            raise TemplateError(
                f"the template and what it should render come to {len(body):,} bytes; the limit is "
                f"{self.limits.request:,}: pass large data, such as images, by reference",
                fault=TemplateFault.MEMORY,
            )
        with self._lock:
            reply = self._exchange(body)
            if reply[:1] == b"T":
                return reply[1:].decode("utf-8", "surrogatepass")
            failure = json.loads(reply[1:])
            if failure["fault"] in (TemplateFault.MEMORY, TemplateFault.RECURSION):
                self._stop()  # what is left of it may be in no state to serve the next one
        raise _error(failure, self.limits)

    @property
    def pid(self) -> int | None:
        """The id of the process that renders now; None where none was started, or it has ended."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def close(self) -> None:
        """End the process. The next request would start another."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange(self, body: bytes) -> bytes:
        process = self._started()
        deadline = time.monotonic() + self.limits.seconds
        began = time.monotonic()
        try:
            _write_frame(process, body, deadline)
            return _read_frame(process, 4 * self.limits.output + 4096, deadline)
        except TimeoutError:
            self._stop()
            raise self._too_slow() from None
        except (OSError, EOFError) as error:
            process.kill()
            code = process.wait()
            self._stop()
            if time.monotonic() - began >= self.limits.seconds:
                raise self._too_slow() from None
            raise TemplateError(
                f"the template brought down the process that renders it ({_ending(code)})",
                fault=TemplateFault.CRASHED,
            ) from error
        except BaseException:
            self._stop()  # Ctrl-C in between: the reply to this request must not answer the next one
            raise

    def _too_slow(self) -> TemplateError:
        return TemplateError(
            f"the template was stopped after {self.limits.seconds:g} s: it loops for ever or does too much",
            fault=TemplateFault.TIME,
        )

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        settings = {
            "path": _library_path(),
            "seconds": self.limits.seconds,
            "memory": self.limits.memory,
            "output": self.limits.output,
        }
        # -P and -S: neither the script's folder, nor the working directory, nor any .pth file is on the path.
        command = [sys.executable, "-P", "-S", "-s", os.fspath(SCRIPT.resolve()), json.dumps(settings)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=os.path.abspath(os.sep),
            env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
            start_new_session=True,  # Ctrl-C at a terminal goes to the parent alone
        )
        self._process = process
        try:
            _unblock(process)
            _read_frame(process, HEADER, time.monotonic() + START_SECONDS)
        except (OSError, EOFError) as error:
            process.kill()
            code = process.wait()
            self._stop()
            raise TemplateError(
                f"the process that renders templates did not start ({_ending(code)}); "
                f"see why with: {' '.join(command[:5])} '{command[5]}' < /dev/null",
                fault=TemplateFault.CRASHED,
            ) from error
        except BaseException:
            self._stop()
            raise
        return process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        _close_pipes(process)

    def _forget(self) -> None:
        """In the child of a fork: the process is the parent's, only the copies of its pipes are ours."""
        self._lock = threading.Lock()
        process, self._process = self._process, None
        if process is not None:
            _close_pipes(process)
            process.returncode = 0  # so that nobody here waits for it


_WORKERS: WeakSet[Worker] = WeakSet()


def _forget_all() -> None:
    for worker in list(_WORKERS):
        worker._forget()


def _close_all() -> None:
    for worker in list(_WORKERS):
        process = worker._process
        if process is not None:
            process.kill()  # first, since a thread may be waiting for it with the lock in its hand
        worker.close()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _library_path() -> list[str]:
    """Return the folders of jinja2 and what it imports, never the working directory, which may hold anything."""
    here = os.getcwd() if os.path.isdir(os.curdir) else None
    path = [os.path.abspath(entry) for entry in sys.path if entry]
    path = [entry for entry in path if entry != here]
    folders = []
    for name in ("jinja2", "markupsafe"):
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None:
            raise TemplateError(
                f"{name} is not installed for {sys.executable}; type: pip install jinja2",
                fault=TemplateFault.CRASHED,
            )
        folders.append(os.path.dirname(os.path.dirname(spec.origin)))
    return list(dict.fromkeys(folders))


def _unblock(process: subprocess.Popen[bytes]) -> None:
    if HAS_POLL:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _number(pipe: Any) -> int:
    return int(pipe.fileno())


def _wait(stream: int, event: int, deadline: float) -> None:
    """Wait until the stream is ready. Raises TimeoutError if it isn't by the deadline."""
    poll = select.poll()
    poll.register(stream, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _write_frame(process: subprocess.Popen[bytes], body: bytes, deadline: float) -> None:
    stream = _number(process.stdin)
    rest = memoryview(len(body).to_bytes(HEADER, "big") + body)
    while rest:
        try:
            rest = rest[os.write(stream, rest) :]
        except BlockingIOError:
            _wait(stream, select.POLLOUT, deadline)


def _read_frame(process: subprocess.Popen[bytes], limit: int, deadline: float) -> bytes:
    stream = _number(process.stdout)
    length = int.from_bytes(_read_exactly(stream, HEADER, deadline), "big")
    if length > limit:
        raise EOFError(f"a reply of {length} bytes")
    return _read_exactly(stream, length, deadline)


def _read_exactly(stream: int, length: int, deadline: float) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        if HAS_POLL:
            _wait(stream, select.POLLIN, deadline)
        part = os.read(stream, min(length - len(parts), 1 << 20))
        if not part:
            raise EOFError("the process ended")
        parts += part
    return bytes(parts)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _error(failure: dict[str, Any], limits: WorkerLimits) -> TemplateError:
    """Return the worker's report as an error that says what and where."""
    fault, words, line = TemplateFault(failure["fault"]), failure["words"], failure["line"]
    if fault is TemplateFault.REFUSED:
        return TemplateRefusal(words, fault=fault, line=line)
    where = f", line {line}" if line is not None else ""
    message = {
        TemplateFault.SYNTAX: f"the template is not valid Jinja{where}: {words}",
        TemplateFault.UNDEFINED: f"the template uses what is not there{where}: {words}",
        TemplateFault.FORBIDDEN: f"the template does what the sandbox forbids{where}: {words}",
        TemplateFault.RECURSION: f"the template nests or calls itself too deeply{where}: {words}",
        TemplateFault.MEMORY: f"the template needs more than {limits.memory >> 20} MiB of memory{where}",
        TemplateFault.OUTPUT: f"the template writes {words}; the limit is {limits.output:,}",
    }.get(fault, f"the template failed{where}: {words}")
    return TemplateError(message, fault=fault, line=line)
