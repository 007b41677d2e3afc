"""The process of a replica of this machine: ``python -m playbill.replicas.process``, spoken to by `local`.

It reads pickles from its standard input, which only its parent writes to, and ends when that does.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from typing import IO, Any

from playbill.backends.errors import PlaybillError
from playbill.replicas.worker import Worker, portable

__all__ = ["main"]

_ALIVE_SECONDS = 2.0


def main() -> None:
    """Load what the parent orders, then answer until it goes."""
    parent, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print goes to the log
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    lock = threading.Lock()

    def say(kind: str, value: Any) -> None:
        with lock:
            pickle.dump((kind, value), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()

    order = pickle.load(parent)
    ended = threading.Thread(target=_wait_for_end, args=(parent,), daemon=True)
    try:
        worker = Worker(order)
    except PlaybillError as e:
        say("refused", portable(e))
        ended.start()
        ended.join()
        return
    say("ready", worker.portrait())
    threading.Thread(target=_answer, args=(worker, say), daemon=True).start()
    try:
        while True:
            asks, cancelled = pickle.load(parent)
            worker.take(asks, cancelled)
    except (EOFError, OSError):
        worker.close()
    finally:
        os._exit(0)  # whatever threads an engine left


def _answer(worker: Worker, say: Any) -> None:
    try:
        while True:
            say("answers", worker.finished(_ALIVE_SECONDS).answers)
    except OSError:
        os._exit(0)  # the parent is gone


def _wait_for_end(parent: IO[bytes]) -> None:
    while parent.read(1 << 16):
        pass


if __name__ == "__main__":
    main()
