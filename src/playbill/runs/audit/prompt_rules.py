"""Judge prompts: small functions over the evidence of one call. Knows no layout of records."""

from __future__ import annotations

from collections.abc import Sequence

from playbill.backends.answer.special_tokens import bos_repeated, end_tokens, is_end, without_special
from playbill.backends.prompt.messages import Message
from playbill.runs.audit.call import Call
from playbill.runs.audit.judging import CannotTell, Group, Verdict
from playbill.runs.audit.turn_headers import Header, headers

__all__ = ["changed_history", "double_bos", "lost_picture", "no_generation_prompt", "prompt_leak", "role_mismatch"]

_NO_PROMPT = CannotTell("the rendered prompt is not recorded; services render it on their side")
_TAIL = 48
_LOOKED_AT = 400  # characters of a prompt, which may be long; enough to hold a tail with its special tokens


def double_bos(call: Call, group: Group) -> Verdict:
    if call.prompt is None:
        return _NO_PROMPT
    for text, what in ((call.prompt, "the prompt"), (call.echoed_prompt, "the prompt as the tokenizer read it")):
        token = bos_repeated(text) if text else None
        if token:
            return f"{what} begins with {token} twice"
    return None


def no_generation_prompt(call: Call, group: Group) -> Verdict:
    if call.prompt is None:
        return _NO_PROMPT
    if call.messages and call.messages[-1].get("role") == "assistant":
        return None  # the answer goes on in a turn that the caller began
    found = headers(call.prompt)
    if not found:
        return CannotTell("the prompt has no turn headers that are known here")
    last = found[-1]
    if last.role == "assistant":
        after = call.prompt[last.end :]
        closed = [token for token in end_tokens(after) if is_end(token)]
        return f"the prompt ends with {closed[-1]}, after a finished turn of the assistant" if closed else None
    return f"the prompt's last turn is the {last.role}'s, and no turn of the assistant is begun"


def role_mismatch(call: Call, group: Group) -> Verdict:
    if call.prompt is None:
        return _NO_PROMPT
    if call.messages is None:
        return CannotTell("the messages are not recorded, only the prompt made of them")
    found = headers(call.prompt)
    if not found or found[0].plain:
        return CannotTell("the prompt has no turn headers that can be told from text")
    if [h.role for h in found] == [*(m["role"] for m in call.messages), "assistant"]:
        return None  # as it should be, and nearly always is
    extra = _foreign_system(found, call.messages) or _foreign_turn(found, call.messages)
    if extra is None:
        return None
    near = call.prompt[max(0, extra.start - 20) : extra.end + 20]
    return f"the prompt has a turn of '{extra.role}' that the messages don't have, at …{near!r}…"


def _foreign_system(found: Sequence[Header], messages: Sequence[Message]) -> Header | None:
    """Return a system turn too many. A template's own default at the very beginning is none."""
    given = [m.get("role") in ("system", "developer") for m in messages]
    systems = [h for h in found if h.role == "system"]
    allowed = sum(given) + (found[0].role == "system" and not given[0])
    return systems[allowed] if len(systems) > allowed else None


def _foreign_turn(found: Sequence[Header], messages: Sequence[Message]) -> Header | None:
    """Return the first turn in the prompt for which the messages have none; templates may leave out, never add."""
    wanted = [_side(str(m.get("role"))) for m in messages if m.get("role") not in ("system", "developer")]
    wanted.append("assistant")
    if len(wanted) == 1:
        wanted.insert(0, "user")  # a lone system message is folded into a user's
    place = 0
    for header in found:
        if header.role == "system":
            continue
        side = _side(header.role)
        while place < len(wanted) and wanted[place] != side:
            place += 1
        if place == len(wanted):
            return header
        place += 1
    return None


def _side(role: str) -> str:
    """Results of tools are rendered as a user's turn by some templates, and under a name of their own by others."""
    return "assistant" if role == "assistant" else "user"


def prompt_leak(call: Call, group: Group) -> Verdict:
    if not call.text:
        return None
    if call.prompt is None:
        return _NO_PROMPT
    if len(call.text) < _TAIL:
        return None
    tail = _bare(call.prompt[-_LOOKED_AT:])[-_TAIL:]
    if len(tail) < _TAIL or max(tail.split(), key=len) not in call.text:
        return None  # the usual case, found without looking at all of the answer
    text = _bare(call.text)
    if text.startswith(_bare(call.prompt)):
        return "the answer begins with the whole prompt"
    if tail in text and not _quotes(call.messages, tail):
        return f"the answer holds the end of the prompt: …{tail!r}"
    return None


def _bare(text: str) -> str:
    """Return a text without special tokens and with single spaces: how a prompt looks when it was decoded with
    skipping."""
    return " ".join(without_special(text).split())


def _quotes(messages: Sequence[Message] | None, tail: str) -> bool:
    """Tell whether the last message itself ends so, and an answer that repeats it is a repetition, not a leak."""
    content = messages[-1].get("content") if messages else None
    return isinstance(content, str) and " ".join(content.split()).endswith(tail)


def changed_history(call: Call, group: Group) -> Verdict:
    """Judged against the messages where they are recorded, else against the prompt."""
    answer = group.dialogue(call.dialogue).answer
    if not answer:
        return None
    if call.messages is not None:
        said = [m.get("content") for m in call.messages if m.get("role") == "assistant"]
        if not said:
            return CannotTell("no earlier answer is in the messages: the caller keeps no history")
        if not any(isinstance(text, str) and _carries(text, answer) for text in reversed(said)):
            return f"the messages don't carry the answer before: {_short(answer)}"
    if call.prompt is not None:
        turns = [h.role for h in headers(call.prompt)] if call.messages is None else []
        if turns and turns.count("assistant") < 2:
            return CannotTell("no earlier answer is in the prompt: the caller keeps no history")
        if not _carries(call.prompt, answer):
            return f"the prompt doesn't carry the answer before: {_short(answer)}"
    return None


def lost_picture(call: Call, group: Group) -> Verdict:
    """Judged by the record's own words of its pictures, and by the prompt where the model ran here."""
    if call.pictures is None and not call.named_pictures:
        return None
    if call.failed:
        return CannotTell("the call failed, perhaps before its pictures were read")
    if call.pictures is None and (call.placeholder is None or call.prompt is None):
        return CannotTell("the record doesn't say which pictures were shown; an older Playbill wrote it")
    shown = call.pictures or 0
    if shown != call.named_pictures:
        return f"the messages name {call.named_pictures} pictures, and {shown} were shown"
    if call.placeholder is None or call.prompt is None:
        return None
    places = call.prompt.count(call.placeholder)
    return None if places == shown else f"the prompt has {places} places ({call.placeholder}) for {shown} pictures"


def _carries(text: str, answer: str) -> bool:
    """Tell whether a text holds an answer; templates and tokenizers may change its white space."""
    return answer in text or "".join(answer.split()) in "".join(text.split())


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
