"""The models that a server may use: loaded on first use, once however many ask, unloaded by age or memory.

Lives in one event loop, so that it needs no locks; loading and closing happen in threads. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psutil

from playbill.backends.engines.machine.process_state import give_memory_back
from playbill.backends.errors import PlaybillError
from playbill.backends.model import Model

__all__ = ["Pool", "resident_memory"]

_SWEEP_SECONDS = 1.0


def resident_memory() -> int:
    """Bytes that this process and its children hold in memory."""
    total = 0
    process = psutil.Process()
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            total += each.memory_info().rss
    return total


@dataclass(slots=True)
class _Place:
    """One name, and its model while there is one."""

    name: str
    load: Callable[[], Model]
    loading: asyncio.Task[Model] | None = None
    closing: asyncio.Task[None] | None = None
    users: int = 0
    last_used: float = 0.0

    @property
    def model(self) -> Model | None:
        task = self.loading
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()


class Pool:
    """Models by name, each with the function that loads it, which may have a ``cancel`` for when nobody waits any more.

    ``idle_seconds`` unloads a model that nobody used for so long; ``memory_limit``, in bytes, unloads the model
    that was used longest ago while the process holds more. A model in use is never unloaded. ``count`` is told
    of "loads" and "unloads".
    """

    def __init__(
        self,
        loaders: Mapping[str, Callable[[], Model]],
        *,
        idle_seconds: float | None = None,
        memory_limit: int | None = None,
        count: Callable[..., None] = lambda *_, **__: None,
    ) -> None:
        self._places = {name: _Place(name, load) for name, load in loaders.items()}
        self._idle_seconds = idle_seconds
        self._memory_limit = memory_limit
        self._count = count
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._places)

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names whose models are in memory now."""
        return tuple(place.name for place in self._places.values() if place.model is not None)

    @property
    def users(self) -> int:
        """How many leases are held or waited for."""
        return sum(place.users for place in self._places.values())

    async def start(self) -> None:
        """Begin to look for models that can go."""
        if self._idle_seconds is not None or self._memory_limit is not None:
            self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Close all models; whoever still waits for one gets an error."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for place in self._places.values():
            if (cancel := getattr(place.load, "cancel", None)) is not None:
                cancel()
            if place.loading is not None:
                await asyncio.wait([place.loading])
            self._unload(place)
        for place in self._places.values():
            if place.closing is not None:
                await place.closing

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[Model]:
        """The model of a name, loaded if need be, which stays as long as somebody holds it.

        Raises KeyError for a name that isn't there, and what loading raises.
        """
        place = self._places[name]
        place.users += 1
        try:
            yield await self._loaded(place)
        finally:
            place.users -= 1
            place.last_used = time.monotonic()

    async def _loaded(self, place: _Place) -> Model:
        while place.closing is not None:
            await asyncio.shield(place.closing)
        if self._closed:
            raise PlaybillError("the server is closing")
        if place.loading is None:
            place.loading = asyncio.create_task(self._load(place))
            place.loading.add_done_callback(_look_at)
        # A client that leaves ends its waiting, not the loading, for which others may wait as well.
        return await asyncio.shield(place.loading)

    async def _load(self, place: _Place) -> Model:
        self._make_room()
        task = asyncio.current_task()
        try:
            model = await asyncio.to_thread(place.load)
        except BaseException:
            if place.loading is task:
                place.loading = None  # the next request tries again
            raise
        place.last_used = time.monotonic()
        self._count("loads", model=place.name)
        return model

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for place in self._idle_places():
                if self._idle_seconds is not None and now - place.last_used >= self._idle_seconds:
                    self._unload(place)
            self._make_room()

    def _make_room(self) -> None:
        """Unload the model that was used longest ago, if there is too much in memory and none is going yet."""
        going = any(place.closing is not None for place in self._places.values())
        if self._memory_limit is None or going or resident_memory() <= self._memory_limit:
            return
        for place in self._idle_places()[:1]:
            self._unload(place)

    def _idle_places(self) -> list[_Place]:
        """Loaded and unused, the one used longest ago first."""
        idle = [p for p in self._places.values() if p.users == 0 and p.model is not None]
        return sorted(idle, key=lambda place: place.last_used)

    def _unload(self, place: _Place) -> None:
        model = place.model
        place.loading = None
        if model is not None:
            place.closing = asyncio.create_task(self._close_model(place, model))

    async def _close_model(self, place: _Place, model: Model) -> None:
        try:
            await asyncio.to_thread(model.close)
        finally:
            del model
            await asyncio.to_thread(give_memory_back)  # engines hold cycles, and cycles hold weights
            place.closing = None
            self._count("unloads", model=place.name)


def _look_at(task: asyncio.Task[Model]) -> None:
    """A load that failed after all who waited for it left is no error that nobody looked at."""
    if not task.cancelled():
        task.exception()
