"""One request under way in an engine that steps token by token: its new ids, its text, and what ends it.

The engine brings the next token; this module looks for stop ids, stop strings and the limits of thinking and answer,
tells the caller the text as it comes, and delivers the completion. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, InvalidStateError
from typing import Any

from playbill.backends.answer.thinking_budget import Budget
from playbill.backends.engines.base import Completion, OnText, Request
from playbill.backends.engines.detokenize import TextTrail
from playbill.backends.engines.threads import WorkFuture
from playbill.backends.generation import FinishReason, Usage

__all__ = ["TokenSequence"]


class TokenSequence:
    """A request that is being completed.

    ``budget`` counts the tokens of thinking and answer (None: the engine keeps to ``max_tokens`` itself).
    ``new_ids`` are the generated token ids, ``cached`` how many tokens of the prompt were not computed anew.
    """

    def __init__(
        self, request: Request, on_text: OnText | None, decode: Callable[[Sequence[int]], str], budget: Budget | None
    ) -> None:
        self.request = request
        self.future = WorkFuture()
        self.new_ids: list[int] = []
        self.cached: int | None = None
        self.logprobs: list[dict[str, Any]] = []
        self._on_text = on_text
        self._trail = TextTrail(decode, request.stop_strings) if on_text or request.stop_strings else None
        self._budget = budget

    @property
    def prompt_length(self) -> int:
        """The number of tokens of the prompt."""
        return len(self.request.prompt_ids or ())

    @property
    def effective(self) -> Mapping[str, Any]:
        """Parameters that turned out otherwise than the request's."""
        return {}

    @property
    def is_watched(self) -> bool:
        """Whether each token must be looked at as it comes: for its text, or for a budget."""
        return self._trail is not None or self._budget is not None

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.stop_wanted()

    @property
    def done(self) -> bool:
        """Whether an answer or a fault was delivered."""
        return self.future.done()

    def push(self, token: int) -> None:
        """Take the next token, and deliver the answer if it ends here. A stop id's text is no part of the answer."""
        self.new_ids.append(token)
        reached = self._budget.push(token) if self._budget is not None else None
        if token in self.request.stop_ids:
            self.finish(FinishReason.STOP, f"stop id {token}")
            return
        if self._trail is not None:
            self._trail.push(token)
            self._tell(self._trail.take())
            if self._trail.stop_string is not None:
                self.finish(FinishReason.STOP, "stop string")
                return
        if reached is not None:
            self.finish(FinishReason.LENGTH, reached)

    def finish(self, reason: FinishReason, raw: str) -> None:
        """Deliver the answer."""
        if self._trail is not None:
            self._tell(self._trail.take_rest())
        thinking = self._budget.thinking if self._budget is not None and self.request.tags is not None else None
        self.future.set_result(
            Completion(
                output_ids=tuple(self.new_ids),
                finish_reason=reason,
                finish_reason_raw=raw,
                stop_string=self._trail.stop_string if self._trail is not None else None,
                usage=Usage(self.prompt_length, len(self.new_ids), self.cached, thinking),
                effective=self.effective,
                details={"logprobs": self.logprobs} if self.logprobs else {},
            )
        )

    def fail(self, error: BaseException) -> None:
        """Deliver a fault, unless something was delivered already."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            return

    def drop(self) -> None:
        """End a request that nobody waits for."""
        self.fail(CancelledError())

    def _tell(self, text: str) -> None:
        if text and self._on_text is not None:
            self._on_text(text)
