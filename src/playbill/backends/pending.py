"""One request on its way from a Model to an engine, and what came of it as a Generation.

Whatever an engine does, the future that the user waits for is resolved. Knows no engine by name.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from playbill.backends.clean import clean
from playbill.backends.engine import Completion, OnText, Request
from playbill.backends.errors import ContextExceeded, EngineError, PlaybillError, Refused
from playbill.backends.generation import FinishReason, Generation, Outcome, Usage
from playbill.backends.parameters import Parameters
from playbill.backends.prompt_path import Prompt
from playbill.backends.secret import scrub

if TYPE_CHECKING:
    from playbill.backends.model import Model

__all__ = ["Pending"]

_log = logging.getLogger(__name__)


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

    def start(self, on_text: OnText | None, dialogue: str | None) -> Future[Generation]:
        future = _GenerationFuture()
        listener = _Listener(on_text, future) if on_text is not None else None
        pending = self
        try:
            if self.model.is_closed:
                raise EngineError(f"the model {self.model.name} is closed")
            request, params = self._request(dialogue)
            pending = replace(self, params=params)
            engine_future = self.model.engine.submit(request, listener)
        except Exception as e:  # noqa: BLE001 - whatever an engine raises is the fate of this one request
            future.set_result(pending.fate_of(e))
            return future
        future.engine_future = engine_future
        engine_future.add_done_callback(lambda done: pending._finish(done, future, listener))
        return future

    def _request(self, dialogue: str | None) -> tuple[Request, Parameters]:
        """The engine's request, ``max_tokens`` capped by the room that the prompt leaves in the context."""
        effective = dict(self.params.effective)
        path = self.model.prompt_path
        stop_ids: frozenset[int] = frozenset()
        strings: tuple[str, ...] = ()
        if path is not None and self.prompt.ids is not None:
            stop_ids, strings = path.stops.id_set, path.stops.strings
            if path.context_size is not None:
                room = path.context_size - len(self.prompt.ids)
                if room < 1:
                    raise ContextExceeded(
                        f"the prompt has {len(self.prompt.ids)} tokens, which leaves no room for an answer in "
                        f"the context of {path.context_size}"
                    )
                effective["max_tokens"] = min(effective.get("max_tokens", room), room)
        stop = effective.get("stop") or ()
        asked = (stop,) if isinstance(stop, str) else tuple(stop)
        request = Request(
            messages=self.prompt.messages,
            params=effective,
            prompt_ids=self.prompt.ids,
            stop_ids=stop_ids,
            stop_strings=(*strings, *(s for s in asked if s)),
            dialogue=dialogue,
        )
        return request, replace(self.params, effective=effective)

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
        rule = self.model.cleaning.after(self.prompt.text)
        truncated = completion.finish_reason is FinishReason.LENGTH
        cleaned = clean(raw, rule, stop_string=completion.stop_string, truncated=truncated)
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
            details=scrub(self._details(completion)),
        )

    def _raw(self, completion: Completion) -> str:
        if completion.output_ids is not None and self.model.prompt_path is not None:
            return self.model.prompt_path.decode(completion.output_ids)
        return completion.text or ""

    def _usage(self, completion: Completion) -> Usage:
        """The engine's counts; where it gives none, those of the ids that we have."""
        usage = completion.usage
        if usage.input_tokens is None and self.prompt.ids is not None:
            usage = replace(usage, input_tokens=len(self.prompt.ids))
        if usage.output_tokens is None and completion.output_ids is not None:
            usage = replace(usage, output_tokens=len(completion.output_ids))
        return usage

    def _details(self, completion: Completion) -> dict[str, Any]:
        path = self.model.prompt_path
        details = dict(completion.details)
        if completion.stop_string is not None:
            details["stop_string"] = completion.stop_string
        if path is not None and path.template.source == "generic":
            details["template"] = "generic"
        return details


def _outcome(completion: Completion, text: str, thinking: str | None, in_thinking: bool) -> Outcome:
    if completion.finish_reason is FinishReason.REFUSED:
        return Outcome.REFUSED
    cut = completion.finish_reason is FinishReason.LENGTH
    if cut and (in_thinking or (thinking and not text)):
        return Outcome.TRUNCATED_IN_THINKING
    if not text:
        return Outcome.EMPTY
    return Outcome.TRUNCATED if cut else Outcome.ANSWERED


def _refusal(completion: Completion) -> dict[str, str]:
    reason = f" ({completion.finish_reason_raw})" if completion.finish_reason_raw else ""
    return {"type": Refused.__name__, "message": f"the service refused to answer{reason}"}
