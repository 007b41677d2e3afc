"""A dialogue, and its next messages given the answers so far. Knows no model and no file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playbill.backends.generation import Outcome
from playbill.backends.prompt.messages import CheckedMessages, Message, check_messages

__all__ = ["Dialogue", "Conversation"]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What is asked in one dialogue: the messages before the first answer, then a user text for each further turn.

    ``folder`` is that of the input file, from which relative paths in messages count; None for dialogues
    that came from no file.
    """

    id: str
    opening: tuple[Message, ...]
    further: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def turns(self) -> int:
        """How many answers the dialogue asks for."""
        return 1 + len(self.further)

    def messages(self, answers: list[str]) -> tuple[Message, ...]:
        """Return the messages of the turn that follows these answers: all that was said, and the next user text."""
        found = list(self.opening)
        for answer, text in zip(answers, self.further, strict=False):
            found.append({"role": "assistant", "content": answer})
            found.append({"role": "user", "content": text})
        # A dialogue that a caller made by hand is checked here; those of input files were when they were read.
        return CheckedMessages(found) if isinstance(self.opening, CheckedMessages) else check_messages(found)


@dataclass(slots=True)
class Conversation:
    """One sample of a dialogue on its way.

    >>> talk = Conversation(Dialogue("d", ({"role": "user", "content": "Guess!"},), ("Wrong. Again!",)))
    >>> talk.add(Outcome.ANSWERED, "tower")
    >>> [m["content"] for m in talk.messages()], talk.turn, talk.over
    (['Guess!', 'tower', 'Wrong. Again!'], 1, False)
    """

    dialogue: Dialogue
    sample: int = 0
    answers: list[str] = field(default_factory=list)
    stopped: bool = False
    """Whether a turn failed, which ends the dialogue."""

    @property
    def turn(self) -> int:
        """The turn that comes next, counted from 0."""
        return len(self.answers)

    @property
    def over(self) -> bool:
        return self.stopped or self.turn >= self.dialogue.turns

    @property
    def missing(self) -> int:
        """How many turns will still be asked, if all goes well."""
        return 0 if self.over else self.dialogue.turns - self.turn

    @property
    def key(self) -> str:
        """One string for this sample of this dialogue, for the caches of an engine."""
        return f"{self.sample}:{self.dialogue.id}"

    def messages(self) -> tuple[Message, ...]:
        """Return what is sent for the turn that comes next."""
        return self.dialogue.messages(self.answers)

    def add(self, outcome: Outcome, text: str) -> None:
        """Take the answer to the turn that came next."""
        self.answers.append(text)
        self.stopped = not outcome.goes_on


def samples(dialogue: Dialogue, repeat: int) -> Iterator[Conversation]:
    """Yield all samples of a dialogue, fresh, one after the other."""
    for sample in range(repeat):
        yield Conversation(dialogue, sample)
