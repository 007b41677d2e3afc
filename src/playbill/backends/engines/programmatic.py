"""The backend programmatic: scripted answers, an echo, or a Python function; failures and delays on demand.

The n-th turn of a dialogue gets the n-th answer, whatever else runs, so runs are repeatable. Tokens are words here:
``max_tokens`` cuts after so many words, and usage counts words.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.engines.base import Completion, Context, Loaded, OnText, Request
from playbill.backends.engines.threads import Threads
from playbill.backends.errors import EngineError
from playbill.backends.generation import FinishReason, Usage
from playbill.backends.prompt.messages import Message
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.fields.parameters import PARAMETERS, ParameterRules
from playbill.backends.registry.fields.table import setting

__all__ = ["Programmatic", "load", "preview"]

Answer = Callable[[Sequence[Message]], str]
_WHY = "the answers are scripted, an echo, or a function's, and don't depend on it"
_IGNORED = tuple(name for name in PARAMETERS if name not in ("max_tokens", "stop"))
_WORD = re.compile(r"\s*\S+")


def load(entry: Mapping[str, Any], context: Context) -> Loaded:
    """Return the engine of an entry: its ``answers`` in turn, or an echo of the last message."""
    if unread := [name for name in _IGNORED if entry.get(name)]:  # zero and false are what it does anyway
        warn_once(f"{entry.get('model_name')}: {', '.join(unread)} changes nothing: {_WHY}")
    answers = entry.get("answers")
    return Loaded(
        Programmatic(
            _script(answers) if answers else _echo,
            delay=setting(entry, "delay"),
            fail_every=setting(entry, "fail_every"),
        )
    )


def preview(entry: Mapping[str, Any], context: Context) -> PromptPath | None:
    return None


def _script(answers: Sequence[str]) -> Answer:
    def answer(messages: Sequence[Message]) -> str:
        turn = sum(1 for message in messages if message["role"] == "assistant")
        return answers[turn % len(answers)]

    return answer


def _echo(messages: Sequence[Message]) -> str:
    content = messages[-1].get("content")
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


class Programmatic:
    """The engine. ``delay`` is in seconds; ``fail_every`` n makes every n-th call fail.

    It takes all parameters, so that it can stand in for any model, and honours ``max_tokens`` and ``stop``; records
    list the others as ignored.
    """

    supported_parameters = frozenset(PARAMETERS)
    parameter_rules = ParameterRules(ignored=dict.fromkeys(_IGNORED, _WHY), neutral={"temperature": 0.0})
    concurrency = 64

    def __init__(self, answer: Answer, *, delay: float = 0, fail_every: int = 0, blocking: bool = False) -> None:
        self._answer = answer
        self._delay = delay
        self._fail_every = fail_every
        self._calls = itertools.count(1)
        self._threads = Threads(self._complete, self.concurrency, "programmatic") if delay or blocking else None

    def submit(self, request: Request, on_text: OnText | None = None) -> Future[Completion]:
        if self._threads is not None:
            return self._threads.submit(request, on_text)
        future: Future[Completion] = Future()
        try:
            future.set_result(self._complete(request, on_text, lambda: False))
        except Exception as e:  # noqa: BLE001 - it is handed to who waits for it
            future.set_exception(e)
        return future

    def close(self) -> None:
        if self._threads is not None:
            self._threads.close()

    def facts(self) -> Mapping[str, Any]:
        return {}

    def _complete(self, request: Request, on_text: OnText | None, stop_wanted: Callable[[], bool]) -> Completion:
        call = next(self._calls)
        _sleep(self._delay, stop_wanted)
        if self._fail_every and call % self._fail_every == 0:
            raise EngineError(f"call {call} fails, as the entry's fail_every={self._fail_every} asks for")
        completion = _limit(self._answer(request.messages), request)
        if on_text is not None and completion.text:
            on_text(completion.text)
        return completion


def _sleep(seconds: float, stop_wanted: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if stop_wanted():
            raise EngineError("stopped, since nobody waits for the answer any more")
        time.sleep(min(left, 0.02))


def _limit(answer: str, request: Request) -> Completion:
    """Return the answer as an engine gives it: ended by a stop string, or by ``max_tokens`` words."""
    found = [(answer.index(s), s) for s in request.stop_strings if s in answer]
    stop_string = min(found)[1] if found else None
    if stop_string is not None:
        answer = answer[: answer.index(stop_string) + len(stop_string)]
    words = list(itertools.islice(_WORD.finditer(answer), request.params["max_tokens"] + 1))
    cut = len(words) > request.params["max_tokens"]
    if cut:
        words.pop()
        answer = answer[: words[-1].end()]
        stop_string = None
    sent = sum(len(_echo([message]).split()) for message in request.messages)
    return Completion(
        text=answer,
        finish_reason=FinishReason.LENGTH if cut else FinishReason.STOP,
        stop_string=stop_string,
        usage=Usage(input_tokens=sent, output_tokens=len(words)),
    )
