"""What a rule may say of a call, and what it may remember of earlier ones, bounded in number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from playbill.backends.common.findings import Rule
from playbill.runs.audit.call import Call

__all__ = ["AuditRule", "CannotTell", "Dialogue", "Group", "Judge", "Pending", "Verdict"]

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


@dataclass(slots=True)
class Dialogue:
    """What is remembered of a dialogue: its last answer, and whether it was counted as affected, by code."""

    answer: str | None = None
    affected: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Group:
    """What is remembered of one model in one run."""

    ends_seen: bool = False
    params: Mapping[str, Any] | None = None
    values: dict[str, set[str]] = field(default_factory=dict)
    dialogues: OrderedDict[str, Dialogue] = field(default_factory=OrderedDict)
    count: int = 0

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
