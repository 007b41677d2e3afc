"""One request on its way through the engine: its tokens so far, its text where somebody looks, and its end.

Knows no vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, InvalidStateError
from typing import Any

from playbill.backends.answer.thinking_budget import Budget
from playbill.backends.engines.base import Completion, OnText, Request
from playbill.backends.engines.detokenize import TextTrail
from playbill.backends.engines.threads import WorkFuture
from playbill.backends.engines.vllm.driver import StepOutput
from playbill.backends.engines.vllm.sampling import effective_parameters, sampling_arguments
from playbill.backends.errors import EngineError
from playbill.backends.generation import FinishReason, Usage

__all__ = ["Flight"]


class Flight:
    """A request under way, by a name of its own."""

    def __init__(
        self, name: str, request: Request, on_text: OnText | None, decode: Callable[[Sequence[int]], str]
    ) -> None:
        self.name = name
        self.future = WorkFuture()
        self.prompt_ids = request.prompt_ids or ()
        self._request = request
        self._on_text = on_text
        self._trail = TextTrail(decode, request.stop_strings) if on_text or request.stop_strings else None
        self._budget = _budget(request, decode)
        self._effective = effective_parameters(request.params)
        self._ids: list[int] = []
        self._logprobs: list[dict[str, Any]] = []
        self._cached: int | None = None

    def arguments(self) -> dict[str, Any]:
        """The sampling, as vLLM takes it."""
        limits = self._request.limits
        return sampling_arguments(
            self._effective,
            self._request.stop_ids,
            most=limits.total if limits is not None else self._effective["max_tokens"],
            watched=self._trail is not None or self._budget is not None,
        )

    @property
    def done(self) -> bool:
        return self.future.done()

    def take(self, news: StepOutput) -> None:
        """Take what a step made; deliver the answer at its end, which Playbill may see before vLLM does."""
        if news.cached_tokens is not None:
            self._cached = news.cached_tokens
        for place, token in enumerate(news.token_ids):
            self._ids.append(token)
            if news.logprobs:
                self._logprobs.append(_logprob(token, news.logprobs[place], self._effective["logprobs"]))
            self._follow(token)
            if self.done:
                return
        if news.finish_reason == "stop":
            self._finish(FinishReason.STOP, f"stop id {news.stop_reason}")
        elif news.finish_reason == "length":
            self._finish(FinishReason.LENGTH, "max_tokens")
        elif news.finish_reason is not None:
            self.fail(EngineError(f"vLLM ended the request itself: {news.finish_reason}"))

    def _follow(self, token: int) -> None:
        """Look for the end that a token brings by its text or by a budget. A stop id's text is none of the answer's."""
        reached = self._budget.push(token) if self._budget is not None else None
        if token in self._request.stop_ids:
            return
        if self._trail is not None:
            self._trail.push(token)
            self._tell(self._trail.take())
            if self._trail.stop_string is not None:
                self._finish(FinishReason.STOP, "stop string")
                return
        if reached is not None:
            self._finish(FinishReason.LENGTH, reached)

    def _tell(self, text: str) -> None:
        if text and self._on_text is not None:
            self._on_text(text)

    def _finish(self, reason: FinishReason, raw: str) -> None:
        if self._trail is not None:
            self._tell(self._trail.take_rest())
        asked = self._request.params
        completion = Completion(
            output_ids=tuple(self._ids),
            finish_reason=reason,
            finish_reason_raw=raw,
            stop_string=self._trail.stop_string if self._trail is not None else None,
            usage=Usage(
                len(self.prompt_ids),
                len(self._ids),
                self._cached,
                self._budget.thinking if self._budget is not None else None,
            ),
            effective={name: value for name, value in self._effective.items() if asked.get(name) != value},
            details={"logprobs": self._logprobs} if self._logprobs else {},
        )
        self.future.set_result(completion)

    def fail(self, error: BaseException) -> None:
        """Deliver a fault instead of an answer."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:  # it was delivered already
            return

    def drop(self) -> None:
        """Nobody waits any more."""
        self.fail(CancelledError())


def _budget(request: Request, decode: Callable[[Sequence[int]], str]) -> Budget | None:
    """What counts thinking and answer apart; None where the model doesn't think, and vLLM's own limit does."""
    if request.tags is None or request.limits is None:
        return None
    return Budget(request.limits, request.tags, decode)


def _logprob(token: int, reported: Mapping[int, Any], most: int) -> dict[str, Any]:
    """The log probability of a token, and the likeliest ones, best first; vLLM reports the token beside them."""
    ranked = sorted((pair for pair in reported.items() if pair[1].rank <= most), key=lambda pair: pair[1].rank)
    top = [{"id": each, "logprob": found.logprob} for each, found in ranked]
    return {"id": token, "logprob": reported[token].logprob, "top": top}
