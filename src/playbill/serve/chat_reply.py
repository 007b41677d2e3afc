"""Write generations in the form of OpenAI's chat completions, whole and in chunks. Knows no HTTP."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from playbill.backends.generation import FinishReason, Generation, Outcome, Usage

__all__ = ["Reply", "usage_of"]

Decode = Callable[[Sequence[int]], str]
_LEAST = -9999.0  # OpenAI's stand-in for minus infinity, which JSON can't say

_FINISH = {
    Outcome.TRUNCATED: "length",
    Outcome.TRUNCATED_IN_THINKING: "length",
    Outcome.REFUSED: "content_filter",
}


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What all objects of one reply have in common. ``decode`` gives the texts of ids, for logprobs."""

    model: str
    decode: Decode | None = None
    id: str = field(default_factory=_new_id)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, generation: Generation) -> dict[str, Any]:
        """Return the completion object."""
        message: dict[str, Any] = {"role": "assistant", "content": generation.text, "refusal": _refusal(generation)}
        if generation.thinking:
            message["reasoning_content"] = generation.thinking
        choice = {
            "index": 0,
            "message": message,
            "logprobs": self._logprobs(generation),
            "finish_reason": _finish_reason(generation),
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage_of(generation.usage)}

    def first(self) -> dict[str, Any]:
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> dict[str, Any]:
        return self._chunk({"content": text})

    def last(self, generation: Generation) -> list[dict[str, Any]]:
        """Return the chunks that end a stream: what belongs to the whole answer, then why it ended."""
        delta: dict[str, Any] = {}
        if generation.thinking:
            delta["reasoning_content"] = generation.thinking
        if refusal := _refusal(generation):
            delta["refusal"] = refusal
        chunks = [self._chunk(delta, logprobs=self._logprobs(generation))] if delta or generation.details else []
        chunks.append(self._chunk({}, finish_reason=_finish_reason(generation)))
        return chunks

    def usage(self, generation: Generation) -> dict[str, Any]:
        """Return the chunk that carries the usage, and no choice."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage_of(generation.usage)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _chunk(
        self, delta: Mapping[str, Any], *, finish_reason: str | None = None, logprobs: Any = None
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": dict(delta), "logprobs": logprobs, "finish_reason": finish_reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _logprobs(self, generation: Generation) -> dict[str, Any] | None:
        """Return the engine's log probabilities, place by place, where it has them and they were asked for."""
        reported = generation.details.get("logprobs")
        if self.decode is None or not isinstance(reported, list):
            return None
        content = [self._place(each) for each in reported if isinstance(each, Mapping)]
        return {"content": content, "refusal": None}

    def _place(self, reported: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._token(reported), "top_logprobs": [self._token(each) for each in reported["top"]]}

    def _token(self, reported: Mapping[str, Any]) -> dict[str, Any]:
        assert self.decode is not None
        text = reported["token"] if "token" in reported else self.decode([reported["id"]])
        logprob = reported["logprob"]  # None where the engine reports none
        return {
            "token": text,
            "logprob": None if logprob is None else max(logprob, _LEAST),
            "bytes": reported.get("bytes") or list(text.encode()),
        }


def usage_of(usage: Usage) -> dict[str, Any] | None:
    """OpenAI's usage object; None where the engine didn't count."""
    sent, made = usage.input_tokens, usage.output_tokens
    if sent is None or made is None:
        return None
    found: dict[str, Any] = {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}
    if usage.cached_tokens is not None:
        found["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.thinking_tokens is not None:
        found["completion_tokens_details"] = {"reasoning_tokens": usage.thinking_tokens}
    return found


def _finish_reason(generation: Generation) -> str:
    if generation.finish_reason is FinishReason.TOOL_CALLS:
        return "tool_calls"
    return _FINISH.get(generation.outcome, "length" if generation.finish_reason is FinishReason.LENGTH else "stop")


def _refusal(generation: Generation) -> str | None:
    refused = generation.outcome is Outcome.REFUSED
    return (generation.error or {}).get("message") if refused else None
