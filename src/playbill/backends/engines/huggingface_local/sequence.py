"""A request under way in huggingface_local: all its token ids, its KV cache, and its sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from playbill.backends.answer.thinking_budget import Budget, TokenLimits
from playbill.backends.engines.base import OnText, Request
from playbill.backends.engines.huggingface_local.sampling import Pick, Sampling
from playbill.backends.engines.sequence import TokenSequence
from playbill.backends.errors import EngineError

__all__ = ["SampledSequence"]


class SampledSequence(TokenSequence):
    """A request whose tokens are sampled here.

    ``ids`` are the prompt's and the new ones. ``kv_cache`` belongs to the decoder, and ``computed`` says how many of
    the ids are in it.
    """

    def __init__(self, request: Request, on_text: OnText | None, decode: Callable[[Sequence[int]], str]) -> None:
        limit = int(request.params["max_tokens"])
        limits = request.limits or TokenLimits(limit, 0, limit)
        super().__init__(request, on_text, decode, Budget(limits, request.tags, decode))
        self.ids = list(request.prompt_ids or ())
        self.computed = 0
        self.cached = 0
        self.kv_cache: Any = None
        self.most_tokens = self.prompt_length + limits.total
        self.sampling = Sampling(request.params, self.ids)

    @property
    def effective(self) -> Mapping[str, Any]:
        return self.sampling.effective

    @property
    def surely_ends(self) -> bool:
        """Whether the answer ends with the token taken last, as is known without a look at its text."""
        return self.ids[-1] in self.request.stop_ids or len(self.ids) >= self.most_tokens

    def take(self, pick: Pick) -> None:
        """Take the next token, whose text is to be looked at by `push`."""
        if pick.fault is not None:
            raise EngineError(pick.fault)
        if pick.logprob is not None:
            self.logprobs.append(dict(pick.logprob))
        self.ids.append(pick.token)
