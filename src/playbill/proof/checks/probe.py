"""Probe a chat template with short conversations of all shapes, each rendered once. Judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from playbill.backends.errors import TemplateError, TemplateRefusal
from playbill.backends.prompt.content_forms import with_read_content
from playbill.backends.prompt.messages import Message
from playbill.backends.prompt.template import render

__all__ = [
    "ANSWER",
    "ASSISTANT_FIRST",
    "EMPTY_SYSTEM",
    "FINISHED",
    "HISTORY",
    "PLAIN",
    "QUESTION",
    "SHAPES",
    "SYSTEM",
    "SYSTEM_TEXT",
    "TWO_USERS",
    "Attempt",
    "Probe",
    "turn",
]

SYSTEM_TEXT = "Zebra rules apply."
QUESTION = "Quokka question?"
ANSWER = "Axolotl answer."
MORE = "Narwhal follow-up?"


def turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


PLAIN = (turn("user", QUESTION),)
SYSTEM = (turn("system", SYSTEM_TEXT), turn("user", QUESTION))
EMPTY_SYSTEM = (turn("system", ""), turn("user", QUESTION))
TWO_USERS = (turn("user", QUESTION), turn("user", MORE))
ASSISTANT_FIRST = (turn("assistant", ANSWER), turn("user", QUESTION))
FINISHED = (turn("user", QUESTION), turn("assistant", ANSWER))
HISTORY = (*FINISHED, turn("user", MORE))
SHAPES: Mapping[str, tuple[Message, ...]] = {
    "a single user message": PLAIN,
    "a system message": SYSTEM,
    "an empty system message": EMPTY_SYSTEM,
    "two user messages in a row": TWO_USERS,
    "an assistant message first": ASSISTANT_FIRST,
    "a dialogue of two turns": HISTORY,
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a rendering: a text, or the error that it ended in."""

    text: str | None = None
    error: TemplateError | None = None

    @property
    def refused(self) -> bool:
        return isinstance(self.error, TemplateRefusal)


@dataclass(frozen=True)
class Probe:
    """A template with its variables, and what it made of the conversations that it was asked about."""

    text: str
    variables: Mapping[str, Any]
    date: datetime
    _known: dict[Any, Attempt] = field(default_factory=dict, repr=False, compare=False)

    def with_variables(self, more: Mapping[str, Any]) -> Probe:
        """Return a probe of the same template with further variables."""
        return Probe(self.text, {**self.variables, **more}, self.date)

    def attempt(
        self, conversation: Sequence[Message], *, opened: bool = True, date: datetime | None = None, again: int = 0
    ) -> Attempt:
        """Render with the generation prompt (``opened``) or without. ``again`` asks for another rendering."""
        key = (tuple((m["role"], m["content"]) for m in conversation), opened, date, again)
        if key not in self._known:
            self._known[key] = self._render(conversation, opened, date or self.date)
        return self._known[key]

    def _render(self, conversation: Sequence[Message], opened: bool, date: datetime) -> Attempt:
        variables = {**self.variables, "add_generation_prompt": opened}
        try:
            shown = with_read_content(conversation, self.text, self.variables)
            return Attempt(render(self.text, list(shown), date=date, **variables))
        except TemplateError as e:
            return Attempt(error=e)

    def answered(self) -> tuple[str, str] | None:
        """Return what a turn writes before its answer, and after it; None where it can't be told.

        Some templates close a turn only once the next one comes, and some end in a generation prompt that nobody
        asked for; so what follows is looked for between two turns as well.
        """
        text = self.attempt(FINISHED, opened=False).text
        if text is None or text.count(ANSWER) != 1:
            return None
        before, _, after = text.partition(ANSWER)
        if after.strip() and not self._always_opens(after):
            return before, after
        between = (self.attempt(HISTORY).text or "").partition(ANSWER)[2].partition(MORE)[0]
        return before, between or after

    def _always_opens(self, after: str) -> bool:
        """Tell whether what follows is a generation prompt, written whether or not it is asked for."""
        opened, closed = self.attempt(PLAIN).text, self.attempt(PLAIN, opened=False).text
        return opened == closed and (opened or "").rstrip().endswith(after.strip())
