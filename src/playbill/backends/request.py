"""From a prompt to the engine's request, and from the engine's completion to the Generation.

Pure functions: they are given what they need, and know neither the Model nor an engine. `submit_request` ties them
together with a future that is always resolved, whatever an engine does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import format_exception
from typing import Any

from playbill.backends.answer.clean import Cleaned, CleaningRule, clean
from playbill.backends.answer.streamed_text import StreamedText
from playbill.backends.answer.thinking_budget import TokenLimits
from playbill.backends.common.secret import scrub
from playbill.backends.common.surrogates import whole_characters
from playbill.backends.common.words import counted
from playbill.backends.engines.base import Completion, Engine, OnText, Request, supported_parameters
from playbill.backends.errors import ContextExceeded, EngineError, PlaybillError, Refused
from playbill.backends.generation import FinishReason, Generation, Outcome, Usage
from playbill.backends.prompt.prompt_path import Prompt, PromptPath
from playbill.backends.prompt.thinking_families import Tags
from playbill.backends.registry.fields.parameters import Parameters

__all__ = ["Task", "build_request", "failed_generation", "make_generation", "submit_request"]

_log = logging.getLogger(__name__)
_UNKNOWN_ROOM = 1 << 15
"""New tokens that are taken for possible where nobody says how long the model's context is."""


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt to be answered by the model ``name``, and what is needed to read the answer.

    ``path`` and ``prompt.ids`` are None for services. ``params`` are replaced by `build_request`, which caps them by
    the room in the context. ``started`` is a `time.perf_counter` in seconds.
    """

    name: str
    prompt: Prompt
    params: Parameters
    path: PromptPath | None
    rule: CleaningRule
    started: float


class _GenerationFuture(Future[Generation]):
    """The user's future: cancelling it cancels the engine's."""

    engine_future: Future[Completion] | None = None

    def cancel(self) -> bool:
        cancelled = super().cancel()  # first: the engine's callback must find it cancelled
        if self.engine_future is not None:
            self.engine_future.cancel()
        return cancelled


class _Listener:
    """The caller's ``on_text``, who hears what is certain to stand in the answer: together it is its text.

    It is called for each piece that the engine gives, with an empty text where nothing became certain. If it raises,
    the generation is cancelled and the error is raised to the caller.
    """

    def __init__(self, on_text: OnText, future: _GenerationFuture, rule: CleaningRule) -> None:
        self._on_text = on_text
        self._future = future
        self._streamed = StreamedText(rule)
        self.error: Exception | None = None

    def expect(self, stop_strings: Sequence[str]) -> None:
        """Say which texts end the generation, before the engine begins."""
        self._streamed.hold_back(stop_strings)

    def __call__(self, piece: str) -> None:
        self._say(self._streamed.feed(piece))

    def end(self, text: str) -> bool:
        """Say the rest of the whole answer; return False where what was said is not how it begins."""
        rest = self._streamed.rest(text)
        if rest:
            self._say(rest)
        return rest is not None

    def _say(self, text: str) -> None:
        if self.error is None:
            try:
                self._on_text(text)
            except Exception as e:  # noqa: BLE001 - handed on to who waits
                self.error = e
        if self.error is not None and self._future.engine_future is not None:
            self._future.engine_future.cancel()


def submit_request(
    task: Task, engine: Engine, on_text: OnText | None, *, dialogue: str | None, folder: Path | None
) -> Future[Generation]:
    """Hand a task to an engine, and return the future of its Generation. A fault of the engine is its outcome."""
    future = _GenerationFuture()
    listener = _Listener(on_text, future, task.rule) if on_text is not None else None
    try:
        request = build_request(task, supported_parameters(engine), dialogue=dialogue, folder=folder)
        task = replace(task, params=replace(task.params, effective=request.params))
        if listener is not None:
            listener.expect(request.stop_strings)
        engine_future = engine.submit(request, listener)
    except Exception as e:  # noqa: BLE001 - whatever an engine raises is the fate of this one request
        future.set_result(failed_generation(task, e))
        return future
    future.engine_future = engine_future
    engine_future.add_done_callback(lambda done: _finish(task, done, future, listener))
    return future


def build_request(
    task: Task, supported: frozenset[str], *, dialogue: str | None = None, folder: Path | None = None
) -> Request:
    """Make the engine's request; its limits of tokens are capped by the room that the prompt leaves in the context.

    ``supported`` are the parameters that the engine takes. Raises ContextExceeded where there is no room.
    """
    effective = dict(task.params.effective)
    path, ids = task.path, task.prompt.ids
    stop_ids: frozenset[int] = frozenset()
    strings: tuple[str, ...] = ()
    tags, limits = task.rule.tags(task.prompt.text), None
    if path is not None and ids is not None:
        stop_ids, strings = path.stops.id_set, path.stops.strings
        limits = _token_limits(path.context_size, len(ids), effective, tags)
        if path.context_size is not None and "max_tokens" in supported:
            effective["max_tokens"] = limits.answer
        if tags is not None and "max_thinking_tokens" in supported:
            effective["max_thinking_tokens"] = limits.thinking
    stop = effective.get("stop") or ()
    asked = (stop,) if isinstance(stop, str) else tuple(stop)
    return Request(
        messages=task.prompt.messages,
        params=effective,
        prompt_ids=ids,
        stop_ids=stop_ids,
        stop_strings=(*strings, *(s for s in asked if s)),
        dialogue=dialogue,
        folder=folder,
        tags=tags,
        limits=limits,
        unasked=frozenset(task.params.effective.keys() - task.params.asked.keys()),
    )


def _token_limits(
    context_size: int | None, prompt_tokens: int, effective: Mapping[str, Any], tags: Tags | None
) -> TokenLimits:
    """Return how long the answer may be, and the thinking. What has no limit of its own may fill the context."""
    room = _UNKNOWN_ROOM if context_size is None else context_size - prompt_tokens
    if room < 1:
        raise ContextExceeded(
            f"the prompt has {counted(prompt_tokens, 'token')}, which leaves no room for an answer in the context of "
            f"{context_size}; shorten the dialogue, or take a model with a longer context"
        )
    answer = min(effective.get("max_tokens", room), room)
    thinking = 0 if tags is None else min(effective.get("max_thinking_tokens", room), room)
    return TokenLimits(answer, thinking, min(answer + thinking, room))


def _finish(task: Task, done: Future[Completion], future: _GenerationFuture, listener: _Listener | None) -> None:
    """Turn the engine's completion, or its failure, into the Generation. Runs in the engine's thread."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        generation = _generation(task, done)
        answered = not done.cancelled() and done.exception() is None and generation.outcome is not Outcome.ERROR
        if listener is not None and answered and not listener.end(generation.text):
            generation = replace(generation, details={**generation.details, "stream_differs": True})
        if listener is not None and listener.error is not None:
            future.set_exception(listener.error)
        else:
            future.set_result(generation)
    except BaseException as e:  # noqa: BLE001 - left unresolved, the future would be waited for for ever
        future.set_exception(e)


def _generation(task: Task, done: Future[Completion]) -> Generation:
    if done.cancelled():
        return failed_generation(task, EngineError(f"the model {task.name} was closed before it answered"))
    error = done.exception()
    if error is not None:
        return failed_generation(task, error)
    try:
        return make_generation(task, done.result())
    except Exception as e:  # noqa: BLE001 - a completion that can't be decoded is the fate of this one request
        return failed_generation(task, e)


def failed_generation(task: Task, e: BaseException) -> Generation:
    """Make the Generation of a request that failed: ``context_exceeded``, ``refused`` or ``error``."""
    if isinstance(e, ContextExceeded):
        outcome = Outcome.CONTEXT_EXCEEDED
    elif isinstance(e, Refused):
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.ERROR
        if not isinstance(e, PlaybillError):
            _log.debug("the engine failed: %s", scrub("".join(format_exception(e))))
    known = vars(e) if isinstance(e, PlaybillError) else {}  # a stranger's attributes may raise, and mean other things
    return Generation(
        outcome=outcome,
        prompt=scrub(task.prompt.text),
        prompt_ids=task.prompt.ids,
        seconds=time.perf_counter() - task.started,
        params=task.params,
        changes=task.prompt.changes,
        attempts=known.get("attempts", 1),
        request=scrub(known.get("request")),
        response=scrub(known.get("response")),
        error={"type": type(e).__name__, "message": scrub(str(e))},
    )


def make_generation(task: Task, completion: Completion) -> Generation:
    """Decode and clean a completion, and judge its outcome."""
    raw, broken = _representable(_raw(task.path, completion))
    cleaned = clean(
        raw,
        task.rule,
        prompt=task.prompt.text,
        stop_string=completion.stop_string,
        stop_from=_stop_from(task.path, completion),
        truncated=completion.finish_reason is FinishReason.LENGTH,
    )
    told, broken_thinking = _representable(completion.thinking or "")
    thinking = told if completion.thinking is not None else cleaned.thinking
    outcome = _outcome(completion, cleaned.text, thinking, cleaned.in_thinking)
    return Generation(
        outcome=outcome,
        text=cleaned.text,  # it goes on into the dialogue, so it is never changed; records scrub it
        raw=scrub(raw),
        thinking=scrub(thinking),
        prompt=scrub(task.prompt.text),
        prompt_ids=task.prompt.ids,
        output_ids=completion.output_ids,
        finish_reason=completion.finish_reason,
        finish_reason_raw=completion.finish_reason_raw,
        usage=_usage(task.prompt, completion),
        seconds=time.perf_counter() - task.started,
        params=_params(task.params, completion),
        changes=task.prompt.changes,
        request=scrub(completion.request),
        response=scrub(completion.response),
        attempts=completion.attempts,
        error=_refusal(completion) if outcome is Outcome.REFUSED else None,
        details=scrub(_details(task.path, completion, cleaned, broken + broken_thinking)),
    )


def _params(params: Parameters, completion: Completion) -> Parameters:
    """Return the parameters as they turned out to be in effect."""
    effective = {**params.effective, **completion.effective}
    left = {name: value for name, value in effective.items() if name not in completion.not_sent}
    return replace(params, effective=left, not_sent={**params.not_sent, **completion.not_sent})


def _raw(path: PromptPath | None, completion: Completion) -> str:
    if completion.output_ids is not None and path is not None:
        return path.decode(completion.output_ids)
    return completion.text or ""


def _stop_from(path: PromptPath | None, completion: Completion) -> int:
    """Return where the stop string that ended the generation begins at the earliest: the last token completed it."""
    ids = completion.output_ids
    if completion.stop_string is None or not ids or path is None:
        return 0
    return max(0, len(path.decode(ids[:-1])) - len(completion.stop_string) + 1)


def _usage(prompt: Prompt, completion: Completion) -> Usage:
    """Return the engine's counts; where it gives none, those of the ids that we have."""
    usage = completion.usage
    if usage.input_tokens is None and prompt.ids is not None:
        usage = replace(usage, input_tokens=len(prompt.ids))
    if usage.output_tokens is None and completion.output_ids is not None:
        usage = replace(usage, output_tokens=len(completion.output_ids))
    return usage


def _representable(text: str) -> tuple[str, int]:
    """Return a text that UTF-8 can hold, and how many halves of surrogate pairs were replaced by U+FFFD."""
    whole = whole_characters(text)
    return whole, whole.count("\ufffd") - text.count("\ufffd")


def _details(path: PromptPath | None, completion: Completion, cleaned: Cleaned, replaced: int) -> dict[str, Any]:
    details = dict(completion.details)
    if path is not None and isinstance(details.get("logprobs"), list):
        details["logprobs"] = [_named(path, place) for place in details["logprobs"]]
    if replaced:
        details["replaced_surrogates"] = replaced
    if cleaned.problem is not None:
        details["response_template"] = cleaned.problem
    if completion.stop_string is not None:
        details["stop_string"] = completion.stop_string
        start = _stop_from(path, completion)
        if _raw(path, completion).find(completion.stop_string) < start:  # it stands earlier, without having ended
            details["stop_from"] = start
    if path is not None and path.template.source == "generic":
        details["template"] = "generic"
    return details


def _named(path: PromptPath, place: Mapping[str, Any]) -> dict[str, Any]:
    """Return a token's log probability with its text, and with its bytes where they are no text by themselves."""
    content = path.token_bytes(place["id"])
    named: dict[str, Any] = {"id": place["id"], "token": content.decode("utf-8", "replace")}
    if named["token"].encode() != content:
        named["bytes"] = list(content)
    named["logprob"] = place["logprob"]
    return {**named, "top": [_named(path, each) for each in place["top"]]} if "top" in place else named


def _outcome(completion: Completion, text: str, thinking: str | None, in_thinking: bool) -> Outcome:
    if completion.finish_reason is FinishReason.REFUSED:
        return Outcome.REFUSED
    cut = completion.finish_reason is FinishReason.LENGTH
    # Services that hide the thinking count it all the same.
    thought = thinking or completion.usage.thinking_tokens
    if cut and (in_thinking or (thought and not text.strip())):
        return Outcome.TRUNCATED_IN_THINKING
    if not text.strip():
        return Outcome.EMPTY
    return Outcome.TRUNCATED if cut else Outcome.ANSWERED


def _refusal(completion: Completion) -> dict[str, str]:
    reason = f" ({completion.finish_reason_raw})" if completion.finish_reason_raw else ""
    return {"type": Refused.__name__, "message": f"the service refused to answer{reason}"}
