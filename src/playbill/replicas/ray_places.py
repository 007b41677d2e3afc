"""Replicas as actors of a Ray cluster, each in a placement group of its own.

Ray restarts and retries nothing: its retries wait for room that may never come, and reorder. What dies is said, and the
engine starts it again. Turns and answers go in batches, since a call costs the caller's side 0.3 ms whatever is in it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.errors import EngineError, PlaybillError, RunError
from playbill.replicas.local import log_end
from playbill.replicas.places import Event, Place, Tell, Wanted, wanted
from playbill.replicas.ray_cluster import LOCAL, Cluster, joined_cluster
from playbill.replicas.wire import Answer, Ask, LoadOrder
from playbill.replicas.worker import Worker, portable

__all__ = ["RayPlaces", "ray_places"]

_ALIVE_SECONDS = 2.0
_CALLS = 2  # at once: one waits for answers, one brings turns
_LOG_SECONDS = 5.0
_BY_ITS_CODE = "creation task"  # in the words of an error: the actor's own code failed, not its node


@contextmanager
def ray_places(address: str = LOCAL, replicas: int | None = None, *, silence: float = 60.0) -> Iterator[RayPlaces]:
    """Join a cluster, as `joined_cluster`, for as long as the context lasts.

    ``replicas`` is how many each model gets; without it as many as fit.
    """
    with joined_cluster(address) as cluster:
        yield RayPlaces(cluster, replicas, silence=silence)


class RayPlaces:
    """The nodes of a cluster. Each model waits there for its resources."""

    side_by_side = True

    def __init__(self, cluster: Cluster, replicas: int | None, *, silence: float) -> None:
        self.silence = silence
        self._cluster = cluster
        self._replicas = replicas

    @property
    def dashboard(self) -> str:
        """The link to Ray's dashboard; empty where ``ray[default]`` is not installed."""
        return self._cluster.dashboard

    def count(self, entry: Mapping[str, Any]) -> int:
        need = self._wanted(entry)
        fitting = self._cluster.places_for(need)
        if not fitting:
            raise RunError(
                f"{entry.get('model_name')}: no replica fits into the cluster: {self._cluster.lack(need)}; change "
                "num_gpus, num_cpus, memory or resources of the entry, or add nodes"
            )
        if self._replicas is not None and self._replicas > fitting:
            warn_once(
                f"{entry.get('model_name')}: {self._replicas} replicas are asked for, and the cluster holds {fitting} "
                f"of {need} each; the others wait for room"
            )
        return fitting if self._replicas is None else self._replicas

    def order(self, order: LoadOrder) -> LoadOrder:
        return replace(order, threads=max(1, ceil(self._wanted(order.spec).cpus)))

    def start(self, replica: int, order: LoadOrder, tell: Tell) -> Place:
        return _ActorPlace(self._cluster, replica, order, self._wanted(order.spec), tell)

    def waits_for(self, entry: Mapping[str, Any]) -> str:
        need = self._wanted(entry)
        try:
            return f"waiting for {need} (free: {self._cluster.free(need)})"
        except Exception:  # noqa: BLE001 - the head may be gone, and this is only told
            return f"waiting for {need}"

    def _wanted(self, entry: Mapping[str, Any]) -> Wanted:
        return wanted(entry, gpus=self._cluster.has_gpus(), cpus=1)


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

    def exchange(self, asks: Sequence[Ask], cancelled: Sequence[int], seconds: float) -> list[Answer]:
        if self._worker is None:
            raise EngineError("nothing is loaded")
        return self._worker.exchange(asks, cancelled, seconds)


class _ActorPlace:
    """A replica in an actor. Its methods are called by the engine's thread, its callbacks by Ray's."""

    def __init__(self, cluster: Cluster, replica: int, order: LoadOrder, need: Wanted, tell: Tell) -> None:
        self._cluster = cluster
        self._replica = replica
        self._tell = tell
        self._asks: list[Ask] = []
        self._cancelled: list[int] = []
        self._calls = 1  # the load, until `answered`
        self._over = threading.Event()
        self._loaded = False
        self._node = self._log = ""
        self._group: Any = None
        self._actor = self._started(need)
        self._follow(self._actor.where.remote(), self._placed)
        self._follow(self._actor.load.remote(order), lambda made: self._say(*made))

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
        with suppress(Exception):  # whatever is gone already
            self._cluster.ray.kill(self._actor)
        with suppress(Exception):
            if self._group is not None:
                self._cluster.ray.util.remove_placement_group(self._group)

    def _call(self) -> None:
        asks, cancelled = self._asks, self._cancelled
        self._asks, self._cancelled = [], []
        self._calls += 1
        self._follow(
            self._actor.exchange.remote(asks, cancelled, _ALIVE_SECONDS), lambda made: self._say("answers", made)
        )

    def _follow(self, ref: Any, take: Any) -> None:
        def done(future: Future[Any]) -> None:
            error = future.exception()
            if error is None:
                take(future.result())
            elif not self._over.is_set():
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
        text = _in_short(error)
        if self._loaded:
            self._tell(Event(self._replica, "died", EngineError(text)))
            return
        moved, log = not self._node and _BY_ITS_CODE not in text, ""
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


def _in_short(error: BaseException) -> str:
    """Return why Ray says that an actor died, without the numbers of actor, job and namespace around it."""
    text = " ".join(str(error).split())
    place = text.find("The actor died because")
    return text[max(0, place) :][:400]
