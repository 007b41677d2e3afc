"""Join a Ray cluster, or start a local one; say what it has, and what a replica lacks there.

What Ray prints goes into the log, since stdout is for results.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.util import find_spec
from typing import Any, cast

from playbill.backends.engines.machine.process_state import prepare_ray
from playbill.backends.errors import BackendUnavailable, RunError
from playbill.replicas.places import STOPPED_SECONDS, Wanted, said_resources
from playbill.replicas.ray_address import checked_address

__all__ = ["Cluster", "joined_cluster"]

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 2.0
HEAD_SECONDS = 30.0
"""How long a head may be silent; Ray itself would end the process after a minute."""
_GOODBYE_SECONDS = 5.0
_END_SECONDS = 2.0


class Cluster:
    """A cluster that this process has joined; ``ray`` is the module, ``dashboard`` a link, or the empty string.

    A thread asks the head every few seconds what nodes there are and what is free; everybody else reads what it heard
    last, since Ray waits for a minute for a head that is gone, and then ends the process.
    """

    def __init__(self, ray: Any, dashboard: str, head: str) -> None:
        self.ray = ray
        self.dashboard = dashboard
        self._head = head
        self._ended = threading.Event()
        self._looked = time.monotonic()
        self._look()
        self._thread = threading.Thread(target=self._watch, name="playbill-ray-head", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        self._nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        self._free: Mapping[str, float] = self.ray.available_resources()
        self._heard = time.monotonic()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            with suppress(Exception):  # `lost` tells, in time
                self._look()

    def close(self) -> None:
        """End the watch over the head; a look that is under way may take its time."""
        self._ended.set()
        self._thread.join(_LOOK_SECONDS)

    @property
    def lost(self) -> str:
        """Return why nothing can be reached any more, in words; the empty string while the head answers.

        Asked every half second, it knows when this process was stopped, as by Ctrl-Z, and heard nothing for that.
        """
        now = time.monotonic()
        if (stopped := now - self._looked) > STOPPED_SECONDS:
            self._heard = min(now, self._heard + stopped)
        self._looked = now
        silent = now - self._heard
        if silent < HEAD_SECONDS:
            return ""
        return (
            f"the head of the Ray cluster, {self._head}, has not answered for {silent:.0f} s; records are kept, and "
            "the same command goes on once there is a head again"
        )

    def nodes(self) -> Sequence[Mapping[str, float]]:
        """Return all that each living node has, in Ray's names of resources."""
        return self._nodes

    def is_alive(self, node_id: str) -> bool:
        """Return whether the head takes a node for alive now. Waits for the head."""
        return any(node["NodeID"] == node_id and node["Alive"] for node in self.ray.nodes())

    def has_gpus(self) -> bool:
        return any(node.get("GPU") for node in self.nodes())

    def places_for(self, wanted: Wanted) -> int:
        """Return how many replicas the cluster holds, if nothing else runs in it; they ask for something."""
        need = wanted.as_bundle()
        return sum(
            min(int(node.get(name, 0) / amount + 1e-9) for name, amount in need.items()) for node in self.nodes()
        )

    def lack(self, wanted: Wanted) -> str:
        """Return why no node holds a replica, in words."""
        need = wanted.as_bundle()
        nodes = self.nodes()
        for name, amount in need.items():
            most = max((node.get(name, 0) for node in nodes), default=0)
            if most < amount:
                asked, has = said_resources({name: amount}), said_resources({name: most})
                return f"a replica needs {asked}, and the largest of {len(nodes)} nodes has {has}"
        return f"no single one of {len(nodes)} nodes has {wanted} together"

    def free(self, wanted: Wanted) -> str:
        """Return what is free now of the resources that a replica asks for, in words."""
        free = self._free
        return said_resources({name: round(free.get(name, 0), 2) for name in wanted.as_bundle()}) or "nothing is asked"


class _Stdout:
    """Stdout for as long as a cluster is joined: what Ray prints goes into the debug log, all else is passed on.

    Ray prints, among others, pages of its processes' states: from its own threads, while it joins, and while it leaves.
    """

    def __init__(self, real: Any) -> None:
        self._real = real
        self.is_rays = True

    def write(self, text: str) -> int:
        if not self.is_rays and not threading.current_thread().name.startswith("ray_"):
            self._real.write(text)
        elif text.strip():
            _log.debug("ray: %s", text.rstrip())
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextmanager
def joined_cluster(address: str) -> Iterator[Cluster]:
    """Join the cluster at ``HOST:PORT``, the one there is (``auto``), or one that is started here (``local``).

    Raises RunError within seconds where there is none, and BackendUnavailable where Ray isn't installed.
    """
    _require_ray()
    found = checked_address(address)
    import ray  # it reads its settings while it is imported

    handlers = _handlers()
    stdout = _Stdout(sys.stdout)
    with redirect_stdout(cast("Any", stdout)):
        try:
            context = ray.init(
                address=found,
                logging_level="ERROR",
                log_to_driver=False,
                configure_logging=True,
                include_dashboard=None,
            )
        except Exception as e:
            raise RunError(f"can't join the Ray cluster at {found}: {_in_a_line(e)}") from e
        _restore(handlers)
        url = str(context.dashboard_url or "")
        cluster = Cluster(ray, f"http://{url}" if url and "//" not in url else url, str(context["gcs_address"]))
        stdout.is_rays = False
        try:
            yield cluster
        finally:
            stdout.is_rays = True
            cluster.close()
            _leave(ray, cluster.lost)
            _restore(handlers)


def _leave(ray: Any, lost: str) -> None:
    """Leave the cluster; one whose head is gone is not waited for."""
    if not lost:
        ray.shutdown()
        return
    goodbye = threading.Thread(target=ray.shutdown, name="playbill-ray-goodbye", daemon=True)
    goodbye.start()
    goodbye.join(_GOODBYE_SECONDS)
    if goodbye.is_alive():
        threading.Thread(target=_end_with_main, name="playbill-ray-end", daemon=True).start()


def _end_with_main() -> None:
    """End the process soon after its main thread: Ray, which says goodbye to a lost head, would keep it for ever."""
    threading.main_thread().join()
    time.sleep(_END_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(1)


def _require_ray() -> None:
    if find_spec("ray") is None:
        raise BackendUnavailable(
            'a Ray cluster needs ray, which is not installed here; install with: pip install "playbill[ray]"'
        )
    prepare_ray()


def _handlers() -> dict[int, Any]:
    """Return who takes Ctrl-C and SIGTERM, which Ray takes for itself."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _in_a_line(e: Exception) -> str:
    return " ".join(str(e).split())[:400] or type(e).__name__
