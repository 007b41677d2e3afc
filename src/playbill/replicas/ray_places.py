"""The nodes of a Ray cluster as places for replicas: how many fit, and what one that waits lacks."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.errors import RunError
from playbill.replicas.places import Place, Tell, Wanted, wanted
from playbill.replicas.ray_actor import ActorPlace
from playbill.replicas.ray_address import LOCAL
from playbill.replicas.ray_cluster import Cluster, joined_cluster
from playbill.replicas.wire import LoadOrder

__all__ = ["RayPlaces", "ray_places"]

_ERRANDS_SECONDS = 5.0


@contextmanager
def ray_places(address: str = LOCAL, replicas: int | None = None, *, silence: float = 60.0) -> Iterator[RayPlaces]:
    """Join a cluster, as `joined_cluster`, for as long as the context lasts.

    ``replicas`` is how many each model gets; without it as many as fit.
    """
    with joined_cluster(address) as cluster:
        places = RayPlaces(cluster, replicas, silence=silence)
        try:
            yield places
        finally:
            places.close()


class RayPlaces:
    """The nodes of a cluster. Each model waits there for its resources."""

    side_by_side = True

    def __init__(self, cluster: Cluster, replicas: int | None, *, silence: float) -> None:
        self.silence = silence
        self._cluster = cluster
        self._replicas = replicas
        self._errands = _Errands()

    @property
    def lost(self) -> str:
        """Return that the head is gone, in words; the empty string while it answers."""
        return self._cluster.lost

    @property
    def dashboard(self) -> str:
        """The link to Ray's dashboard; empty where ``ray[default]`` is not installed."""
        return self._cluster.dashboard

    def close(self) -> None:
        """End what is still to be ended, for a few seconds."""
        self._errands.close()

    def count(self, entry: Mapping[str, Any]) -> int:
        need = self._wanted(entry)
        if not need.as_bundle():  # any number fits, and one for each node does no harm
            return self._replicas or max(1, len(self._cluster.nodes()))
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
        return ActorPlace(self._cluster, replica, order, self._wanted(order.spec), tell, self._errands.put)

    def waits_for(self, entry: Mapping[str, Any]) -> str:
        need = self._wanted(entry)
        return f"waiting for {need} (free: {self._cluster.free(need)})"

    def _wanted(self, entry: Mapping[str, Any]) -> Wanted:
        return wanted(entry, gpus=self._cluster.has_gpus(), cpus=1)


class _Errands:
    """What may wait for the head, done one after the other in a thread of its own, so that nobody else waits."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="playbill-ray-errands", daemon=True)
        self._thread.start()

    def put(self, errand: Callable[[], None]) -> None:
        self._queue.put(errand)

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(_ERRANDS_SECONDS)

    def _work(self) -> None:
        while (errand := self._queue.get()) is not None:
            errand()
