"""A call of a model as its record shows it: the one form into which every layout is brought.

What a record doesn't hold is None, so that a rule can tell "not so" from "not known".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from playbill.backends.generation import FinishReason
from playbill.backends.prompt.messages import Message

__all__ = ["Call"]


# Not frozen, though nobody changes it: it is made for every record, and freezing would cost a tenth of the audit.
@dataclass(slots=True, kw_only=True)
class Call:
    """One request and its answer, with only what the record proves.

    ``where`` is the file and the place in it. ``dialogue`` is unique within ``run``. ``prompt`` is the rendered
    prompt; ``echoed_prompt`` the same as the tokenizer decoded it back, where the answer was stored with it.
    ``raw`` is the generated text alone, and ``keeps_special`` says whether special tokens would stand in it.
    ``padded`` says that a batch may have added tokens at its end. ``tags`` are the thinking tags of this model.
    ``error`` is what a record of a failure says. ``no_model`` says that a program or a person answered.
    """

    where: str
    run: str
    model: str
    dialogue: str
    turn: int | None = None
    sample: int = 0
    messages: Sequence[Message] | None = None
    prompt: str | None = None
    echoed_prompt: str | None = None
    raw: str | None = None
    keeps_special: bool = False
    padded: bool = False
    text: str | None = None
    thinking: str | None = None
    outcome: str | None = None
    finish: FinishReason | None = None
    finish_raw: str | None = None
    refusal: str | None = None
    output_tokens: int | None = None
    thinking_tokens: int | None = None
    seconds: float | None = None
    limit: int | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    effective: Mapping[str, Any] = field(default_factory=dict)
    sent: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    error: str | None = None
    no_model: bool = False

    @property
    def failed(self) -> bool:
        """Whether the record itself says that there is no answer, and why."""
        return self.outcome in ("error", "context_exceeded", "refused", "truncated_in_thinking")
