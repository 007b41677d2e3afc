"""The Model that a user holds: it prepares, renders, encodes, hands over, decodes and cleans; for every engine.

Single, batch, streaming and concurrent use are one path, `Model.submit`. Knows no engine by name.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from playbill.backends.clean import CleaningRule, clean
from playbill.backends.engine import Completion, Engine, OnText, Request
from playbill.backends.entry_keys import setting
from playbill.backends.errors import ContextExceeded, EngineError, PlaybillError, Refused
from playbill.backends.generation import FinishReason, Generation, Outcome, Usage
from playbill.backends.messages import Message, prepare
from playbill.backends.parameters import Parameters, resolve_parameters
from playbill.backends.prompt_path import PromptPath
from playbill.backends.secret import scrub
from playbill.backends.spec import ModelSpec

__all__ = ["Model", "Prompt", "Stream", "make_prompt"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent for a list of messages: the prepared messages, and text and ids where they are ours."""

    messages: tuple[Message, ...]
    changes: tuple[str, ...] = ()
    text: str | None = None
    ids: tuple[int, ...] | None = None


def make_prompt(spec: Mapping[str, Any], path: PromptPath | None, messages: Any) -> Prompt:
    """Prepare, render and encode messages. Needs no weights.

    Raises MessageError for malformed messages and TemplateRefusal where the template refuses them.
    """
    prepared = prepare(
        messages,
        consecutive_roles=setting(spec, "consecutive_roles"),
        system_role=setting(spec, "system_role"),
    )
    if path is None:
        return Prompt(prepared.messages, prepared.changes)
    text = path.render(prepared.messages)
    return Prompt(prepared.messages, prepared.changes, text, path.encode(text))


class Model:
    """A loaded model, ready for generation; made by `playbill.backends.load_model`.

    >>> from playbill.backends import load_model
    >>> with load_model("mock", answers=["Guess: tower"]) as model:
    ...     model.generate([{"role": "user", "content": "What is it?"}]).text
    'Guess: tower'
    """

    def __init__(self, spec: ModelSpec, engine: Engine, prompt_path: PromptPath | None, backend: str) -> None:
        self.spec = spec
        self.prompt_path = prompt_path
        self.engine = engine
        self._backend = backend
        self._rule = _cleaning_rule(spec, prompt_path)
        resolve_parameters(spec, {}, engine.honours, backend)

    @property
    def name(self) -> str:
        return str(self.spec["model_name"])

    @property
    def cleaning(self) -> CleaningRule:
        """The rule by which raw texts become answers; part of a run's manifest."""
        return self._rule

    @property
    def concurrency(self) -> int:
        """How many requests in flight fill the engine."""
        return self.engine.concurrency

    def __repr__(self) -> str:
        return f"Model({self.name!r}, backend={self._backend!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all work and free what the model holds."""
        self.engine.close()

    def generate(self, messages: Sequence[Mapping[str, Any]], **params: Any) -> Generation:
        """Answer one list of messages. ``params`` are generation parameters; they win over the entry's.

        Raises MessageError, ParameterError and TemplateRefusal; every other fate is the Generation's outcome.
        """
        return _wait(self.submit(messages, **params))

    def generate_batch(self, batch: Sequence[Sequence[Mapping[str, Any]]], **params: Any) -> list[Generation]:
        """Answer several lists of messages at once; the answers stand in the order of the messages."""
        futures: list[Future[Generation]] = []
        try:
            for messages in batch:
                futures.append(self.submit(messages, **params))
            return [_wait(future) for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def stream(self, messages: Sequence[Mapping[str, Any]], **params: Any) -> Stream:
        """Answer piece by piece: iterate for texts as they come, then read ``generation``."""
        return Stream(self, messages, params)

    def submit(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        on_text: OnText | None = None,
        dialogue: str | None = None,
        **params: Any,
    ) -> Future[Generation]:
        """Hand messages over and return at once; from any thread, any number at a time.

        ``on_text`` gets the generated text as it comes, from another thread. ``dialogue`` names the dialogue
        that the messages belong to, so that an engine can keep what it computed for its earlier turns.
        Raises as `generate`.
        """
        parameters = resolve_parameters(self.spec, params, self.engine.honours, self._backend)
        prompt = make_prompt(self.spec, self.prompt_path, messages)
        pending = _Pending(self, prompt, parameters, time.perf_counter())
        return pending.start(on_text, dialogue)

    def generate_response(
        self, messages: Sequence[Mapping[str, Any]], **params: Any
    ) -> tuple[dict[str, Any], dict[str, Any], str]:
        """Answer in the form of clembench's backends: prompt object, response object, text.

        Raises EngineError (or ContextExceeded, Refused) where there is no answer.
        """
        generation = self.generate(messages, **params)
        kinds = {
            Outcome.ERROR: EngineError,
            Outcome.CONTEXT_EXCEEDED: ContextExceeded,
            Outcome.REFUSED: Refused,
        }
        if generation.outcome in kinds:
            raise kinds[generation.outcome]((generation.error or {}).get("message", generation.outcome))
        return *self._clembench_objects(generation), generation.text

    def _clembench_objects(self, generation: Generation) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.prompt_path is None or generation.prompt_ids is None:
            request = generation.request if isinstance(generation.request, dict) else {}
            response = generation.response if isinstance(generation.response, dict) else {"response": generation.raw}
            return request, response
        effective = generation.params.effective
        prompt = {
            "inputs": generation.prompt,
            "max_new_tokens": effective.get("max_tokens"),
            "temperature": effective.get("temperature"),
            "return_full_text": False,
        }
        whole = [*generation.prompt_ids, *(generation.output_ids or ())]
        return prompt, {"response": self.prompt_path.decode(whole)}


class Stream:
    """The texts of a generation as they come. ``generation`` is there once the texts are used up."""

    def __init__(self, model: Model, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> None:
        self._texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._future = model.submit(messages, on_text=self._texts.put, **params)
        self._future.add_done_callback(lambda _: self._texts.put(None))

    def __iter__(self) -> Iterator[str]:
        while (text := self._texts.get()) is not None:
            yield text

    @property
    def generation(self) -> Generation:
        """The whole Generation; waits for its end."""
        return _wait(self._future)

    def cancel(self) -> None:
        """Stop the generation as soon as the engine can."""
        self._future.cancel()


def _wait(future: Future[Generation]) -> Generation:
    """The result; an interrupt (Ctrl-C) cancels what it waits for."""
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        raise


class _GenerationFuture(Future[Generation]):
    """The user's future: cancelling it cancels the engine's."""

    engine_future: Future[Completion] | None = None

    def cancel(self) -> bool:
        if self.engine_future is not None:
            self.engine_future.cancel()
        return super().cancel()


@dataclass(frozen=True, slots=True)
class _Pending:
    """One request on its way, with all that its Generation will say of it."""

    model: Model
    prompt: Prompt
    params: Parameters
    started: float

    def start(self, on_text: OnText | None, dialogue: str | None) -> Future[Generation]:
        future = _GenerationFuture()
        try:
            request, params = self._request(dialogue)
        except ContextExceeded as e:
            future.set_result(self._failed(Outcome.CONTEXT_EXCEEDED, e))
            return future
        pending = replace(self, params=params)
        try:
            engine_future = self.model.engine.submit(request, on_text)
        except PlaybillError as e:
            future.set_result(pending._fate_of(e))
            return future
        future.engine_future = engine_future
        engine_future.add_done_callback(lambda done: pending._finish(done, future))
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
                effective["max_tokens"] = min(effective["max_tokens"], room)
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

    def _finish(self, done: Future[Completion], future: _GenerationFuture) -> None:
        """Turn the engine's completion, or its failure, into the Generation. Runs in the engine's thread."""
        if not future.set_running_or_notify_cancel():
            return
        try:
            generation = self._generation(done.result())
        except CancelledError:
            future.set_exception(CancelledError())
            return
        except Exception as e:  # noqa: BLE001 - whatever an engine raises is the fate of this one request
            generation = self._fate_of(e)
        future.set_result(generation)

    def _fate_of(self, e: BaseException) -> Generation:
        if isinstance(e, ContextExceeded):
            return self._failed(Outcome.CONTEXT_EXCEEDED, e)
        if isinstance(e, Refused):
            return self._failed(Outcome.REFUSED, e)
        if not isinstance(e, PlaybillError):
            _log.debug("the engine failed", exc_info=e)
        return self._failed(Outcome.ERROR, e)

    def _failed(self, outcome: Outcome, e: BaseException) -> Generation:
        return Generation(
            outcome=outcome,
            prompt=self.prompt.text,
            prompt_ids=self.prompt.ids,
            seconds=time.perf_counter() - self.started,
            params=self.params,
            changes=self.prompt.changes,
            attempts=getattr(e, "attempts", 1),
            request=scrub(getattr(e, "request", None)),
            response=scrub(getattr(e, "response", None)),
            error={"type": type(e).__name__, "message": scrub(str(e))},
        )

    def _generation(self, completion: Completion) -> Generation:
        raw = self._raw(completion)
        rule = self.model.cleaning
        if rule.thinking_start and self.prompt.text and self.prompt.text.rstrip().endswith(rule.thinking_start):
            rule = replace(rule, thinking_opened=True)
        cleaned = clean(raw, rule, stop_string=completion.stop_string)
        thinking = completion.thinking if completion.thinking is not None else cleaned.thinking
        return Generation(
            outcome=_outcome(completion, cleaned.text, thinking, cleaned.in_thinking),
            text=cleaned.text,
            raw=raw,
            thinking=thinking,
            prompt=self.prompt.text,
            prompt_ids=self.prompt.ids,
            output_ids=completion.output_ids,
            finish_reason=completion.finish_reason,
            finish_reason_raw=completion.finish_reason_raw,
            usage=self._usage(completion),
            seconds=time.perf_counter() - self.started,
            params=replace(self.params, effective={**self.params.effective, **completion.effective}),
            changes=self.prompt.changes,
            request=completion.request,
            response=completion.response,
            attempts=completion.attempts,
            details=self._details(completion),
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


def _cleaning_rule(spec: ModelSpec, path: PromptPath | None) -> CleaningRule:
    eos = spec.get("eos_to_cull") or []
    literals = [eos] if isinstance(eos, str) else list(eos)
    stops = [stop.text for stop in path.stops.ids] if path else []
    return CleaningRule(
        end_tokens=tuple(dict.fromkeys([*literals, *stops])),
        split_prefix=spec.get("output_split_prefix"),
        thinking_start=spec.get("cot_start_tag"),
        thinking_end=spec.get("cot_end_tag"),
    )
