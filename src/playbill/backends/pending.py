"""One request on its way from a Model to an engine, and what came of it as a Generation.

Whatever an engine does, the future that the user waits for is resolved. Knows no engine by name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from playbill.backends.clean import Cleaned, clean
from playbill.backends.engine import Completion, OnText, Request
from playbill.backends.errors import ContextExceeded, EngineError, PlaybillError, Refused
from playbill.backends.generation import FinishReason, Generation, Outcome, Usage
from playbill.backends.parameters import Parameters
from playbill.backends.prompt_path import Prompt
from playbill.backends.secret import scrub
from playbill.backends.thinking import Limits, Tags

if TYPE_CHECKING:
    from playbill.backends.model import Model

__all__ = ["Pending"]

_log = logging.getLogger(__name__)
_UNKNOWN_ROOM = 1 << 15
"""New tokens that are taken for possible where nobody says how long the model's context is."""


class _GenerationFuture(Future[Generation]):
    """The user's future: cancelling it cancels the engine's."""

    engine_future: Future[Completion] | None = None

    def cancel(self) -> bool:
        cancelled = super().cancel()  # first: the engine's callback must find it cancelled
        if self.engine_future is not None:
            self.engine_future.cancel()
        return cancelled


class _Listener:
    """The caller's ``on_text``. What it raises is the caller's to know: it ends the work, and is raised again."""

    def __init__(self, on_text: OnText, future: _GenerationFuture) -> None:
        self._on_text = on_text
        self._future = future
        self.error: Exception | None = None

    def __call__(self, text: str) -> None:
        if self.error is None:
            try:
                self._on_text(text)
            except Exception as e:  # noqa: BLE001 - handed on to who waits
                self.error = e
        if self.error is not None and self._future.engine_future is not None:
            self._future.engine_future.cancel()


@dataclass(frozen=True, slots=True)
class Pending:
    """One request on its way, with all that its Generation will say of it."""

    model: Model
    prompt: Prompt
    params: Parameters
    started: float

    def start(self, on_text: OnText | None, dialogue: str | None, folder: Path | None = None) -> Future[Generation]:
        future = _GenerationFuture()
        listener = _Listener(on_text, future) if on_text is not None else None
        pending = self
        try:
            if self.model.is_closed:
                raise EngineError(f"the model {self.model.name} is closed")
            request, params = self._request(dialogue, folder)
            pending = replace(self, params=params)
            engine_future = self.model.engine.submit(request, listener)
        except Exception as e:  # noqa: BLE001 - whatever an engine raises is the fate of this one request
            future.set_result(pending.fate_of(e))
            return future
        future.engine_future = engine_future
        engine_future.add_done_callback(lambda done: pending._finish(done, future, listener))
        return future

    def _request(self, dialogue: str | None, folder: Path | None) -> tuple[Request, Parameters]:
        """The engine's request, its budgets capped by the room that the prompt leaves in the context."""
        effective = dict(self.params.effective)
        path = self.model.prompt_path
        stop_ids: frozenset[int] = frozenset()
        strings: tuple[str, ...] = ()
        tags, limits = self._tags(), None
        if path is not None and self.prompt.ids is not None:
            stop_ids, strings = path.stops.id_set, path.stops.strings
            limits = self._limits(effective, tags)
            if path.context_size is not None and "max_tokens" in self.model.engine.honours:
                effective["max_tokens"] = limits.answer
            if tags is not None and "max_thinking_tokens" in self.model.engine.honours:
                effective["max_thinking_tokens"] = limits.thinking
        stop = effective.get("stop") or ()
        asked = (stop,) if isinstance(stop, str) else tuple(stop)
        request = Request(
            messages=self.prompt.messages,
            params=effective,
            prompt_ids=self.prompt.ids,
            stop_ids=stop_ids,
            stop_strings=(*strings, *(s for s in asked if s)),
            dialogue=dialogue,
            folder=folder,
            tags=tags,
            limits=limits,
        )
        return request, replace(self.params, effective=effective)

    def _tags(self) -> Tags | None:
        """The tags around the model's thinking, and whether this prompt ends inside it."""
        return self.model.cleaning.tags(self.prompt.text)

    def _limits(self, effective: Mapping[str, Any], tags: Tags | None) -> Limits:
        """How long the answer may be, and the thinking; without a limit of its own that goes as far as there is room.

        Raises ContextExceeded where there is no room.
        """
        path, ids = self.model.prompt_path, self.prompt.ids or ()
        size = path.context_size if path is not None else None
        room = _UNKNOWN_ROOM if size is None else size - len(ids)
        if room < 1:
            raise ContextExceeded(
                f"the prompt has {len(ids)} tokens, which leaves no room for an answer in the context of {size}"
            )
        answer = min(effective.get("max_tokens", room), room)
        thinking = 0 if tags is None else min(effective.get("max_thinking_tokens", room), room)
        return Limits(answer, thinking, min(answer + thinking, room))

    def _finish(self, done: Future[Completion], future: _GenerationFuture, listener: _Listener | None) -> None:
        """Turn the engine's completion, or its failure, into the Generation. Runs in the engine's thread."""
        if not future.set_running_or_notify_cancel():
            return
        if listener is not None and listener.error is not None:
            future.set_exception(listener.error)
            return
        try:
            future.set_result(self._generation(done))
        except BaseException as e:  # noqa: BLE001 - left unresolved, the future would be waited for for ever
            future.set_exception(e)

    def _generation(self, done: Future[Completion]) -> Generation:
        if done.cancelled():
            return self.fate_of(EngineError(f"the model {self.model.name} was closed before it answered"))
        error = done.exception()
        if error is not None:
            return self.fate_of(error)
        try:
            return self._completed(done.result())
        except Exception as e:  # noqa: BLE001 - a completion that can't be decoded is the fate of this one request
            return self.fate_of(e)

    def fate_of(self, e: BaseException) -> Generation:
        """The Generation of a request that failed."""
        if isinstance(e, ContextExceeded):
            return self._failed(Outcome.CONTEXT_EXCEEDED, e)
        if isinstance(e, Refused):
            return self._failed(Outcome.REFUSED, e)
        if not isinstance(e, PlaybillError):
            _log.debug("the engine failed: %s", scrub("".join(format_exception(e))))
        return self._failed(Outcome.ERROR, e)

    def _failed(self, outcome: Outcome, e: BaseException) -> Generation:
        return Generation(
            outcome=outcome,
            prompt=scrub(self.prompt.text),
            prompt_ids=self.prompt.ids,
            seconds=time.perf_counter() - self.started,
            params=self.params,
            changes=self.prompt.changes,
            attempts=getattr(e, "attempts", 1),
            request=scrub(getattr(e, "request", None)),
            response=scrub(getattr(e, "response", None)),
            error={"type": type(e).__name__, "message": scrub(str(e))},
        )

    def _completed(self, completion: Completion) -> Generation:
        raw = self._raw(completion)
        cleaned = clean(
            raw,
            self.model.cleaning,
            prompt=self.prompt.text,
            stop_string=completion.stop_string,
            stop_from=self._stop_from(completion),
            truncated=completion.finish_reason is FinishReason.LENGTH,
        )
        thinking = completion.thinking if completion.thinking is not None else cleaned.thinking
        outcome = _outcome(completion, cleaned.text, thinking, cleaned.in_thinking)
        return Generation(
            outcome=outcome,
            text=scrub(cleaned.text),
            raw=scrub(raw),
            thinking=scrub(thinking),
            prompt=scrub(self.prompt.text),
            prompt_ids=self.prompt.ids,
            output_ids=completion.output_ids,
            finish_reason=completion.finish_reason,
            finish_reason_raw=completion.finish_reason_raw,
            usage=self._usage(completion),
            seconds=time.perf_counter() - self.started,
            params=replace(self.params, effective={**self.params.effective, **completion.effective}),
            changes=self.prompt.changes,
            request=scrub(completion.request),
            response=scrub(completion.response),
            attempts=completion.attempts,
            error=_refusal(completion) if outcome is Outcome.REFUSED else None,
            details=scrub(self._details(completion, cleaned)),
        )

    def _raw(self, completion: Completion) -> str:
        if completion.output_ids is not None and self.model.prompt_path is not None:
            return self.model.prompt_path.decode(completion.output_ids)
        return completion.text or ""

    def _stop_from(self, completion: Completion) -> int:
        """Where the stop string that ended the generation begins at the earliest: the last token completed it."""
        path, ids = self.model.prompt_path, completion.output_ids
        if completion.stop_string is None or not ids or path is None:
            return 0
        return max(0, len(path.decode(ids[:-1])) - len(completion.stop_string) + 1)

    def _usage(self, completion: Completion) -> Usage:
        """The engine's counts; where it gives none, those of the ids that we have."""
        usage = completion.usage
        if usage.input_tokens is None and self.prompt.ids is not None:
            usage = replace(usage, input_tokens=len(self.prompt.ids))
        if usage.output_tokens is None and completion.output_ids is not None:
            usage = replace(usage, output_tokens=len(completion.output_ids))
        return usage

    def _details(self, completion: Completion, cleaned: Cleaned) -> dict[str, Any]:
        path = self.model.prompt_path
        details = dict(completion.details)
        if cleaned.problem is not None:
            details["response_template"] = cleaned.problem
        if completion.stop_string is not None:
            details["stop_string"] = completion.stop_string
            start = self._stop_from(completion)
            if self._raw(completion).find(completion.stop_string) < start:  # it stands earlier, without having ended
                details["stop_from"] = start
        if path is not None and path.template.source == "generic":
            details["template"] = "generic"
        return details


def _outcome(completion: Completion, text: str, thinking: str | None, in_thinking: bool) -> Outcome:
    if completion.finish_reason is FinishReason.REFUSED:
        return Outcome.REFUSED
    cut = completion.finish_reason is FinishReason.LENGTH
    # Services that hide the thinking count it all the same.
    thought = thinking or completion.usage.thinking_tokens
    if cut and (in_thinking or (thought and not text)):
        return Outcome.TRUNCATED_IN_THINKING
    if not text:
        return Outcome.EMPTY
    return Outcome.TRUNCATED if cut else Outcome.ANSWERED


def _refusal(completion: Completion) -> dict[str, str]:
    reason = f" ({completion.finish_reason_raw})" if completion.finish_reason_raw else ""
    return {"type": Refused.__name__, "message": f"the service refused to answer{reason}"}
