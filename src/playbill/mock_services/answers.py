"""The mock server's answers: text, thinking and token counts, and where they come from. Knows no API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from playbill.mock_services.faults import Fault, FaultKind

__all__ = [
    "Answer",
    "Answers",
    "Ask",
    "Item",
    "Message",
    "Raw",
    "Usage",
    "count_tokens",
    "echo",
    "fit",
    "fixed_tokens",
    "source_of",
]

Message = dict[str, str]
"""``role`` and ``content``, the text of all parts joined; images are left out."""

Finish = Literal["stop", "length", "refused", "tool", "stop_sequence"]
ThinkingAs = Literal["reasoning_content", "reasoning", "parts", "tags"]


@dataclass(frozen=True)
class Ask:
    """What a request asks for, the same for every wire."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    stream_usage: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    show_thinking: bool = True
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One answer. Token counts left ``None`` are counted as words.

    ``thinking_as`` chooses how an OpenAI-compatible service shows thinking: in a field of either name, as
    content parts, or as ``<think>`` tags in the text; the other wires have one way each. ``extra`` is merged
    into the top level of the body, last.
    """

    text: str | None = ""
    thinking: str | None = None
    finish: Finish = "stop"
    thinking_as: ThinkingAs = "reasoning_content"
    input_tokens: int | None = None
    output_tokens: int | None = None
    thinking_tokens: int | None = None
    cached_tokens: int | None = None
    model: str | None = None
    provider: str | None = None
    system_fingerprint: str | None = None
    stop_sequence: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """A response byte for byte, for what nothing else here can say."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Usage:
    """Tokens as a service counts them; ``output`` includes ``thinking``, ``input`` includes ``cached``."""

    input: int
    output: int
    thinking: int
    cached: int


Item = str | Answer | Fault | Raw
"""One thing that the server may do with a request."""

Answers = Item | Sequence[Item] | Callable[[list[Message]], Item]
"""Where answers come from: one for all, a list used up in order of arrival, or a function of the messages.

A function is called on the server's own thread, one call at a time, and must not block.
"""

SCRIPT_END = Raw(
    b'{"error": {"message": "the mock server\'s script is used up: give it more answers", "type": "mock", '
    b'"code": "script_used_up", "status": "FAILED_PRECONDITION"}, "type": "error"}',
    status=400,
)


def echo(messages: list[Message]) -> str:
    """Answer with the text of the last user message."""
    return next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")


def fixed_tokens(output: int, *, input: int | None = None, thinking: int = 0) -> Answer:
    """Return an answer of exactly ``output`` words, each a token; ``thinking`` tokens come on top."""
    return Answer(
        " ".join(f"word{n}" for n in range(output)),
        thinking=" ".join(f"thought{n}" for n in range(thinking)) or None,
        input_tokens=input,
    )


def source_of(answers: Answers) -> Callable[[Ask], Item]:
    """Return the function from a request to what is done with it, for any of the forms that ``Answers`` may have."""
    if callable(answers):
        function = answers
        return lambda ask: function(list(ask.messages))
    if isinstance(answers, str | Answer | Fault | Raw):
        item = answers
        return lambda ask: item
    script = iter(tuple(answers))
    return lambda ask: next(script, SCRIPT_END)


def count_tokens(text: str | None) -> int:
    """Tokens, as this server counts them: words."""
    return len(text.split()) if text else 0


def fit(answer: Answer, ask: Ask) -> Answer:
    """Return the answer as a model would have stopped it: at a stop sequence, or at the limit of tokens.

    Thinking comes first and counts, so a small limit can end the answer before its first word.
    """
    if answer.finish != "stop" or answer.text is None:
        return answer
    text = answer.text
    finish: Finish = answer.finish
    hit: str | None = None
    cuts = [(place, stop) for stop in ask.stop if (place := text.find(stop)) >= 0]
    if cuts:
        place, hit = min(cuts)
        text, finish = text[:place], "stop_sequence"
    if ask.max_tokens is None:
        return replace(answer, text=text, finish=finish, stop_sequence=hit)
    thinking_limit = min(count_tokens(answer.thinking), ask.max_tokens)
    text_limit = ask.max_tokens - thinking_limit
    if count_tokens(answer.thinking) > thinking_limit or count_tokens(text) > text_limit:
        finish, hit = "length", None
    thinking = first_words(answer.thinking, thinking_limit) if answer.thinking else answer.thinking
    return replace(answer, text=first_words(text, text_limit), thinking=thinking, finish=finish, stop_sequence=hit)


def first_words(text: str, limit: int) -> str:
    """Return the first ``limit`` words, and the white space between them as it was."""
    words = list(re.finditer(r"\S+", text))
    return text if len(words) <= limit else text[: words[limit - 1].end() if limit else 0]


def usage_of(answer: Answer, ask: Ask) -> Usage:
    """Return the token counts of an answer: those that it fixes, the others counted as words."""
    thinking = answer.thinking_tokens if answer.thinking_tokens is not None else count_tokens(answer.thinking)
    counted = thinking + count_tokens(answer.text)
    return Usage(
        input=(
            answer.input_tokens
            if answer.input_tokens is not None
            else sum(count_tokens(m["content"]) for m in ask.messages)
        ),
        output=answer.output_tokens if answer.output_tokens is not None else counted,
        thinking=thinking,
        cached=answer.cached_tokens or 0,
    )


def as_answer(item: str | Answer | Fault) -> Answer | None:
    """Return the answer that an item stands for; ``None`` for a fault that isn't one."""
    if isinstance(item, str):
        return Answer(item)
    if isinstance(item, Answer):
        return item
    return {FaultKind.EMPTY: Answer(""), FaultKind.NULL: Answer(None)}.get(item.kind)
