"""The engine vllm: one thread owns vLLM, takes requests as they come, and steps while there are any.

Knows vLLM only as a `Driver`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from itertools import count
from typing import Any

from playbill.backends.common.words import counted
from playbill.backends.engines.base import Completion, OnText, Request
from playbill.backends.engines.inbox import Inbox
from playbill.backends.engines.machine.process_state import compute_with_threads
from playbill.backends.engines.vllm.arguments import dialogues_at_once
from playbill.backends.engines.vllm.driver import Driver
from playbill.backends.engines.vllm.sampling import SUPPORTED_PARAMETERS
from playbill.backends.engines.vllm.sequence import VllmSequence
from playbill.backends.errors import ContextExceeded, EngineError

__all__ = ["VllmEngine"]

_log = logging.getLogger(__name__)
_CLOSING_SECONDS = 60.0
_PATIENCE = 0.03  # of a step's time


class VllmEngine:
    """Completes requests by vLLM. ``start`` is called in the engine's own thread, whose CPU threads compute."""

    supported_parameters = SUPPORTED_PARAMETERS

    def __init__(
        self,
        start: Callable[[], Driver],
        *,
        decode: Callable[[Sequence[int]], str],
        facts: Callable[[], Mapping[str, Any]],
        threads: int | None,
    ) -> None:
        self._decode = decode
        self._facts = facts
        self._names = count()
        self._inbox: Inbox[VllmSequence] = Inbox("vllm")
        self._sequences: dict[str, VllmSequence] = {}
        self._step_seconds = 0.0
        self._answered = 0  # requests that ended with the last step, and whose callers may ask again
        started: Future[Driver] = Future()
        self._thread = threading.Thread(
            target=self._work, args=(start, threads, started), name="playbill-vllm", daemon=True
        )
        self._thread.start()
        try:
            driver = started.result()
        except BaseException:  # an interrupt too: what is still loading is closed when it is there
            self.close(wait=False)
            raise
        self.concurrency = dialogues_at_once(driver.seats, driver.cached_tokens, driver.context_size)
        self.context_size = driver.context_size
        self._computation = dict(driver.facts)
        self.threads = threads if driver.facts.get("device") == "cpu" else None

    def submit(self, request: Request, on_text: OnText | None = None) -> Future[Completion]:
        ids = request.prompt_ids
        if not ids:
            raise EngineError("the prompt has no tokens")
        if len(ids) >= self.context_size:
            raise ContextExceeded(
                f"the prompt has {counted(len(ids), 'token')}, which leaves no room for an answer in the context of "
                f"{self.context_size}"
            )
        return self._inbox.put(VllmSequence(f"playbill-{next(self._names)}", request, on_text, self._decode))

    def close(self, *, wait: bool = True) -> None:
        if self._inbox.close() and wait and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSING_SECONDS)

    def facts(self) -> Mapping[str, Any]:
        return {**self._facts(), **self._computation}

    # The rest runs in the engine's own thread.

    def _work(self, start: Callable[[], Driver], threads: int | None, started: Future[Driver]) -> None:
        try:
            if threads is not None:
                compute_with_threads(threads)
            driver = start()
        except BaseException as e:  # noqa: BLE001 - handed to who waits for the start
            started.set_exception(e)
            return
        started.set_result(driver)
        error: EngineError | None = None
        try:
            while self._take_in(driver):
                self._step(driver)
        except BaseException as e:  # noqa: BLE001 - the thread's last word goes to all who wait
            _log.debug("vLLM's thread ended", exc_info=e)
            error = _as_engine_error(e)
        self._end(driver, error)

    def _take_in(self, driver: Driver) -> bool:
        """Take what has come, waiting for it only if there is nothing to do; False at the end.

        Who was just answered often asks again within a millisecond, and would miss a whole step without this
        much patience.
        """
        deadline = time.monotonic() + _PATIENCE * self._step_seconds
        while True:
            try:
                sequence = self._next(deadline if self._answered else None)
            except queue.Empty:
                return True
            if sequence is None:
                return False
            self._answered = max(0, self._answered - 1)
            self._board(driver, sequence)

    def _next(self, deadline: float | None) -> VllmSequence | None:
        if not self._sequences:
            return self._inbox.get(block=True)
        left = deadline - time.monotonic() if deadline is not None else 0.0
        return self._inbox.get(block=left > 0, timeout=left if left > 0 else None)

    def _board(self, driver: Driver, sequence: VllmSequence) -> None:
        """Hand a request to vLLM. What it refuses is this request's fate alone."""
        try:
            driver.add(sequence.name, sequence.request.prompt_ids or (), sequence.arguments())
        except Exception as e:  # noqa: BLE001 - vLLM raises anything for a request that it doesn't like
            sequence.fail(_as_engine_error(e))
            driver.drop([sequence.name])
        else:
            self._sequences[sequence.name] = sequence

    def _step(self, driver: Driver) -> None:
        """Advance each request by one token."""
        self._leave(driver, [sequence for sequence in self._sequences.values() if sequence.unwanted])
        if not self._sequences:
            return
        ended_here = []
        before, under_way = time.monotonic(), len(self._sequences)
        made = driver.step()
        self._step_seconds = time.monotonic() - before
        for output in made:
            sequence = self._sequences.get(output.name)
            if sequence is None:
                continue
            try:
                sequence.take(output)
            except Exception as e:  # noqa: BLE001 - a fault of this request, its callback's for one, stays with it
                sequence.fail(_as_engine_error(e))
            if output.finish_reason is not None:
                self._sequences.pop(output.name, None)
            elif sequence.done:
                ended_here.append(sequence)
        self._leave(driver, ended_here)
        self._answered = under_way - len(self._sequences)

    def _leave(self, driver: Driver, sequences: list[VllmSequence]) -> None:
        """End requests of which vLLM doesn't know that they are over."""
        if sequences:
            driver.drop([sequence.name for sequence in sequences])
        for sequence in sequences:
            self._sequences.pop(sequence.name, None)
            sequence.drop()

    def _end(self, driver: Driver, error: EngineError | None) -> None:
        """Deliver to all who still wait, and let go of vLLM."""
        left = list(self._sequences.values())
        self._sequences.clear()
        self._inbox.fail(error, left)
        try:
            driver.drop([sequence.name for sequence in left])
            driver.close()
        except Exception as e:  # noqa: BLE001 - it is gone all the same
            _log.debug("vLLM closed with an error", exc_info=e)


def _as_engine_error(e: BaseException) -> EngineError:
    if isinstance(e, EngineError):
        return e
    error = EngineError(f"vLLM: {type(e).__name__}: {e}")
    error.__cause__ = e
    return error
