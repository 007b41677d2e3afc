"""Judge prompts: small functions over the evidence of one call. Knows no layout of records."""

from __future__ import annotations

from collections.abc import Sequence

from playbill.backends.answer.special_tokens import bos_repeated, end_tokens, is_end, without_special
from playbill.backends.prompt.messages import Message
from playbill.runs.audit.call import Call
from playbill.runs.audit.judging import CannotTell, Group, Verdict
from playbill.runs.audit.turn_headers import Header, headers
from playbill.runs.audit.wire import message_text

__all__ = [
    "double_bos",
    "first_not_user",
    "last_not_user",
    "no_generation_prompt",
    "prompt_leak",
    "role_mismatch",
]

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
    if _foreign_system(found, call.messages) is None and _foreign_turn(found, call.messages) is None:
        return None
    extra = _inside_a_message(call.prompt, found, call.messages) or _of_no_message(call.prompt, found, call.messages)
    if extra is None:
        return None
    near = call.prompt[max(0, extra.start - 20) : extra.end + 20]
    return f"the prompt has a turn of '{extra.role}' that the messages don't have, at …{near!r}…"


def _inside_a_message(prompt: str, found: Sequence[Header], messages: Sequence[Message]) -> Header | None:
    """Return the first header that stands in what a message says."""
    at = 0
    for message in messages:
        content = message_text(message.get("content")).strip()
        begin = prompt.find(content, at) if content else -1
        if begin >= 0:
            at = begin + len(content)
            if inside := next((h for h in found if begin <= h.start < at), None):
                return inside
    return None


def _of_no_message(prompt: str, found: Sequence[Header], messages: Sequence[Message]) -> Header | None:
    """Return the first header whose text no message says; where all are said, the first too many by role."""
    said = [(_side_of(m), "".join(message_text(m.get("content")).split())) for m in messages]
    for n, header in enumerate(found[:-1] if found[-1].role == "assistant" else found):
        end = found[n + 1].start if n + 1 < len(found) else len(prompt)
        text = "".join(without_special(prompt[header.end : end]).split())
        side = header.role if header.role == "system" else _side(header.role)
        if header.role == "system" and n == 0:
            continue  # a template's own
        if not any(role == side and (content in text or text in content) for role, content in said):
            return header
    return _foreign_system(found, messages) or _foreign_turn(found, messages)


def _side_of(message: Message) -> str:
    role = str(message.get("role"))
    return "system" if role in ("system", "developer") else _side(role)


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


def first_not_user(call: Call, group: Group) -> Verdict:
    messages = _turns(call)
    if isinstance(messages, CannotTell) or not messages or messages[0].get("role") != "assistant":
        return messages if isinstance(messages, CannotTell) else None
    return f"the first message is the {messages[0].get('role')}'s: {_short(message_text(messages[0].get('content')))}"


def last_not_user(call: Call, group: Group) -> Verdict:
    messages = _turns(call)
    if isinstance(messages, CannotTell) or not messages or messages[-1].get("role") != "assistant":
        return messages if isinstance(messages, CannotTell) else None
    return f"the last message is the {messages[-1].get('role')}'s: {_short(message_text(messages[-1].get('content')))}"


def _turns(call: Call) -> Sequence[Message] | CannotTell:
    """Return the messages but for those of the system; where there is a prompt instead, its own rule judges it."""
    if call.messages is None:
        reason = "the request holds no messages in a form that is known here"
        return CannotTell(reason) if call.prompt is None else ()
    return [m for m in call.messages if m.get("role") not in ("system", "developer")]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
