"""Judge answers: small functions over the evidence of one call. Knows no layout of records."""

from __future__ import annotations

import re
from collections.abc import Sequence

from playbill.backends.answer.special_tokens import (
    end_tokens,
    is_end,
    opens_thinking,
    special_tokens,
    trailing_tokens,
    without_special,
)
from playbill.backends.common.words import counted
from playbill.backends.generation import FinishReason
from playbill.backends.prompt.messages import Message
from playbill.backends.prompt.thinking_families import THINKING_TAGS, Tags
from playbill.runs.audit.call import Call
from playbill.runs.audit.judging import CannotTell, Group, Pending, Verdict
from playbill.runs.audit.turn_headers import headers
from playbill.runs.audit.wire import message_text

__all__ = [
    "broken_character",
    "empty_content",
    "eos_leak",
    "never_stops",
    "refused",
    "thinking_cut",
    "thinking_in_answer",
    "truncated",
]

_NO_TEXT = CannotTell("the text that was used is not recorded")
_NO_RAW = CannotTell("what the model generated is not recorded apart from the prompt")
_TAGS = frozenset(tag for tags in THINKING_TAGS for tag in (tags.start, tags.end))
_FIRST = tuple({tags.start[0] for tags in THINKING_TAGS if tags.start})
_INSIDE = frozenset(c for tag in _TAGS if tag for c in tag if c in "<[\u25c1")
_HARMONY = "<|channel|>"
_BROKEN = "\N{REPLACEMENT CHARACTER}"
_LEAST_THOUGHT = 120  # characters
_THOUGHT = re.compile(
    r"(?i)(?:okay|ok|alright|all right|hmm+|right|wait|so|first|let me|let's|the user|we need to|i need to|got it)\b"
)
_DELIBERATES = re.compile(
    r"(?i)\b(?:i(?: need| have|'ve got|'m supposed|'m asked| should| am asked) (?:to|this|a)|let me"
    r"|let's (?:see|think|break)|my (?:job|task) is|the user|wait,|hmm|i think|maybe i|figure out)\b"
)
_PLAIN_WORDS = ("ser:", "SER:", "uman:", "HUMAN:", "nstruction:")
_PLAIN_TURN = re.compile(r"\n\s*(?:### ?|\*\*)?(?P<role>User|USER|Human|HUMAN|Instruction):")


def eos_leak(call: Call, group: Group) -> Verdict:
    if call.text is None:
        return _NO_TEXT
    found = [t for t in special_tokens(call.text) if t not in _TAGS and t not in call.tags]
    if not found:
        return None
    ending = trailing_tokens(call.text)
    leaked = [t for t in found if t in ending or not (_is_markup(t, found) or _was_said(t, call.messages))]
    if not leaked or (ending and all(_is_markup(t, found) for t in leaked)):
        return None
    shown = " ".join(dict.fromkeys(leaked))
    return f"the answer {'ends with' if leaked == ending else 'holds'} {shown}"


def _is_markup(token: str, found: Sequence[str]) -> bool:
    """Tell whether it may be HTML: <s>struck out</s>, in pairs."""
    return token in ("<s>", "</s>") and found.count("<s>") == found.count("</s>")


def _was_said(token: str, messages: Sequence[Message] | None) -> bool:
    """Tell whether a user's or system message holds the token, so that the answer may speak of it."""
    return any(
        isinstance(m.get("content"), str) and token in m["content"] for m in messages or () if m["role"] != "assistant"
    )


def never_stops(call: Call, group: Group) -> Verdict:
    """Judged by what was generated, before any cleaning; where that isn't recorded, by the answer."""
    raw = call.raw if call.raw is not None else call.text
    if raw is None:
        return _NO_RAW
    if _HARMONY in raw:
        return None  # its messages within one turn each have an end and a header of their own
    invented = _invented_turn(call, raw)
    if invented:
        return f"the model went on with a turn of its own: {invented}"
    if ">" not in raw and "]" not in raw:
        return None
    ends = end_tokens(raw)
    twice = [token for token in dict.fromkeys(ends) if ends.count(token) > 1] if len(ends) > 1 else []
    if not twice or (not call.keeps_special and _was_said(twice[0], call.messages)):
        return None
    if call.padded and not _goes_on(raw, twice[0]):
        return CannotTell("the end token is repeated at the very end, where a batch may have been padded with it")
    return f"{twice[0]} is generated {raw.count(twice[0])} times"


def _goes_on(raw: str, token: str) -> bool:
    """Tell whether anything but end tokens follows the first end token: no padding does that."""
    return bool(without_special(raw.partition(token)[2]).strip())


def _invented_turn(call: Call, raw: str) -> str | None:
    """Return the header of a turn that follows a finished answer. At the very end it is a stop token, as some models
    have."""
    if invented := _invented_in_plain_text(call, raw):
        return invented
    if raw.count("<") < 2 and "[" not in raw and not any(h.plain for h in headers(call.prompt or "")[:1]):
        return None  # an end token at the most
    for header in headers(raw):
        rest = raw[header.end :].strip()
        if header.plain:
            known = {h.role for h in headers(call.prompt or "") if h.plain}
            if header.start == 0 or not known or header.role not in known or header.role == "assistant":
                continue
        elif (
            not raw[: header.start].strip()
            or not without_special(rest).strip()
            or (not call.keeps_special and _was_said(raw[header.start : header.end], call.messages))
        ):
            continue
        return repr(raw[header.start : header.end + 20].strip())
    return None


def _invented_in_plain_text(call: Call, raw: str) -> str | None:
    """Return the line with which a user's turn begins after the answer, and who says such a line in the request
    doesn't."""
    if not any(word in raw for word in _PLAIN_WORDS):
        return None
    found = _PLAIN_TURN.search(raw)
    if found is None or not without_special(raw[: found.start()]).strip():
        return None
    role = found["role"].lower()
    shown = [call.prompt or "", *(message_text(m.get("content")) for m in call.messages or ())]
    if any(re.search(rf"(?im)^\W*{re.escape(role)}\s*:", text) for text in shown):
        return None
    return repr(raw[found.start() : found.end() + 20].strip())


def _tags(call: Call) -> tuple[Tags, ...]:
    return (Tags(call.tags[1], call.tags[0]), *THINKING_TAGS) if len(call.tags) == 2 else THINKING_TAGS


def _open_thinking(call: Call) -> str | None:
    """Return the tag of a thinking that was begun, by the prompt or the model, and never ended."""
    raw = call.raw if call.raw is not None else call.text or ""
    pair = opens_thinking(call.prompt, _tags(call)) if call.prompt else None
    if pair:
        return pair.start if pair.end not in raw else None
    head = raw[:200].lstrip()
    if not call.tags and not head.startswith(_FIRST):
        return None
    opened = (t for t in _tags(call) if t.start and head.startswith(t.start) and t.end not in raw)
    return next((tags.start for tags in opened), None)


def thinking_cut(call: Call, group: Group) -> Verdict:
    if call.text is None:
        return _NO_TEXT
    tag = _open_thinking(call) if call.text.strip() else None
    if tag is None and _thinks_aloud(call):
        return f"it reads like thinking without tags, and never comes to an answer: {_short(call.text)}"
    if tag is None or _finished(call):
        return None
    return f"the thinking that {tag} began is cut off, and what there is of it was taken as the answer"


def _thinks_aloud(call: Call) -> bool:
    """Tell whether an answer begins as thinking does, and was cut off before anything else came."""
    text = call.text or ""
    if call.thinking or len(text) < _LEAST_THOUGHT or not _THOUGHT.match(text.lstrip()) or _finished(call):
        return False
    if not _DELIBERATES.search(text[:600]):
        return False
    known = call.limit is not None and call.output_tokens is not None and call.output_tokens >= call.limit
    no_end = bool(call.raw) and call.keeps_special
    return known or no_end or call.finish is FinishReason.LENGTH or text.rstrip().endswith(_BROKEN)


def broken_character(call: Call, group: Group) -> Verdict:
    if call.text is None:
        return _NO_TEXT
    return f"the answer ends with U+FFFD: …{call.text[-30:]!r}" if call.text.rstrip().endswith(_BROKEN) else None


def thinking_in_answer(call: Call, group: Group) -> Verdict:
    if call.text is None:
        return _NO_TEXT
    if not call.text.strip():
        return None
    if tag := _open_thinking(call):
        return f"the thinking that {tag} began never ends, and stands in the answer" if _finished(call) else None
    for tag in _tags_in(call.text, call):
        if not _was_said(tag, call.messages):
            return f"the answer holds {tag}"
    pair = opens_thinking(call.prompt, _tags(call)) if call.prompt else None
    if pair and call.raw and pair.end in call.raw:
        inside = call.raw.partition(pair.end)[0].strip()
        if len(inside) > 20 and inside[:200] in call.text:
            return f"the answer holds what stood before {pair.end}"
    return None


def _tags_in(text: str, call: Call) -> list[str]:
    if not call.tags and not any(c in text for c in _INSIDE):
        return []
    return [tag for tags in _tags(call) for tag in (tags.start, tags.end) if tag and tag in text]


def _finished(call: Call) -> bool:
    """Tell whether the record proves that the model ended by itself."""
    if call.finish is not None and call.finish is not FinishReason.UNKNOWN:
        return call.finish is not FinishReason.LENGTH
    return bool(call.raw and any(is_end(t) for t in trailing_tokens(call.raw)))


def empty_content(call: Call, group: Group) -> Verdict:
    if call.text is None:
        return _NO_TEXT
    if call.text.strip() or call.failed or call.finish in (FinishReason.REFUSED, FinishReason.TOOL_CALLS):
        return None
    if call.refusal:
        return None
    if call.thinking and call.thinking.strip():
        return "the answer is empty, though the model thought"
    if call.raw is not None and without_special(call.raw).strip():
        return f"the answer is empty, though the model generated {_short(call.raw)}"
    if call.output_tokens is None:
        return CannotTell("the answer is empty, and how many tokens were spent on it is not recorded")
    ends = len(end_tokens(call.raw)) if call.raw else 1
    if call.output_tokens > max(ends, 1):
        return f"the answer is empty, though {counted(call.output_tokens, 'token')} were spent"
    return None


def truncated(call: Call, group: Group) -> Verdict:
    verdict = _truncated(call)
    return verdict if verdict is None or not thinking_cut(call, group) else None


def _tokens(number: int | None) -> str:
    return "as many tokens" if number is None else counted(number, "token")


def _truncated(call: Call) -> Verdict:
    if call.outcome in ("error", "context_exceeded", "refused"):
        return None
    if call.finish is FinishReason.LENGTH or (call.outcome or "").startswith("truncated"):
        return f"cut off after {_tokens(call.output_tokens or call.limit)}, as the limit says"
    if call.finish is not None and call.finish is not FinishReason.UNKNOWN:
        return None
    if call.limit is not None and call.output_tokens is not None and call.output_tokens >= call.limit:
        return f"cut off after {_tokens(call.output_tokens)}, as the limit says"
    if call.raw is None or not call.keeps_special:
        return CannotTell("why the generation ended is not recorded")
    if any(is_end(t) for t in trailing_tokens(call.raw)):
        return None
    return Pending(
        "no end token is there, though this model's other answers have one: cut off",
        "no end token was ever stored for this model",
    )


def refused(call: Call, group: Group) -> Verdict:
    if call.outcome == "refused" or call.finish is FinishReason.REFUSED:
        return f"the service refused to answer ({call.finish_raw or 'refused'})"
    return f"the model refused: {_short(call.refusal)}" if call.refusal else None


def _short(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
