"""The Model that a user holds: it prepares, renders, encodes, submits, decodes and cleans, for every engine.

Single, batch, streaming and concurrent use all go through `Model.submit`. Knows no engine by name.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playbill.backends.answer.clean import CleaningRule
from playbill.backends.answer.cleaning_rule import cleaning_rule
from playbill.backends.engines.base import Engine, OnText, supported_parameters
from playbill.backends.engines.machine.contention import ContentionWatch
from playbill.backends.errors import ContextExceeded, EngineError, MessageError, Refused, TemplateRefusal
from playbill.backends.generation import Generation, Outcome
from playbill.backends.prompt.prompt_path import Prompt, PromptPath, make_prompt
from playbill.backends.registry.fields.parameters import ParameterRules, Parameters, resolve_parameters
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.spec import ModelSpec
from playbill.backends.request import Task, failed_generation, submit_request

__all__ = ["Model", "Prompt", "Stream", "make_prompt"]


class Model:
    """A loaded model, ready for generation; made by `playbill.backends.load_model`.

    >>> from playbill.backends import load_model
    >>> with load_model("mock", answers=["Guess: tower"]) as model:
    ...     model.generate([{"role": "user", "content": "What is it?"}]).text
    'Guess: tower'
    """

    def __init__(
        self,
        spec: ModelSpec,
        engine: Engine,
        prompt_path: PromptPath | None,
        backend: str,
        *,
        threads: int | None = None,
    ) -> None:
        self.spec = spec
        self.prompt_path = prompt_path
        self.engine = engine
        self._backend = backend
        self._closed = False
        self._rule = cleaning_rule(spec, prompt_path)
        self._wishes = _wishes(spec, prompt_path)
        self._supported_parameters = _supported(engine, prompt_path, self._rule)
        self._rules: ParameterRules | None = getattr(engine, "parameter_rules", None)
        self.defaults = self._resolve({})
        """The parameters of a call that asks for none."""
        self._watch = ContentionWatch(self.name, threads) if threads is not None else None

    def _resolve(self, params: Mapping[str, Any]) -> Parameters:
        return resolve_parameters(self._wishes, params, self._supported_parameters, self._backend, self._rules)

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
        self._closed = True
        if self._watch is not None:
            self._watch.close()
        self.engine.close()

    @property
    def is_closed(self) -> bool:
        return self._closed

    def generate(self, messages: Sequence[Mapping[str, Any]], **params: Any) -> Generation:
        """Answer one list of messages. ``params`` are generation parameters; they win over the entry's.

        Raises MessageError and ParameterError for what is malformed or can't be honoured, TemplateRefusal, and
        what ``on_text`` raised; every other fate is the Generation's outcome.
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
        folder: Path | None = None,
        **params: Any,
    ) -> Future[Generation]:
        """Hand messages over and return at once; from any thread, any number at a time.

        ``on_text`` gets the answer as it comes, from another thread: its texts together are the Generation's
        ``text``. It is called with an empty text while nothing is certain yet, as during thinking.
        ``dialogue`` names the dialogue that the messages belong to, so that an engine can keep what it computed for
        its earlier turns.
        Images that messages name by a path are below ``folder``, the working directory if there is none.
        Raises as `generate`.
        """
        parameters = self._resolve(params)
        task = Task(self.name, Prompt(()), parameters, self.prompt_path, self._rule, time.perf_counter())
        try:
            task = replace(task, prompt=make_prompt(self.spec, self.prompt_path, messages))
            if self._closed:
                raise EngineError(f"the model {self.name} is closed; load it again")
        except (MessageError, TemplateRefusal):
            raise
        except Exception as e:  # noqa: BLE001 - a template or tokenizer that breaks is the fate of this one dialogue
            failed: Future[Generation] = Future()
            failed.set_result(failed_generation(task, e))
            return failed
        future = submit_request(task, self.engine, on_text, dialogue=dialogue, folder=folder)
        if self._watch is not None:
            self._watch.follow(future)
        return future

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
        return *self.clembench_objects(generation, messages), generation.text

    def clembench_objects(
        self, generation: Generation, messages: Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the prompt and the response of a generation, as `generate_response` gives them."""
        effective = generation.params.effective
        if self.prompt_path is None or generation.prompt_ids is None:
            asked = {"messages": [dict(message) for message in messages], **effective}
            request = generation.request if isinstance(generation.request, dict) else asked
            response = generation.response if isinstance(generation.response, dict) else {"response": generation.raw}
            return request, response
        prompt = {
            "inputs": generation.prompt,
            "max_new_tokens": effective.get("max_tokens"),
            "temperature": effective.get("temperature"),
            "return_full_text": False,
        }
        whole = [*generation.prompt_ids, *(generation.output_ids or ())]
        return prompt, {"response": self.prompt_path.decode(whole)}


class Stream:
    """The texts of an answer as they come; together they are the Generation's ``text``.

    ``generation`` is there once the texts are used up. Where a generation fails half-way, its ``text`` is empty, and
    what was said of it is no answer.
    """

    def __init__(self, model: Model, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> None:
        self._texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._future = model.submit(messages, on_text=self._take, **params)
        self._future.add_done_callback(lambda _: self._texts.put(None))

    def _take(self, text: str) -> None:
        if text:
            self._texts.put(text)

    def __iter__(self) -> Iterator[str]:
        try:
            while (text := self._texts.get()) is not None:
                yield text
        except KeyboardInterrupt:
            self.cancel()
            raise
        self._texts.put(None)  # for who asks again

    @property
    def generation(self) -> Generation:
        """The whole Generation; waits for its end."""
        return _wait(self._future)

    def cancel(self) -> None:
        """Stop the generation as soon as the engine can."""
        self._future.cancel()


def _wait(future: Future[Generation]) -> Generation:
    """Return the result; an interrupt (Ctrl-C) cancels what it waits for."""
    try:
        while not wait([future], timeout=1).done:  # without a timeout, Windows would hear no Ctrl-C
            pass
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        raise


def _wishes(spec: ModelSpec, path: PromptPath | None) -> Mapping[str, Any]:
    """Return the entry, and below it the repository's recommended sampling where the entry says so."""
    if path is None or setting(spec, "generation_config") != "repo":
        return spec
    greedy = {"temperature": 0.0} if spec.get("do_sample") is False else {}
    return {**path.recommended, **greedy, **spec}


def _supported(engine: Engine, path: PromptPath | None, rule: CleaningRule) -> frozenset[str]:
    """Return the parameters that the model takes: a budget for thinking only where it is known how the thinking
    ends."""
    local = path is not None
    supported = supported_parameters(engine)
    return supported - {"max_thinking_tokens"} if local and not rule.thinking_end else supported
