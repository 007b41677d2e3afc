"""A request under way in vLLM, by a name of its own. Imports no vLLM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from playbill.backends.answer.thinking_budget import Budget
from playbill.backends.engines.base import OnText, Request
from playbill.backends.engines.sequence import TokenSequence
from playbill.backends.engines.vllm.driver import StepOutput
from playbill.backends.engines.vllm.pictures import check_expanded
from playbill.backends.engines.vllm.sampling import effective_parameters, sampling_arguments
from playbill.backends.errors import EngineError
from playbill.backends.generation import FinishReason

__all__ = ["VllmSequence"]


class VllmSequence(TokenSequence):
    """A request whose tokens vLLM samples. It keeps to ``max_tokens`` itself, unless the model thinks."""

    def __init__(
        self, name: str, request: Request, on_text: OnText | None, decode: Callable[[Sequence[int]], str]
    ) -> None:
        thinks = request.tags is not None and request.limits is not None
        budget = Budget(request.limits, request.tags, decode) if thinks and request.limits is not None else None
        super().__init__(request, on_text, decode, budget)
        self.name = name
        self._given = effective_parameters(request.params)

    @property
    def effective(self) -> Mapping[str, Any]:
        return {name: value for name, value in self._given.items() if self.request.params.get(name) != value}

    def arguments(self) -> dict[str, Any]:
        """Return the sampling parameters as vLLM takes them."""
        limits = self.request.limits
        return sampling_arguments(
            self._given,
            self.request.stop_ids,
            most=limits.total if limits is not None else self._given["max_tokens"],
            watched=self.is_watched,
        )

    def take(self, output: StepOutput) -> None:
        """Take the tokens of a step; deliver the answer at its end, which Playbill may see before vLLM does."""
        if self.request.features and not self.new_ids:
            check_expanded(self.request.prompt_ids or (), output.prompt_ids)
        if output.cached_tokens is not None:
            self.cached = output.cached_tokens
        for place, token in enumerate(output.token_ids):
            if output.logprobs:
                self.logprobs.append(_logprob(token, output.logprobs[place], self._given["logprobs"]))
            self.push(token)
            if self.done:
                return
        if output.finish_reason == "stop":
            self.finish(FinishReason.STOP, f"stop id {output.stop_reason}")
        elif output.finish_reason == "length":
            self.finish(FinishReason.LENGTH, "max_tokens")
        elif output.finish_reason is not None:
            self.fail(EngineError(f"vLLM ended the request itself: {output.finish_reason}"))


def _logprob(token: int, reported: Mapping[int, Any], most: int) -> dict[str, Any]:
    """Return the log probability of a token, and the likeliest ones, best first; vLLM reports the token beside them."""
    ranked = sorted((pair for pair in reported.items() if pair[1].rank <= most), key=lambda pair: pair[1].rank)
    top = [{"id": each, "logprob": found.logprob} for each, found in ranked]
    return {"id": token, "logprob": reported[token].logprob, "top": top}
