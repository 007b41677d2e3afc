"""Take the signals that ask a run to end: Ctrl-C ends it soon, SIGTERM and SIGUSR1 once running answers are finished.

A job scheduler sends one of the latter some time before it kills (Slurm: `--signal=USR1@60`). Where another thread than
the main one runs this, signals are not ours.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from playbill.runs.schedule import Stop

__all__ = ["RunSignals"]

_DRAINING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class RunSignals:
    """The signals of one run. ``is_loading`` tells whether the main thread loads a model, which nothing else ends."""

    def __init__(self, stop: Stop, is_loading: Callable[[], bool]) -> None:
        self._stop = stop
        self._is_loading = is_loading

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take the signals, and give them back in the end."""
        known = {number: signal.getsignal(number) for number in (signal.SIGINT, *_DRAINING)}
        self.listen()
        try:
            yield
        finally:
            if _is_main():
                for number, handler in known.items():
                    signal.signal(number, handler)

    def listen(self) -> None:
        """Take the signals. Done again after every load, for native libraries take Ctrl-C from us without asking."""
        if _is_main():
            signal.signal(signal.SIGINT, self._end)
            for number in _DRAINING:
                signal.signal(number, self._drain)

    def _end(self, number: int, frame: FrameType | None) -> None:
        """End soon: never in the middle of a write. A second one breaks in, and so does the first during a load."""
        if self._stop or self._is_loading():
            raise KeyboardInterrupt
        self._stop.set()

    def _drain(self, number: int, frame: FrameType | None) -> None:
        """Begin nothing more; a second one is as Ctrl-C. During a load nothing is running that could be finished."""
        if self._stop.draining:
            self._end(number, frame)
            return
        self._stop.drain()
        if self._is_loading():
            raise KeyboardInterrupt


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
