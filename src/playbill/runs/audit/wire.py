"""Read answers out of recorded response bodies: of OpenAI, Anthropic, Google, Cohere, Mistral and llama.cpp.

What isn't there is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from playbill.backends.generation import FinishReason

__all__ = ["Answer", "finish_of", "message_text", "read_answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a response body says, in one vocabulary."""

    raw: str | None = None
    thinking: str | None = None
    finish_raw: str | None = None
    refusal: str | None = None
    output_tokens: int | None = None
    thinking_tokens: int | None = None
    facts: dict[str, str] = field(default_factory=dict)


_FINISH = {
    FinishReason.STOP: "stop end_turn stop_sequence eos complete completed word finish_reason_stop",
    FinishReason.LENGTH: "length max_tokens limit model_length max_output_tokens maximum_tokens "
    "model_context_window_exceeded continuation",
    FinishReason.REFUSED: "refused refusal content_filter safety prohibited_content recitation blocklist spii "
    "language image_safety escalation model_armor pup_limited_disabled error_toxic",
    FinishReason.TOOL_CALLS: "tool_calls tool_use tool_call function_call malformed_function_call "
    "unexpected_tool_call too_many_tool_calls pause_turn",
}
_WORDS = {word: reason for reason, words in _FINISH.items() for word in words.split()}


def finish_of(word: str | None) -> FinishReason | None:
    """Return a service's word for the end of a generation, in Playbill's vocabulary; None where it said nothing."""
    if not word:
        return None
    return _WORDS.get(word.lower().rpartition(".")[2], FinishReason.UNKNOWN)


def message_text(content: Any) -> str:
    """Return the text of a message's content: a string, or the texts of its parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (p.get("text") if isinstance(p, Mapping) else p for p in content)
    return "\n".join(text for text in texts if isinstance(text, str))


def read_answer(body: Any) -> Answer:
    """Return what a response body holds."""
    if isinstance(body, str) and body.lstrip().startswith(("{", "[")):  # a body that was stored as text
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return Answer()
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return Answer()
    for key, reader in _READERS.items():
        if isinstance(body.get(key), list):
            return reader(body, body[key])
    if isinstance(body.get("message"), Mapping):  # Cohere's second version
        return _of_parts(body, body["message"].get("content"), _word(body.get("finish_reason")))
    text = body.get("text", body.get("generated_text"))
    return Answer(raw=text if isinstance(text, str) else None, finish_raw=_word(body.get("finish_reason")))


def _openai(body: Mapping[str, Any], choices: list[Any]) -> Answer:
    choice = choices[0] if choices and isinstance(choices[0], Mapping) else {}
    message = choice.get("message")
    message = message if isinstance(message, Mapping) else {}
    content = message.get("content", choice.get("text"))
    usage = _mapping(body.get("usage"))
    thinking = message.get("reasoning_content") or message.get("reasoning")
    return Answer(
        raw=message_text(content),
        thinking=thinking if isinstance(thinking, str) else None,
        finish_raw="tool_calls" if message.get("tool_calls") else _word(choice.get("finish_reason")),
        refusal=_word(message.get("refusal")),
        output_tokens=_count(usage.get("completion_tokens")),
        thinking_tokens=_count(_mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        facts=_facts(body, model="model", fingerprint="system_fingerprint", provider="provider"),
    )


def _of_parts(body: Mapping[str, Any], parts: Any, finish: str | None = None) -> Answer:
    parts = _mappings(parts)
    usage = _mapping(body.get("usage"))
    billed = _mapping(usage.get("tokens"))
    thinking = "".join(str(p.get("thinking") or "") for p in parts if p.get("type") == "thinking")
    return Answer(
        raw="".join(str(p.get("text") or "") for p in parts if p.get("type") in ("text", "output_text", None)),
        thinking=thinking or None,
        finish_raw=finish or _word(body.get("stop_reason")),
        output_tokens=_count(usage.get("output_tokens", billed.get("output_tokens"))),
        facts=_facts(body, model="model"),
    )


def _google(body: Mapping[str, Any], candidates: list[Any]) -> Answer:
    candidate = candidates[0] if candidates and isinstance(candidates[0], Mapping) else {}
    parts = _mappings(_mapping(candidate.get("content")).get("parts"))
    usage = _mapping(body.get("usage_metadata") or body.get("usageMetadata"))
    thinking = "".join(str(p.get("text") or "") for p in parts if p.get("thought"))
    return Answer(
        raw="".join(str(p.get("text") or "") for p in parts if not p.get("thought")),
        thinking=thinking or None,
        finish_raw=_word(candidate.get("finish_reason") or candidate.get("finishReason")),
        output_tokens=_count(usage.get("candidates_token_count", usage.get("candidatesTokenCount"))),
        thinking_tokens=_count(usage.get("thoughts_token_count", usage.get("thoughtsTokenCount"))),
        facts={**_facts(body, model="model_version"), **_facts(body, model="modelVersion")},
    )


def _responses(body: Mapping[str, Any], output: list[Any]) -> Answer:
    """OpenAI's newer interface, whose output is a list of items."""
    parts = [p for item in _mappings(output) if item.get("type") == "message" for p in _mappings(item.get("content"))]
    why = _mapping(body.get("incomplete_details")).get("reason")
    answer = _of_parts(body, parts, _word(why or body.get("status")))
    details = _mapping(_mapping(body.get("usage")).get("output_tokens_details"))
    refusal = next((_word(p.get("refusal")) for p in parts if p.get("refusal")), None)
    return Answer(
        raw=answer.raw,
        finish_raw=answer.finish_raw,
        refusal=refusal,
        output_tokens=answer.output_tokens,
        thinking_tokens=_count(details.get("reasoning_tokens")),
        facts=answer.facts,
    )


_READERS = {"choices": _openai, "candidates": _google, "content": _of_parts, "output": _responses}


def _facts(body: Mapping[str, Any], **names: str) -> dict[str, str]:
    found = {fact: body.get(key) for fact, key in names.items()}
    return {fact: value for fact, value in found.items() if isinstance(value, str) and value}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _word(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None
