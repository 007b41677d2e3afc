"""Replicas as processes of this machine. GPUs are given out, so that no two replicas share one."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from playbill.backends.engines.machine.cpu_threads import usable_cores
from playbill.backends.engines.machine.hardware import nvidia_cards
from playbill.backends.errors import EngineError, RunError
from playbill.replicas.places import Event, Place, Tell, gpus_wanted, wanted
from playbill.replicas.wire import Ask, LoadOrder

__all__ = ["LocalPlaces", "log_end"]

_LOG_END = 2000  # bytes
_ENDING_SECONDS = 2.0


class LocalPlaces:
    """So many processes on this machine. Raises RunError where it has not the GPUs for them."""

    side_by_side = False
    lost = ""

    def __init__(self, replicas: int, *, silence: float = 60.0) -> None:
        self.silence = silence
        self._replicas = replicas
        self._gpus = visible_gpus()

    def count(self, entry: Mapping[str, Any]) -> int:
        each = self._gpus_of(entry)
        needed = each * self._replicas
        if needed > len(self._gpus):
            raise RunError(
                f"{entry.get('model_name')}: {self._replicas} replicas of {each} GPUs each need {needed}, and this "
                f"machine shows {len(self._gpus)}; take fewer replicas, or set num_gpus in the entry"
            )
        return self._replicas

    def order(self, order: LoadOrder) -> LoadOrder:
        """Give each replica its share of the cores."""
        share = max(1, usable_cores() // self._replicas)
        found = wanted(order.spec, gpus=bool(self._gpus), cpus=share)
        return replace(order, threads=max(1, int(found.cpus)))

    def start(self, replica: int, order: LoadOrder, tell: Tell) -> Place:
        each = self._gpus_of(order.spec)
        mine = self._gpus[(replica - 1) * each : replica * each]
        environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine else {})}
        return _Process(replica, order, environment, tell)

    def waits_for(self, entry: Mapping[str, Any]) -> str:
        return "starting"

    def _gpus_of(self, entry: Mapping[str, Any]) -> int:
        amount = gpus_wanted(entry, there_are_some=bool(self._gpus))
        if amount != int(amount):
            raise RunError(
                f"{entry.get('model_name')}: num_gpus is {amount:g}, and without Ray a replica gets whole GPUs"
            )
        return int(amount)


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them. Loads no library."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    return [card.index for card in nvidia_cards()]


class _Process:
    """A replica in a process. One thread writes what is sent, one reads what comes; its stderr is a log."""

    def __init__(self, replica: int, order: LoadOrder, environment: Mapping[str, str], tell: Tell) -> None:
        self._replica = replica
        self._tell = tell
        self._killed = False
        fd, name = tempfile.mkstemp(prefix="playbill-replica-", suffix=".log")
        self._log = Path(name)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "playbill.replicas.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=fd,
                env=environment,
                start_new_session=True,  # Ctrl-C is the caller's
            )
        except OSError as e:
            self._log.unlink(missing_ok=True)
            raise EngineError(f"replica {replica} can't be started: {e}") from e
        finally:
            os.close(fd)
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._outbox.put(order)
        for work in (self._write, self._read):
            threading.Thread(target=work, name=f"playbill-replica-{replica}", daemon=True).start()
        tell(Event(replica, "placed"))

    def send(self, asks: Sequence[Ask], cancelled: Sequence[int]) -> None:
        self._outbox.put((list(asks), list(cancelled)))

    def answered(self) -> None:
        return None

    def kill(self) -> None:
        if not self._killed:
            self._killed = True
            self._outbox.put(None)
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        """Let the process free its model, and end it if it takes long; then the log goes."""
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(OSError):
            self._log.unlink(missing_ok=True)

    def _write(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # it died: the reader tells
            while (message := self._outbox.get()) is not None:
                pickle.dump(message, self._process.stdin, pickle.HIGHEST_PROTOCOL)
                self._process.stdin.flush()
        with suppress(OSError, ValueError):
            self._process.stdin.close()  # upon which it ends

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                kind, value = pickle.load(self._process.stdout)
                self._tell(Event(self._replica, kind, value))
        except (EOFError, OSError, pickle.UnpicklingError):
            code = self._process.wait()
            if not self._killed:
                log = log_end(self._log)
                self._tell(Event(self._replica, "died", EngineError(_said(code)), log))


def _said(code: int) -> str:
    return f"its process was ended by signal {-code}" if code < 0 else f"its process ended with {code}"


def log_end(path: Path) -> str:
    """Return the last lines of a log; the empty string where it can't be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_END))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
