"""The Generation: outcome, text and evidence of one request. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from playbill.backends.prompt.pictures.picture import Picture
from playbill.backends.registry.fields.parameters import Parameters

__all__ = ["FinishReason", "Generation", "Outcome", "Usage"]


class Outcome(StrEnum):
    """What became of a request. An answer counts as one under ``answered`` and ``truncated`` only."""

    ANSWERED = "answered"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    TRUNCATED_IN_THINKING = "truncated_in_thinking"
    REFUSED = "refused"
    CONTEXT_EXCEEDED = "context_exceeded"
    ERROR = "error"

    @property
    def goes_on(self) -> bool:
        """Whether a dialogue may go on after it."""
        return self in (Outcome.ANSWERED, Outcome.TRUNCATED)


class FinishReason(StrEnum):
    """Why a generation ended, in one vocabulary; the engine's own word is kept beside it."""

    STOP = "stop"
    LENGTH = "length"
    REFUSED = "refused"
    TOOL_CALLS = "tool_calls"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine or the service counted them; None is "not said".

    ``cached_tokens`` of the input were not computed anew; ``thinking_tokens`` are part of the output's.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    thinking_tokens: int | None = None

    def to_dict(self) -> dict[str, int | None]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One answer of a model, with what was sent and what came back.

    ``prompt`` and ``prompt_ids`` are the rendered prompt and its token ids (None for services, which render
    on their side); ``output_ids`` the new ids alone, with the end token if there was one. ``raw`` is the text
    as the engine or service returned it, ``text`` the clean answer. ``changes`` says what was changed in the
    messages. ``request`` and ``response`` are the bodies that went over a service's wire. ``seconds`` is the
    time from submission to the last token. ``error`` is ``{"type", "message"}`` where the outcome is ``error``,
    ``refused`` or ``context_exceeded``. ``details`` holds what only this kind of engine can say, and of each picture
    what it is and what became of it; ``pictures`` are they themselves, in the order in which they were shown.
    """

    outcome: Outcome
    text: str = ""
    raw: str = ""
    thinking: str | None = None
    prompt: str | None = None
    prompt_ids: tuple[int, ...] | None = None
    output_ids: tuple[int, ...] | None = None
    finish_reason: FinishReason | None = None
    finish_reason_raw: str | None = None
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    params: Parameters = field(default_factory=Parameters)
    changes: tuple[str, ...] = ()
    request: Any = None
    response: Any = None
    attempts: int = 1
    error: Mapping[str, str] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values, in the form that records have. Ids are tuples of integers or None."""
        return {
            "changes": list(self.changes),
            "prompt": self.prompt,
            "raw": self.raw,
            "text": self.text,
            "thinking": self.thinking,
            "outcome": self.outcome.value,
            "finish_reason": self.finish_reason.value if self.finish_reason is not None else None,
            "finish_reason_raw": self.finish_reason_raw,
            "usage": self.usage.to_dict(),
            "params": self.params.to_dict(),
            "request": self.request,
            "response": self.response,
            "seconds": round(self.seconds, 6),
            "attempts": self.attempts,
            "error": dict(self.error) if self.error is not None else None,
            "details": dict(self.details),
            "prompt_ids": self.prompt_ids,
            "output_ids": self.output_ids,
        }
