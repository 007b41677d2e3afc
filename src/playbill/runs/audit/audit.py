"""Audit calls: judge each by every rule, yield findings as they are found, and count.

Memory is bounded: findings are not kept, and dialogues are remembered up to a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from playbill.backends.common.findings import Finding, Rule, Severity
from playbill.runs.audit.call import Call
from playbill.runs.audit.judging import CannotTell, Group, Pending
from playbill.runs.audit.rules import AUDIT_RULES
from playbill.runs.audit.totals import ModelTotals

__all__ = ["Audit", "Judged"]

_KEPT = 1000
_REMEMBERED = 400  # characters of an answer: enough to find it again


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding, and the call that it is about."""

    finding: Finding
    model: str
    dialogue: str
    turn: int | None
    sample: int

    def to_dict(self) -> dict[str, Any]:
        dialogue = self.dialogue.partition("\x00")[0]
        return {
            **self.finding.to_dict(),
            "model": self.model,
            "dialogue": dialogue,
            "turn": self.turn,
            "sample": self.sample,
        }


@dataclass(slots=True)
class _Waiting:
    """Findings that hang on evidence that may still come. The first ones are kept, all are counted."""

    kept: list[tuple[Rule, Pending, Call]] = field(default_factory=list)
    count: int = 0


class Audit:
    """Judges calls one after the other. ``models`` has the counts by model once all findings are taken."""

    def __init__(self) -> None:
        self.models: dict[str, ModelTotals] = {}
        self._groups: dict[tuple[str, str], Group] = {}
        self._waiting: dict[tuple[str, str], _Waiting] = {}

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        codes = {row.rule.code for row in AUDIT_RULES if row.rule.severity is Severity.ERROR}
        return sum(n for totals in self.models.values() for code, n in totals.findings.items() if code in codes)

    def judge(self, calls: Iterable[Call]) -> Iterator[Judged]:
        """Yield the findings, call by call; those that hang on later calls at the end. ``close`` gives out the last."""
        for call in calls:
            yield from self._judge(call)

    def close(self) -> Iterator[Judged]:
        """Yield what was still open: findings for which the evidence never came can't be told."""
        for (_, model), waiting in self._waiting.items():
            for rule, pending, _call in waiting.kept[:1]:
                self.models[model].not_told(rule.code, pending.reason, waiting.count)
        self._waiting.clear()
        yield from ()

    def _judge(self, call: Call) -> Iterator[Judged]:
        key = (call.run, call.model)
        group = self._groups.setdefault(key, Group())
        totals = self.models.setdefault(call.model, ModelTotals())
        totals.calls += 1
        before = group.count
        group.dialogue(call.dialogue)
        totals.dialogues += group.count - before
        for row in AUDIT_RULES:
            verdict = row.judge(call, group)
            if verdict is None:
                if row.rule.name == "truncated" and call.keeps_special and call.finish is None and call.raw:
                    group.ends_seen = True
            elif isinstance(verdict, str):
                yield self._found(row.rule, verdict, call)
            elif isinstance(verdict, CannotTell):
                totals.not_told(row.rule.code, verdict.reason)
            elif group.ends_seen:
                yield self._found(row.rule, verdict.message, call)
            else:
                self._wait(key, row.rule, verdict, call)
        if group.ends_seen and key in self._waiting:
            yield from self._release(key)
        group.dialogue(call.dialogue).answer = call.text[:_REMEMBERED] if call.text else None

    def _found(self, rule: Rule, message: str, call: Call) -> Judged:
        totals = self.models[call.model]
        totals.findings[rule.code] += 1
        affected = self._groups[call.run, call.model].dialogue(call.dialogue).affected
        codes = (rule.code, "") if rule.severity is Severity.ERROR else (rule.code,)
        for code in codes:
            if code not in affected:
                affected.add(code)
                totals.affected[code] += 1
        return Judged(rule.at(call.where, message), call.model, call.dialogue, call.turn, call.sample)

    def _wait(self, key: tuple[str, str], rule: Rule, pending: Pending, call: Call) -> None:
        waiting = self._waiting.setdefault(key, _Waiting())
        waiting.count += 1
        if len(waiting.kept) < _KEPT:
            waiting.kept.append((rule, pending, call))

    def _release(self, key: tuple[str, str]) -> Iterator[Judged]:
        """Yield the findings that waited for evidence, now that it came."""
        waiting = self._waiting.pop(key)
        for rule, pending, call in waiting.kept:
            yield self._found(rule, pending.message, call)
        more = waiting.count - len(waiting.kept)
        if more:
            self.models[key[1]].findings[waiting.kept[0][0].code] += more
