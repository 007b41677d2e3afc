"""A replica as an actor of a Ray cluster, in a placement group of its own.

Ray restarts and retries nothing: its retries wait for room that may never come, and reorder. What dies is said, and the
engine starts it again. Turns and answers go in batches, since a call costs the caller's side 0.3 ms whatever is in it.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from playbill.backends.errors import EngineError, PlaybillError
from playbill.replicas.local import log_end
from playbill.replicas.places import Event, Tell, Wanted
from playbill.replicas.ray_cluster import Cluster
from playbill.replicas.wire import Answer, Ask, Batch, LoadOrder
from playbill.replicas.worker import Worker, portable

__all__ = ["ActorPlace", "said_in_short"]

_ALIVE_SECONDS = 2.0
_CALLS = 2  # at once: one waits for answers, one brings turns
_LOG_SECONDS = 5.0
_LONGEST = 400
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FAULT = re.compile(r"[\w.]+(Error|Exception)\b")
_BY_ITS_CODE = "creation task"  # in the words of an error: the actor's own code failed, not its node


class _Replica:
    """What runs on a node: a `Worker`, and what is to be known before it is there."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def where(self) -> tuple[str, str, str]:
        """Return the node's id and name, and the log of this process."""
        import ray

        log = ""
        with suppress(OSError):
            log = os.readlink("/proc/self/fd/2")
        return ray.get_runtime_context().get_node_id(), socket.gethostname(), log

    def load(self, order: LoadOrder) -> tuple[str, Any]:
        """Load the model: ("ready", portrait), or ("refused", the error)."""
        try:
            self._worker = Worker(order)
        except PlaybillError as e:
            return "refused", portable(e)
        return "ready", self._worker.portrait()

    def exchange(self, asks: Sequence[Ask], cancelled: Sequence[int], seconds: float) -> Batch:
        if self._worker is None:
            raise EngineError("nothing is loaded")
        return self._worker.exchange(asks, cancelled, seconds)


class _InOrder:
    """Hands batches on in the order in which their replica made them: Ray brings those of two calls in any order."""

    def __init__(self, give: Callable[[list[Answer]], None]) -> None:
        self._give = give
        self._early: dict[int, list[Answer]] = {}
        self._next = 0
        self._lock = threading.Lock()

    def take(self, batch: Batch) -> None:
        """Take a batch; hand it on, and those that waited for it, once all before it are there."""
        with self._lock:
            self._early[batch.number] = batch.answers
            while self._next in self._early:
                self._give(self._early.pop(self._next))
                self._next += 1


class ActorPlace:
    """A replica in an actor. Its methods are called by the engine's thread, its callbacks by Ray's."""

    def __init__(
        self,
        cluster: Cluster,
        replica: int,
        order: LoadOrder,
        need: Wanted,
        tell: Tell,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self._cluster = cluster
        self._replica = replica
        self._tell = tell
        self._later = later
        self._asks: list[Ask] = []
        self._cancelled: list[int] = []
        self._calls = 1  # the load, until `answered`
        self._over = threading.Event()
        self._loaded = False
        self._node = self._log = ""
        self._group: Any = None
        self._actor: Any = None
        self._batches = _InOrder(lambda answers: self._say("answers", answers))
        later(lambda: self._begin(order, need))

    def _begin(self, order: LoadOrder, need: Wanted) -> None:
        try:
            self._actor = self._started(need)
            self._follow(self._actor.where.remote(), self._placed)
            self._follow(self._actor.load.remote(order), lambda made: self._say(*made))
        except Exception as e:  # noqa: BLE001 - whatever Ray raises where its head is gone
            self._died(e)

    def _started(self, need: Wanted) -> Any:
        """Return the actor, which Ray starts once there is room for its group."""
        ray, bundle = self._cluster.ray, need.as_bundle()
        self._group = ray.util.placement_group([bundle], strategy="STRICT_PACK") if bundle else None
        options: dict[str, Any] = {
            "num_cpus": need.cpus,
            "num_gpus": need.gpus,
            "memory": need.memory,
            "resources": dict(need.others) if need.others else None,
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": _CALLS + 3,
        }
        if self._group is not None:
            from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._group, 0)
        return ray.remote(_Replica).options(**options).remote()

    def send(self, asks: Sequence[Ask], cancelled: Sequence[int]) -> None:
        self._asks.extend(asks)
        self._cancelled.extend(cancelled)
        if self._calls < _CALLS:
            self._call()

    def answered(self) -> None:
        self._calls -= 1
        if self._asks or self._cancelled or not self._calls:
            self._call()

    def kill(self) -> None:
        if self._over.is_set():
            return
        self._over.set()
        self._later(self._end)

    def _end(self) -> None:
        with suppress(Exception):  # whatever is gone already
            self._cluster.ray.kill(self._actor)
        with suppress(Exception):
            if self._group is not None:
                self._cluster.ray.util.remove_placement_group(self._group)

    def _call(self) -> None:
        asks, cancelled = self._asks, self._cancelled
        self._asks, self._cancelled = [], []
        self._calls += 1
        self._follow(self._actor.exchange.remote(asks, cancelled, _ALIVE_SECONDS), self._batches.take)

    def _follow(self, ref: Any, take: Any) -> None:
        def done(future: Future[Any]) -> None:
            error = future.exception()
            if error is None:
                take(future.result())
            else:
                threading.Thread(target=self._died, args=(error,), daemon=True).start()

        ref.future().add_done_callback(done)

    def _say(self, kind: str, value: Any = None) -> None:
        self._loaded = kind in ("ready", "answers")
        self._tell(Event(self._replica, kind, value))

    def _placed(self, where: tuple[str, str, str]) -> None:
        self._node, _, self._log = where
        self._tell(Event(self._replica, "placed"))

    def _died(self, error: BaseException) -> None:
        """Tell of a death: at once where it computed; where it loaded, with its log, and whether its node is there."""
        if self._over.is_set():
            return
        text, by_its_code = said_in_short(error), _BY_ITS_CODE in str(error)
        if self._loaded:
            self._tell(Event(self._replica, "died", EngineError(text)))
            return
        moved, log = not self._node and not by_its_code, ""
        with suppress(Exception):
            if self._node and not (moved := not self._cluster.is_alive(self._node)):
                log = self._read_log()
        self._tell(Event(self._replica, "died", EngineError(text), log, moved))

    def _read_log(self) -> str:
        """Return the end of the process' log, which lies on its node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray = self._cluster.ray
        there = NodeAffinitySchedulingStrategy(self._node, soft=False)
        reader = ray.remote(log_end).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        return str(ray.get(reader.remote(Path(self._log)), timeout=_LOG_SECONDS))


def said_in_short(error: BaseException) -> str:
    """Return why Ray says that an actor died: without numbers of actor, job and namespace; of a traceback the end."""
    raw = _COLOURS.sub("", str(error))
    lines = [line.strip() for line in raw.splitlines() if line.strip()]
    if _BY_ITS_CODE in raw and _FAULT.match(lines[-1]):
        where = re.search(r"ip=([^,)]+)", raw)
        said = f"on {where[1]}: {lines[-1]}" if where else lines[-1]
        if "No module named 'playbill'" in said:
            said += "; install Playbill on every node, in the environment in which `ray start` is called"
        return said[:_LONGEST]
    text = " ".join(raw.split())
    place = text.find("The actor died because")
    return text[max(0, place) :][:_LONGEST]
