"""One model's part of a run: dialogues advance independently, and answers become records as they come.

One loop submits, and writes what callbacks put into its queue; nothing else touches the store.
"""

from __future__ import annotations

import logging
import queue
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from playbill.backends.common.secret import scrub
from playbill.backends.errors import MessageError, ParameterError, PlaybillError
from playbill.backends.generation import Generation, Outcome
from playbill.backends.model import Model
from playbill.backends.prompt.messages import Message
from playbill.backends.registry.backends import BACKENDS
from playbill.runs.folder.record import TurnId, make_record
from playbill.runs.folder.store import RecordStore
from playbill.runs.inputs.dialogue import Conversation, Dialogue, samples
from playbill.runs.observer import Observer, Tick, Workload
from playbill.runs.seeds import derive_seed
from playbill.runs.summary import ModelSummary, fault_of

__all__ = ["Schedule", "Stop", "most_in_flight"]

_log = logging.getLogger(__name__)
_WAKE = 0.5  # seconds
_HOPELESS = frozenset(["CredentialsError", "QuotaUsedUp", "EndpointDown", "RequestRefused"])
"""Errors after which every further request would fail as well."""


_DEAD = re.compile(
    "device-side assert|illegal memory access|illegal instruction|misaligned address|unspecified launch failure"
    "|uncorrectable ECC|(?:device|GPU) is lost|fallen off the bus|context is destroyed",
    re.IGNORECASE,
)
"""What CUDA and HIP say when nothing more can be computed in this process, whatever is asked."""


class Stop:
    """The wish that a run ends now, or (``draining``) that nothing new is begun; schedules that listen wake up."""

    def __init__(self) -> None:
        self._wanted = False
        self.draining = False
        self._queues: list[queue.SimpleQueue[_Asked | None]] = []

    def __bool__(self) -> bool:
        return self._wanted

    def set(self) -> None:
        """Ask for the end. May be called from a signal handler."""
        self._wanted = True
        for waiting in list(self._queues):
            waiting.put(None)

    def drain(self) -> None:
        """Ask that running answers are finished and nothing new is begun. May be called from a signal handler."""
        self.draining = True
        for waiting in list(self._queues):
            waiting.put(None)

    def wakes(self, waiting: queue.SimpleQueue[_Asked | None]) -> None:
        self._queues.append(waiting)
        if self:
            waiting.put(None)


@dataclass(slots=True, eq=False)
class _Asked:
    """A turn on its way."""

    talk: Conversation
    key: TurnId
    messages: tuple[Message, ...]
    seed: int | None
    since: float
    future: Future[Generation] | None = None
    failed: Generation | None = None


def most_in_flight(concurrency: int, *, spare: bool = True) -> int:
    """Return how many requests are kept under way: what fills the engine, and a quarter more to take up at once.

    An engine that does one thing at a time (a person, for one) gets one dialogue after the other. So do services,
    without ``spare``: beside their latency the next request is there at once, and a dialogue that is begun and
    then waits for a place only comes late in the end.
    """
    return concurrency + max(1, concurrency // 4) if spare and concurrency > 1 else concurrency


class Schedule:
    """Runs all samples of all dialogues that the store doesn't have yet."""

    def __init__(
        self,
        label: str,
        model: Model,
        store: RecordStore,
        observer: Observer,
        *,
        repeat: int = 1,
        seed: int | None = None,
        stop: Stop | None = None,
    ) -> None:
        self._label = label
        self._model = model
        self._store = store
        self._observer = observer
        self._repeat = repeat
        self._seed = seed
        self._stop = stop if stop is not None else Stop()
        self._done: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._under_way: dict[_Asked, None] = {}  # in the order of submission
        backend = BACKENDS.get(str(model.spec["backend"]))
        self._spare = backend is None or backend.service is None
        self._turns = 0
        self._new = 0
        self._tokens = [0, 0]
        self._problem: str | None = None
        self._fatal = False
        self._defaults = model.defaults

    def run(self, dialogues: Iterable[Dialogue], turns: int) -> ModelSummary:
        """Ask until all is recorded or a stop is wanted. ``turns`` is how many answers all samples ask for."""
        started = time.monotonic()
        self._turns = turns
        self._observer.started(self._label, Workload(turns, len(self._store), self._most))
        self._stop.wakes(self._done)
        talks = self._open_talks(dialogues)
        try:
            while self._fill(talks):
                asked = self._next()
                if asked is not None:
                    self._take(asked)
        finally:
            self._end()
        return self._store.tally.summary(
            self._label,
            new_records=self._new,
            new_output_tokens=self._tokens[1],
            seconds=time.monotonic() - started,
            missing=max(0, self._turns - len(self._store)),
            problem=self._problem,
            fatal=self._fatal,
        )

    @property
    def _most(self) -> int:
        """Asked anew each time: what a service takes at once may grow and shrink."""
        return most_in_flight(self._model.concurrency, spare=self._spare)

    def _next(self) -> _Asked | None:
        """Return what is done next; now and then None, for waiting without an end can't be interrupted on every
        system."""
        try:
            return self._done.get(timeout=_WAKE)
        except queue.Empty:
            return None

    def _open_talks(self, dialogues: Iterable[Dialogue]) -> Iterator[Conversation]:
        """Samples that are not over yet, brought to where their records end."""
        resuming = len(self._store) > 0
        for dialogue in dialogues:
            for talk in samples(dialogue, self._repeat):
                for record in self._store.recorded(dialogue.id, talk.sample) if resuming else ():
                    talk.add(Outcome(record["outcome"]), record["text"])
                if talk.stopped:
                    self._turns -= dialogue.turns - talk.turn
                if not talk.over:
                    yield talk

    def _fill(self, talks: Iterator[Conversation]) -> bool:
        """Submit until enough is under way. False when there is nothing more to wait for."""
        if self._stop or self._problem is not None:
            return False
        if self._stop.draining:
            return bool(self._under_way)
        while len(self._under_way) < self._most:
            talk = next(talks, None)
            if talk is None:
                break
            self._ask(talk)
        return bool(self._under_way)

    def _ask(self, talk: Conversation) -> None:
        key = TurnId(talk.dialogue.id, talk.turn, talk.sample)
        seed = None if self._seed is None else derive_seed(self._seed, key)
        asked = _Asked(talk, key, talk.messages(), seed, time.monotonic())
        self._under_way[asked] = None
        try:
            # None is "not asked"; a seed is only there where the engine supports it.
            asked.future = self._model.submit(asked.messages, dialogue=talk.key, folder=talk.dialogue.folder, seed=seed)
        except ParameterError:
            del self._under_way[asked]
            raise
        except PlaybillError as e:  # the template or a check of messages refused this one conversation
            asked.failed = self._refused(e)
            self._done.put(asked)
        else:
            asked.future.add_done_callback(lambda _: self._done.put(asked))
        self._observer.submitted(self._label, len(self._under_way), next(iter(self._under_way)).since)

    def _refused(self, e: PlaybillError) -> Generation:
        if not isinstance(e, MessageError):
            _log.debug("a conversation was refused", exc_info=e)
        error = {"type": type(e).__name__, "message": scrub(str(e))}
        return Generation(outcome=Outcome.ERROR, params=self._defaults, error=error)

    def _take(self, asked: _Asked) -> None:
        """Record what came, and ask the next turn."""
        generation = asked.failed if asked.failed is not None else _result(asked)
        if generation is None or (self._stop and generation.outcome is Outcome.ERROR):
            return  # it was cancelled, or failed because all is ending: not asked, then
        del self._under_way[asked]
        talk = asked.talk
        record = make_record(asked.key, self._label, self._model.name, asked.messages, generation, asked.seed)
        self._store.append(record)
        talk.add(generation.outcome, record["text"])
        self._count(talk, generation)
        if not (talk.over or self._stop or self._stop.draining or self._problem):
            self._ask(talk)
        self._tell(asked.key, generation.outcome, fault_of(record))

    def _count(self, talk: Conversation, generation: Generation) -> None:
        self._new += 1
        self._tokens[0] += generation.usage.input_tokens or 0
        self._tokens[1] += generation.usage.output_tokens or 0
        if talk.stopped:
            self._turns -= talk.dialogue.turns - talk.turn
        error = generation.error or {}
        if generation.outcome is Outcome.ERROR and error.get("type") in _HOPELESS:
            self._problem = error.get("message", "the service refuses the key")
        elif generation.outcome is Outcome.ERROR and _DEAD.search(str(error.get("message"))):
            self._problem = f"the device is dead for this process: {error['message']}"
            self._fatal = True

    def _tell(self, key: TurnId, outcome: Outcome, fault: str | None) -> None:
        oldest = next(iter(self._under_way), None)
        self._observer.recorded(
            self._label,
            Tick(
                id=key.id,
                turn=key.turn,
                sample=key.sample,
                outcome=outcome,
                recorded=len(self._store),
                turns=self._turns,
                input_tokens=self._tokens[0],
                output_tokens=self._tokens[1],
                in_flight=len(self._under_way),
                waiting_since=oldest.since if oldest is not None else None,
                fault=fault,
            ),
        )

    def _end(self) -> None:
        """Cancel what is under way, and record what is finished all the same."""
        for waiting in list(self._under_way):
            if waiting.future is not None:
                waiting.future.cancel()
        while (asked := self._left()) is not None:
            self._take(asked)
        self._under_way.clear()

    def _left(self) -> _Asked | None:
        """Return the next of those that finished before the end."""
        while True:
            try:
                asked = self._done.get_nowait()
            except queue.Empty:
                return None
            if asked is not None:
                return asked


def _result(asked: _Asked) -> Generation | None:
    """Return the generation, or None where it was cancelled."""
    if asked.future is None:
        return None
    try:
        return asked.future.result()
    except CancelledError:
        return None
