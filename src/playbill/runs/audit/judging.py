"""What a rule may say of a call, and what it may remember of earlier ones, bounded in number."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from playbill.backends.common.findings import Rule
from playbill.backends.prompt.messages import Message
from playbill.runs.audit.call import Call
from playbill.runs.audit.turn_headers import headers
from playbill.runs.audit.wire import message_text

__all__ = [
    "AuditRule",
    "CannotTell",
    "Dialogue",
    "Group",
    "Judge",
    "Pending",
    "Said",
    "Verdict",
    "prompt_stem",
    "stem_before_answer",
    "stem_of",
]

_REMEMBERED = 400  # characters of an answer: enough to find it again
_ANSWERS = 8  # of one dialogue: side branches go on from an earlier one
DIALOGUES = 50_000
"""How many dialogues at once are followed. One that rests longer is met again as if it were new."""


@dataclass(frozen=True, slots=True)
class CannotTell:
    """The record lacks the evidence; ``reason`` names it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pending:
    """A finding if this model's records show elsewhere that end tokens are stored; else it can't be told."""

    message: str
    reason: str


Verdict = str | CannotTell | Pending | None
"""What is wrong, in words; or that it can't be told; or None: nothing is."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer of a dialogue, and what it answered.

    ``stem`` is the fingerprint of the messages or of the prompt, ``length`` that of the prompt without white space.
    ``leaked`` says that special tokens stand in the answer.
    """

    stem: bytes
    length: int
    answer: str
    leaked: bool


@dataclass(slots=True)
class Dialogue:
    """What is remembered of a dialogue: its last answers, its last turn, and whether it was counted as affected, by
    code."""

    said: list[Said] = field(default_factory=list)
    turn: int | None = None
    affected: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Group:
    """What is remembered of one model in one run."""

    ends_seen: bool = False
    params: Mapping[str, Any] | None = None
    values: dict[str, set[str]] = field(default_factory=dict)
    dialogues: OrderedDict[str, Dialogue] = field(default_factory=OrderedDict)
    count: int = 0
    records: int = 0
    ended: int = 0

    def remember(self, call: Call, *, leaked: bool) -> None:
        """Keep a call's answer for the later turns of its dialogue."""
        self.records += 1
        self.ended += call.failed or call.outcome == "empty"
        dialogue = self.dialogue(call.dialogue)
        dialogue.turn = call.turn
        if call.text:
            stem, length = stem_of(call)
            dialogue.said.append(Said(stem, length, call.text[:_REMEMBERED], leaked))
            del dialogue.said[:-_ANSWERS]

    def dialogue(self, name: str) -> Dialogue:
        """Return the dialogue of that name; a new one is counted."""
        found = self.dialogues.get(name)
        if found is None:
            self.count += 1
            found = self.dialogues[name] = Dialogue()
            if len(self.dialogues) > DIALOGUES:
                self.dialogues.popitem(last=False)
        else:
            self.dialogues.move_to_end(name)
        return found

    def changed(self, fact: str, value: str) -> bool:
        """Tell whether a fact has a value that it didn't have in any earlier call, and there were some."""
        known = self.values.setdefault(fact, set())
        if value in known or len(known) > 100:
            return False
        known.add(value)
        return len(known) > 1


Judge = Callable[[Call, Group], Verdict]


@dataclass(frozen=True, slots=True)
class AuditRule:
    """A rule and the function that judges by it, which sees one call and what is remembered of earlier ones."""

    rule: Rule
    judge: Judge


def stem_of(call: Call) -> tuple[bytes, int]:
    """Return the fingerprint of what a call answers, and the length of the prompt that it is of; 0 of messages."""
    if call.messages is not None:
        return _of_messages(call.messages), 0
    stem = _bare(_without_generation_prompt(call.prompt or ""))
    return _digest(stem), len(stem)


def stem_before_answer(messages: Sequence[Message]) -> tuple[bytes, str] | None:
    """Return the fingerprint of the messages before the last answer in them, and that answer; None without one."""
    last = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].get("role") == "assistant"), None)
    if last is None:
        return None
    return _of_messages(messages[:last]), message_text(messages[last].get("content"))


def prompt_stem(prompt: str, length: int) -> bytes:
    """Return the fingerprint of the first ``length`` characters of a prompt that are no white space."""
    return _digest(_bare(prompt)[:length])


def _of_messages(messages: Sequence[Message]) -> bytes:
    return _digest("\0".join(f"{m.get('role')}\1{_bare(message_text(m.get('content')))}" for m in messages))


def _without_generation_prompt(prompt: str) -> str:
    found = headers(prompt)
    return prompt[: found[-1].start] if found and found[-1].role == "assistant" else prompt


def _bare(text: str) -> str:
    return "".join(text.split())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
