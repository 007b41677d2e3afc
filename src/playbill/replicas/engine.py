"""The engine of a model with replicas: hands out turns, takes answers, and outlives the replicas' deaths.

One thread owns all state. Nothing is retried by anybody else: a turn whose replica died is handed out again from here,
so that it is known at any time where each turn is. Knows neither Ray nor processes; `places` start replicas.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from playbill.backends.common.words import counted
from playbill.backends.engines.base import Completion, OnText, Request
from playbill.backends.errors import EngineError, PlaybillError, ReplicasLost
from playbill.backends.generation import Generation
from playbill.replicas.dispatch import Dispatcher, Turn
from playbill.replicas.places import STOPPED_SECONDS, Event, Place, Places, ReplicaStatus
from playbill.replicas.slot import Slot, mismatch, otherwise
from playbill.replicas.waiting import Pieces, TurnFuture, Waiting
from playbill.replicas.wire import Answer, Ask, LoadOrder, Portrait

__all__ = ["ReplicaEngine"]

_log = logging.getLogger(__name__)
_TICK = 0.5  # seconds
_MANY, _MOMENT = 8, 0.003  # replicas; seconds
_MOST_DEATHS_AT_LOAD = 2
_MOVED = 0.1  # of a death: a place that was taken away before anything could load there
_MOST_REPLICAS = 1000
_LONG_WAIT = 5.0  # seconds
_NEWS_EVERY = 2.0  # seconds
_GROW_EVERY = 5.0  # seconds
_MOST_NAMED = 8


class ReplicaEngine:
    """Completes requests by replicas. A request's messages and parameters are the caller's own; see `Whole`."""

    def __init__(
        self, places: Places, order: LoadOrder, *, say: Callable[[str], None], joined: Callable[[], None]
    ) -> None:
        self.supported_parameters: frozenset[str] = frozenset()
        self._places = places
        self._order = places.order(order)
        self._say = say
        self._joined = joined
        self._name = str(order.spec.get("model_name"))
        self._slots = [Slot(number) for number in range(1, self._wanted() + 1)]
        self._dispatcher = Dispatcher()
        self._waiting: dict[int, Waiting] = {}
        self._numbers = itertools.count()
        self._processes = itertools.count(1)
        self._by_process: dict[int, Slot] = {}
        self._events: queue.SimpleQueue[tuple[int, Event] | Turn | int | None] = queue.SimpleQueue()
        self._cancelled: dict[int, list[int]] = {}
        self._answered: list[Place] = []
        self._first: Portrait | None = None
        self._concurrency = 1
        self._is_news, self._told = False, 0.0
        self._looked = self._grown = time.monotonic()
        self._lost: Exception | None = None
        self._settled = threading.Event()
        self._closing = self._ended = False
        self._thread = threading.Thread(target=self._work, name="playbill-replicas", daemon=True)
        self._thread.start()

    # What an engine offers.

    @property
    def concurrency(self) -> int:
        """How many requests fill all replicas, those too that are still to come: theirs wait here until then."""
        return self._concurrency

    def submit(self, request: Request, on_text: OnText | None = None) -> Future[Completion]:
        return self._put(self._ask(request, on_text), on_text)

    def generate(self, request: Request, on_text: OnText | None = None) -> Future[Generation]:
        """Do as `submit`, and return the Generation that the replica makes."""
        return self._put(self._ask(request, on_text), on_text, wants_generation=True)

    def _ask(self, request: Request, on_text: OnText | None) -> Ask:
        number, stream = next(self._numbers), on_text is not None
        return Ask(number, request.messages, request.params, request.dialogue, request.folder, stream)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, by any replica's tokenizer. Waits for it."""
        completion: Completion = self._put(Ask(next(self._numbers), decode=tuple(ids)), None).result()
        return completion.text or ""

    def facts(self) -> Mapping[str, Any]:
        return dict(self._first.facts) if self._first is not None else {}

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._events.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(10)

    def wait_ready(self, stopped: Callable[[], bool] = lambda: False) -> Portrait:
        """Return the portrait of the first replica that is ready; raise the error of the last one if none ever is.

        ``stopped`` tells that nobody waits any more: what a replica needs may be another job's for hours.
        """
        while not self._settled.is_set():
            if stopped():
                raise EngineError(f"{self._name}: stopped before a replica was ready")
            self._settled.wait(0.2)
        if self._first is None:
            raise self._lost if self._lost is not None else EngineError(f"{self._name} was closed while it was loading")
        return self._first

    def statuses(self) -> Sequence[ReplicaStatus]:
        """Return how each replica does now. May be asked from any thread."""
        waits = self._places.waits_for(self._order.spec) if any(s.state == "waiting" for s in self._slots) else ""
        return [slot.status(self._dispatcher.under_way(slot.replica), waits) for slot in self._slots]

    def census(self) -> Sequence[Mapping[str, Any]]:
        """Return every replica's every process that was ready, and how many turns each answered."""
        return [dict(entry) for slot in self._slots for entry in list(slot.history)]

    def _put(self, ask: Ask, on_text: OnText | None, *, wants_generation: bool = False) -> Future[Any]:
        future = TurnFuture(lambda: self._events.put(ask.number), wants_generation)
        if self._lost is not None or self._closing:
            future.set_exception(self._lost or EngineError(f"{self._name} is closed"))
            return future
        self._waiting[ask.number] = Waiting(future, Pieces(on_text) if on_text is not None else None)
        self._events.put(Turn(ask))
        if self._ended:
            self._fail(ask.number, EngineError(f"{self._name} is closed"))
        return future

    # The rest runs in the engine's own thread.

    def _work(self) -> None:
        try:
            for slot in self._slots:
                self._start(slot)
            while self._take_events():
                self._check_life()
                self._grow()
                self._tell_of_waiting()
                self._tell_of_joined()
                self._hand_out()
        except BaseException as e:  # noqa: BLE001 - the thread's last word goes to all who wait
            _log.debug("the replicas' thread ended", exc_info=e)
            self._lost = e if isinstance(e, PlaybillError) else ReplicasLost(f"{self._name}: {type(e).__name__}: {e}")
        self._end()

    def _take_events(self) -> bool:
        """Take what has come, all of it, before anything is handed out; False at the end.

        Where many replicas answer, those who got answers have a moment to ask on: one call then brings it all.
        """
        timeout, until = _TICK, 0.0
        with suppress(queue.Empty):
            while (event := self._events.get(timeout=timeout)) is not None:
                self._take(event)
                if self._answered and not until and len(self._slots) >= _MANY:
                    until = time.monotonic() + _MOMENT
                timeout = max(0.0, until - time.monotonic()) if until else 0.0
            return False
        return True

    def _take(self, event: tuple[int, Event] | Turn | int) -> None:
        if isinstance(event, Turn):
            if self._lost is not None:
                self._fail(event.ask.number, self._lost)
            elif event.ask.number in self._waiting:
                self._dispatcher.add(event)
        elif isinstance(event, int):
            self._cancel(event)
        else:
            slot = self._by_process.get(event[0])
            if slot is not None:
                self._take_news(slot, event[1])

    def _take_news(self, slot: Slot, event: Event) -> None:
        slot.heard = time.monotonic()
        if event.kind == "placed":
            if slot.state == "waiting":  # this news may come after that it is ready
                slot.state = "loading"
        elif event.kind == "ready":
            self._join(slot, event.value)
        elif event.kind == "answers":
            for answer in event.value:
                self._deliver(slot, answer)
            if slot.place is not None:
                self._answered.append(slot.place)
        elif event.kind == "refused":
            self._give_up(slot, event.value)
        elif event.kind == "died":
            self._bury(slot, event)

    def _start(self, slot: Slot) -> None:
        slot.restart(next(self._processes))
        self._by_process[slot.process] = slot
        process = slot.process
        try:
            slot.place = self._places.start(slot.replica, self._order, lambda event: self._events.put((process, event)))
        except PlaybillError as e:
            self._give_up(slot, e)

    def _join(self, slot: Slot, portrait: Portrait) -> None:
        if self._first is not None and (said := mismatch(self._first, portrait)):
            self._give_up(
                slot,
                ReplicasLost(
                    f"it is another than the first one, and answers of two kinds don't go into one file: {said}"
                ),
            )
            return
        slot.take_portrait(portrait)
        slot.died_at_load = 0
        most = portrait.concurrency
        self._dispatcher.join(slot.replica, most + max(1, most // 4) if most > 1 else 1)
        if self._first is None:
            self._first, self.supported_parameters = portrait, portrait.supported
        self._count()
        self._settled.set()
        if len(self._slots) > 1:
            other = otherwise(self._first, portrait)
            more = f"; it computes otherwise, so answers may differ: {other}" if other else ""
            self._say(f"replica {slot.replica} is ready on {portrait.node} ({portrait.device}){more}")
        if slot.place is not None:
            slot.place.answered()
        self._is_news = True

    def _deliver(self, slot: Slot, answer: Answer) -> None:
        if answer.is_piece:
            self._pass_on(answer)
            return
        if self._dispatcher.finish(answer.number) is None:
            return
        waiting = self._waiting.pop(answer.number, None)
        if answer.generation is not None:
            slot.count(answer.generation.usage.output_tokens or 0)
        if waiting is None or not waiting.future.set_running_or_notify_cancel():
            return
        if answer.error is not None:
            waiting.future.set_exception(answer.error)
        else:
            waiting.future.set_result(waiting.result(answer, slot.name))

    def _pass_on(self, answer: Answer) -> None:
        """Give the caller a piece of text. What the caller's function raises ends this turn, and no other."""
        waiting = self._waiting.get(answer.number)
        if waiting is None or waiting.pieces is None or answer.text is None:
            return
        try:
            waiting.pieces.take(answer.text)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is the caller's own
            self._fail(answer.number, e)
            self._cancel(answer.number)

    def _cancel(self, number: int) -> None:
        turn, replica = self._dispatcher.cancel(number)
        if turn is not None:
            self._waiting.pop(number, None)
        elif replica is not None:
            self._cancelled.setdefault(replica, []).append(number)
        else:
            self._waiting.pop(number, None)

    def _hand_out(self) -> None:
        given = self._dispatcher.hand_out()
        for ask in itertools.chain.from_iterable(given.values()):
            if ask.stream and (waiting := self._waiting.get(ask.number)) is not None and waiting.pieces is not None:
                waiting.pieces.restart()
        for replica in {*given, *self._cancelled}:
            slot = self._slots[replica - 1]
            if slot.place is not None:
                slot.place.send(given.get(replica, ()), self._cancelled.get(replica, ()))
        self._cancelled.clear()
        for place in self._answered:
            place.answered()
        self._answered.clear()

    def _wanted(self) -> int:
        return min(self._places.count(self._order.spec), max(1, self._order.dialogues or _MOST_REPLICAS))

    def _grow(self) -> None:
        """Start more replicas where there is room for more than before: nodes may join late."""
        now = time.monotonic()
        if now - self._grown < _GROW_EVERY or self._lost is not None:
            return
        self._grown = now
        with suppress(PlaybillError):  # not even one fits any more: those that there are wait
            for number in range(len(self._slots) + 1, self._wanted() + 1):
                self._slots.append(Slot(number))
                self._start(self._slots[-1])

    def _check_life(self) -> None:
        if lost := self._places.lost:
            raise ReplicasLost(f"{self._name}: {lost}")
        now, patience = time.monotonic(), self._places.silence
        if (stopped := now - self._looked) > STOPPED_SECONDS:  # as by Ctrl-Z: nothing was heard because nobody listened
            for slot in self._slots:
                slot.heard += stopped
        self._looked = now
        for slot in self._slots:
            if slot.is_ready and now - slot.heard > patience:
                self._bury(slot, Event(slot.replica, "died", EngineError(f"no sign of life for {patience:.0f} s")))

    def _tell_of_waiting(self) -> None:
        """Say once what replicas have been waiting for, where that takes long."""
        now = time.monotonic()
        waiting = [s for s in self._slots if s.state == "waiting" and not s.is_told and now - s.started > _LONG_WAIT]
        if waiting:
            numbers = ", ".join(str(slot.replica) for slot in waiting[:_MOST_NAMED])
            more = f" and {len(waiting) - _MOST_NAMED} more" if len(waiting) > _MOST_NAMED else ""
            self._say(f"replica {numbers}{more}: {self._places.waits_for(self._order.spec)}")
            for slot in waiting:
                slot.is_told = True

    def _tell_of_joined(self) -> None:
        """Say that `census` has news, now and then: where a hundred replicas join, that is told a few times."""
        now = time.monotonic()
        if self._is_news and now - self._told > _NEWS_EVERY:
            self._is_news, self._told = False, now
            self._joined()

    def _bury(self, slot: Slot, event: Event) -> None:
        """Take a replica down whose process died, and start it again, unless that failed twice."""
        at_load = not slot.is_ready
        where = f" on {slot.portrait.node}" if slot.portrait is not None else ""
        redone = self._take_down(slot)
        if at_load:
            slot.died_at_load += _MOVED if event.moved else 1
        error = f"{event.value}{_log_end(event.log)}"
        if slot.died_at_load >= _MOST_DEATHS_AT_LOAD:
            self._give_up(slot, ReplicasLost(f"replica {slot.replica} died twice while it was loading: {error}"))
            return
        if at_load:
            said = f"replica {slot.replica} died while it was loading, and is started again: {error}"
        else:
            moved = f"{counted(redone, 'turn')} handed out again"
            said = f"replica {slot.replica}{where} died, and is started again; {moved}: {error}"
        self._say(said)
        self._start(slot)

    def _count(self) -> None:
        """Count anew what fills all replicas: it is asked for with every turn."""
        first = self._first.concurrency if self._first is not None else 1
        wanted = [s.portrait.concurrency if s.portrait else first for s in self._slots if not s.is_given_up]
        self._concurrency = max(1, sum(wanted))

    def _take_down(self, slot: Slot) -> int:
        """End a replica's process; return how many turns are handed out again."""
        self._by_process.pop(slot.process, None)
        slot.end()
        if slot.place is not None:
            slot.place.kill()
            slot.place = None
        before = self._dispatcher.under_way(slot.replica)
        guilty = self._dispatcher.lose(slot.replica)
        self._cancelled.pop(slot.replica, None)
        for turn in guilty:
            died = f"{counted(turn.deaths, 'replica')} died while this turn was under way; it is not tried again"
            self._fail(turn.ask.number, EngineError(died))
        return before - len(guilty)

    def _give_up(self, slot: Slot, error: PlaybillError) -> None:
        self._take_down(slot)
        slot.state = "given up"
        self._count()
        if all(each.is_given_up for each in self._slots):
            self._lost = error if self._first is None else ReplicasLost(f"{self._name}: no replica is left: {error}")
            self._settled.set()
            for turn in self._dispatcher.drain():
                self._fail(turn.ask.number, self._lost)
        else:
            self._say(f"replica {slot.replica} is given up: {error}")

    def _fail(self, number: int, error: Exception) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None and waiting.future.set_running_or_notify_cancel():
            waiting.future.set_exception(error)

    def _end(self) -> None:
        self._closing = self._ended = True
        for slot in self._slots:
            self._by_process.pop(slot.process, None)
            if slot.place is not None:
                slot.place.kill()
        error = self._lost or EngineError(f"{self._name} was closed before it answered")
        for number in list(self._waiting):
            self._fail(number, error)
        self._settled.set()


def _log_end(log: str) -> str:
    return f"\n  the end of its log:\n    {log.strip().replace(chr(10), chr(10) + '    ')}" if log.strip() else ""
