"""The engine huggingface_local: one thread owns the model and steps all waiting requests together.

Knows no tokenizer but a decode function, and not how logits are computed.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import torch

from playbill.backends.engines.base import Completion, OnText, Request
from playbill.backends.engines.huggingface_local.decoder import Decoder
from playbill.backends.engines.huggingface_local.sampling import SUPPORTED_PARAMETERS, Pick
from playbill.backends.engines.huggingface_local.sequence import SampledSequence
from playbill.backends.engines.inbox import Inbox
from playbill.backends.engines.machine.process_state import compute_with_threads, give_memory_back
from playbill.backends.errors import EngineError

__all__ = ["TransformersEngine"]

_log = logging.getLogger(__name__)
_CLOSING_SECONDS = 60.0


class TransformersEngine:
    """A model of transformers that completes requests."""

    supported_parameters = SUPPORTED_PARAMETERS | {"max_tokens", "max_thinking_tokens", "stop"}

    def __init__(
        self,
        decoder: Decoder,
        *,
        vocabulary: int,
        decode: Callable[[Sequence[int]], str],
        facts: Callable[[], Mapping[str, Any]],
        threads: int | None,
    ) -> None:
        self.concurrency = decoder.most_rows
        self.decoder: Decoder | None = decoder
        """What computes the steps; None once the engine is closed."""
        self._most_rows = decoder.most_rows
        self._vocabulary = vocabulary
        self._decode = decode
        self._facts = facts
        self.threads = threads
        self._inbox: Inbox[SampledSequence] = Inbox("huggingface_local")
        self._waiting: deque[SampledSequence] = deque()
        self._rows: list[SampledSequence] = []
        self._unread: list[SampledSequence] = []
        """Rows whose last token's text is looked at while the next step is computed."""
        self._thread = threading.Thread(target=self._work, name="playbill-huggingface_local", daemon=True)
        self._thread.start()

    def submit(self, request: Request, on_text: OnText | None = None) -> Future[Completion]:
        ids = request.prompt_ids
        if not ids:
            raise EngineError("the prompt has no tokens")
        strange = next((i for i in ids if not 0 <= i < self._vocabulary), None)
        if strange is not None:
            raise EngineError(
                f"the prompt has the token id {strange}, but the model knows only 0 to {self._vocabulary - 1}: "
                "tokenizer and weights don't belong together"
            )
        return self._inbox.put(SampledSequence(request, on_text, self._decode))

    def close(self) -> None:
        if self._inbox.close() and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSING_SECONDS)
            if torch.cuda.is_available():
                give_memory_back()

    def facts(self) -> Mapping[str, Any]:
        return self._facts()

    # The rest runs in the engine's own thread.

    def _work(self) -> None:
        if self.threads:
            compute_with_threads(self.threads)
        error: BaseException | None = None
        try:
            with torch.inference_mode():
                while self._take_in():
                    self._step()
        except BaseException as e:  # noqa: BLE001 - the thread's last word goes to all who wait
            error = e
            _log.debug("the engine's thread ended", exc_info=e)
        self._end(error)

    def _take_in(self) -> bool:
        """Take what has come, waiting for it only if there is nothing to do; False at the end."""
        came: list[SampledSequence] = []
        while True:
            try:
                row = self._inbox.get(block=not (self._rows or self._waiting or came))
            except queue.Empty:
                break
            if row is None:
                self._waiting.extend(came)
                return False
            came.append(row)
        # Longest first among those that came together: nobody waits for ever, and the last to end isn't the longest.
        self._waiting.extend(sorted(came, key=lambda r: len(r.ids), reverse=True))
        while self._waiting and len(self._rows) < self._most_rows:
            self._rows.append(self._waiting.popleft())
        return True

    def _step(self) -> None:
        """Advance each row by one token."""
        for row in [row for row in self._rows if row.unwanted]:
            row.drop()
            self._leave(row)
        if not self._rows:
            return
        for row, pick in self._advance(list(self._rows)):
            if pick is None or row.done:  # a token after the end, which was only seen meanwhile
                continue
            try:
                row.take(pick)
            except EngineError as e:
                row.fail(e)
                self._leave(row)
                continue
            if self.decoder is not None and self.decoder.ahead and not row.surely_ends:
                self._unread.append(row)
            else:
                self._read(row)

    def _read_all(self) -> None:
        """Look at what the last step has brought, as a new one is under way."""
        unread, self._unread = self._unread, []
        for row in unread:
            if not row.done:
                self._read(row)

    def _read(self, row: SampledSequence) -> None:
        """Look at the text of a row's last token; a row that ends with it makes room."""
        try:
            row.push(row.ids[-1])
        except Exception as e:  # noqa: BLE001 - a fault of this row, its callback's for one, stays with it
            row.fail(_as_engine_error(e))
            self._leave(row)
            return
        if row.done:
            self._rows.remove(row)
            if self.decoder is not None:
                self.decoder.finish(row)

    def _leave(self, row: SampledSequence) -> None:
        self._rows.remove(row)
        if self.decoder is not None:
            self.decoder.forget(row)

    def _advance(self, rows: list[SampledSequence]) -> list[tuple[SampledSequence, Pick | None]]:
        """Return the next tokens of all rows that could be computed. Out of memory, fewer are computed at once, none is
        lost; otherwise each row is computed by itself, so that a failure stays with the row that causes it."""
        assert self.decoder is not None
        try:
            return list(zip(rows, self.decoder.advance(rows, self._read_all), strict=True))
        except Exception as e:  # noqa: BLE001 - torch raises anything; it is sorted out here
            failure = e
        self._read_all()
        rows = [row for row in rows if not row.done]
        for row in rows:
            self.decoder.forget(row)
        if not _is_out_of_memory(failure):
            return [found for row in rows for found in self._alone(row)]
        if not self.decoder.make_room():
            if len(rows) == 1:
                rows[0].fail(_as_engine_error(failure))
                self._leave(rows[0])
            else:
                self._make_room(rows)
        return []

    def _alone(self, row: SampledSequence) -> list[tuple[SampledSequence, Pick | None]]:
        """Compute a row by itself until it has one more token than it had, or fails for good."""
        assert self.decoder is not None
        try:
            while (pick := self.decoder.advance([row])[0]) is None:
                if row.kv_cache is None:  # there is no room for it beside those that were computed before
                    return []
        except Exception as e:  # noqa: BLE001 - as above
            row.fail(_as_engine_error(e))
            self._leave(row)
            return []
        return [(row, pick)]

    def _make_room(self, rows: list[SampledSequence]) -> None:
        """Half as many rows from now on; the others wait, with all that they have."""
        self._most_rows = max(1, len(rows) // 2)
        for row in reversed(rows[self._most_rows :]):
            self._rows.remove(row)
            self._waiting.appendleft(row)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _log.warning("out of memory with %d requests at once; going on with %d", len(rows), self._most_rows)

    def _end(self, error: BaseException | None) -> None:
        """Deliver to all who still wait, and let go of the model."""
        self._inbox.fail(_as_engine_error(error) if error is not None else None, [*self._rows, *self._waiting])
        if self.decoder is not None:
            self.decoder.close()
        self._rows, self.decoder = [], None
        self._waiting.clear()


def _is_out_of_memory(e: BaseException) -> bool:
    said = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(e, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(e, RuntimeError) and any(text in str(e) for text in said)
    )


def _as_engine_error(e: BaseException) -> EngineError:
    if isinstance(e, EngineError):
        return e
    if _is_out_of_memory(e):
        error = EngineError("out of memory, with this one request alone; a smaller dtype or a shorter prompt may fit")
    else:
        error = EngineError(f"{type(e).__name__}: {e}")
    error.__cause__ = e
    return error
