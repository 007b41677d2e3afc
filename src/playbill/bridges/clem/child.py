"""One model behind a door on the loopback, for a process that started this one and ends it.

``python -m playbill.bridges.clem.child`` reads a selector from stdin, tells on stdout where it answers, and ends when
stdin does: no signal is needed, and none can be missed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from playbill import __version__
from playbill.backends.common.secret import Secret, scrub
from playbill.backends.errors import PlaybillError
from playbill.backends.loading import load_model
from playbill.backends.model import Model
from playbill.serve.guard import Rules
from playbill.serve.server import Server

__all__ = ["main", "make_door"]

_BODY_LIMIT = 256 << 20  # of our own client, with pictures in it
_REQUESTS = 1 << 16


def make_door(loaders: Mapping[str, Callable[[], Model]], key: Secret) -> Server:
    """Return a server for one client of our own: a free port, and a key that only that client knows."""
    rules = Rules(key=key, body_limit=_BODY_LIMIT, most_requests=_REQUESTS)
    return Server(loaders=loaders, port=0, rules=rules)


def main() -> int:
    """Load, tell, serve; 2 where the model can't be loaded."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what engines print is not for the other process

    def tell(**what: Any) -> None:
        out.write(json.dumps(scrub(what)) + "\n")
        out.flush()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    selector = json.loads(sys.stdin.buffer.readline())
    parent = _Parent()
    try:
        model = load_model(selector)
    except PlaybillError as e:
        tell(error=str(e))
        return 2
    key = os.urandom(24).hex()
    with model, make_door({model.name: lambda: model}, Secret(key)).in_background() as url:
        parent.loaded()  # before it is told: whoever is told may go at once
        out.write(json.dumps({"url": url, "key": key, "version": __version__, "entry": model.spec.to_dict()}) + "\n")
        out.flush()
        parent.wait()
    return 0


class _Parent:
    """The process at the other end of stdin. Should it go while a model is loading, this one goes at once."""

    def __init__(self) -> None:
        self._gone = threading.Event()
        self._loading = True
        threading.Thread(target=self._watch, daemon=True).start()

    def loaded(self) -> None:
        """From here on its going is an orderly end, which `wait` sees."""
        self._loading = False

    def wait(self) -> None:
        self._gone.wait()

    def _watch(self) -> None:
        while os.read(0, 1 << 16):
            pass
        self._gone.set()
        if self._loading:
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
