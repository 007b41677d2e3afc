"""A request under way in huggingface_local: all its token ids, its KV cache, and its sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from playbill.backends.answer.thinking_budget import Budget, TokenLimits
from playbill.backends.engines.base import OnText, Request
from playbill.backends.engines.huggingface_local.sampling import Sampler
from playbill.backends.engines.sequence import TokenSequence

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
        self.sampler = Sampler(request.params, list(self.ids))
        self.logprobs = self.sampler.logprobs

    @property
    def effective(self) -> Mapping[str, Any]:
        return self.sampler.effective

    def accept(self, logits: torch.Tensor) -> None:
        """Sample the next token from its logits, of shape (vocabulary,); deliver the answer if it ends here."""
        token = self.sampler.pick(logits)
        self.ids.append(token)
        self.push(token)
