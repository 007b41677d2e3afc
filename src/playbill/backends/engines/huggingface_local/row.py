"""One request under way: its tokens so far, what ends it, and what is told of it. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, InvalidStateError
from typing import Any

import torch

from playbill.backends.answer.thinking_budget import Budget, TokenLimits
from playbill.backends.engines.base import Completion, OnText, Request
from playbill.backends.engines.detokenize import TextTrail
from playbill.backends.engines.huggingface_local.sampling import Sampler
from playbill.backends.engines.threads import WorkFuture
from playbill.backends.generation import FinishReason, Usage

__all__ = ["Row"]


class Row:
    """A request that is being completed. ``ids`` are the prompt's and the new ones.

    ``cache`` belongs to the decoder, and ``computed`` says how many of the ids are in it.
    """

    def __init__(
        self, request: Request, on_text: OnText | None, future: WorkFuture, decode: Callable[[Sequence[int]], str]
    ) -> None:
        prompt = list(request.prompt_ids or ())
        self.request = request
        self.future = future
        self.ids = prompt
        self.computed = 0
        self.cache: Any = None
        self.reused = 0
        self._prompt_length = len(prompt)
        self._on_text = on_text
        self._sampler = Sampler(request.params, prompt)
        self._trail = TextTrail(decode, request.stop_strings) if on_text or request.stop_strings else None
        limit = int(request.params["max_tokens"])
        self._budget = Budget(request.limits or TokenLimits(limit, 0, limit), request.tags, decode)

    @property
    def new_ids(self) -> list[int]:
        return self.ids[self._prompt_length :]

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.stop_wanted()

    @property
    def sampler(self) -> Sampler:
        return self._sampler

    def accept(self, logits: torch.Tensor) -> None:
        """Take the next token from its logits; at the end of the answer, deliver it."""
        token = self._sampler.pick(logits)
        self.ids.append(token)
        reached = self._budget.push(token)
        if token in self.request.stop_ids:
            self._finish(FinishReason.STOP, f"stop id {token}")
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
        new = tuple(self.new_ids)
        self.future.set_result(
            Completion(
                output_ids=new,
                finish_reason=reason,
                finish_reason_raw=raw,
                stop_string=self._trail.stop_string if self._trail is not None else None,
                usage=Usage(
                    input_tokens=self._prompt_length,
                    output_tokens=len(new),
                    cached_tokens=self.reused,
                    thinking_tokens=self._budget.thinking if self.request.tags is not None else None,
                ),
                effective=self._sampler.effective,
                details={"logprobs": self._sampler.logprobs} if self._sampler.logprobs else {},
            )
        )

    @property
    def done(self) -> bool:
        return self.future.done()

    def fail(self, error: BaseException) -> None:
        """Deliver a fault instead of an answer."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:  # it was delivered already
            return

    def drop(self) -> None:
        """Nobody waits any more."""
        self.fail(CancelledError())
