"""Audit calls: judge each by every rule, yield findings as they are found, and count.

Memory is bounded: findings are not kept, and dialogues are remembered up to a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from playbill.backends.common.findings import Finding, Rule, Severity
from playbill.backends.common.words import counted
from playbill.runs.audit.call import Call
from playbill.runs.audit.judging import CannotTell, Group, Pending
from playbill.runs.audit.rules import AUDIT_RULES, MISSING_RECORDS
from playbill.runs.audit.sources import Expected

__all__ = ["Audit", "Judged", "ModelTotals"]

_KEPT = 1000


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
class ModelTotals:
    """The counts of one model. ``affected`` counts dialogues by code; under "" those with any error.

    ``left_out`` counts calls of programmatic players and people, who are no models.
    """

    calls: int = 0
    dialogues: int = 0
    left_out: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    affected: Counter[str] = field(default_factory=Counter)
    cannot_tell: dict[str, Counter[str]] = field(default_factory=dict)

    def not_told(self, code: str, reason: str, times: int = 1) -> None:
        self.cannot_tell.setdefault(code, Counter())[reason] += times

    def share(self, code: str) -> float:
        """Return the share of dialogues with this finding; under "" with any error."""
        return self.affected[code] / self.dialogues if self.dialogues else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "dialogues": self.dialogues,
            "left_out": self.left_out,
            "affected_dialogues": self.affected[""],
            "affected_share": round(self.share(""), 4),
            "findings": {
                code: {"calls": n, "dialogues": self.affected[code], "share": round(self.share(code), 4)}
                for code, n in sorted(self.findings.items())
            },
            "cannot_tell": {code: dict(reasons) for code, reasons in sorted(self.cannot_tell.items())},
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
        self._expected: dict[tuple[str, str], Expected] = {}

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        codes = {row.rule.code for row in AUDIT_RULES if row.rule.severity is Severity.ERROR}
        codes.add(MISSING_RECORDS.code)
        return sum(n for totals in self.models.values() for code, n in totals.findings.items() if code in codes)

    def judge(self, calls: Iterable[Call]) -> Iterator[Judged]:
        """Yield the findings, call by call; those that hang on later calls at the end. ``close`` gives out the last."""
        for call in calls:
            yield from self._judge(call)

    def expect(self, expected: Iterable[Expected]) -> None:
        """Take what should be there by what a run's manifest says; `close` tells what of it is missing."""
        for each in expected:
            self._expected[each.run, each.model] = each

    @property
    def cannot_tell(self) -> dict[str, dict[str, Any]]:
        """What couldn't be told, by its reason: the ``rules``, how many ``calls`` at the most, and the ``models``."""
        grouped: dict[str, dict[str, Any]] = {}
        for model, totals in self.models.items():
            counts: dict[str, int] = {}
            for code, reasons in sorted(totals.cannot_tell.items()):
                for reason, n in reasons.items():
                    group = grouped.setdefault(reason, {"rules": [], "calls": 0, "models": []})
                    group["rules"] += [code] if code not in group["rules"] else []
                    counts[reason] = max(counts.get(reason, 0), n)
            for reason, n in counts.items():
                grouped[reason]["calls"] += n
                grouped[reason]["models"].append(model)
        return grouped

    def close(self) -> Iterator[Judged]:
        """Yield what was still open: what is missing of a run. Findings for which the evidence never came can't be
        told."""
        for (_, model), waiting in self._waiting.items():
            for rule, pending, _call in waiting.kept[:1]:
                self.models[model].not_told(rule.code, pending.reason, waiting.count)
        self._waiting.clear()
        for (run, model), expected in self._expected.items():
            yield from self._missing(expected, self._groups.setdefault((run, model), Group()))
        self._expected.clear()

    def _missing(self, expected: Expected, group: Group) -> Iterator[Judged]:
        said = []
        if (dialogues := expected.dialogues - group.count) > 0:
            said.append(f"of {counted(expected.dialogues, 'dialogue')}, {dialogues} without a record")
        turns = (expected.turns or 0) - group.records
        if turns > 0 and not group.ended:  # a dialogue that ended early asks for fewer turns
            said.append(f"of {counted(expected.turns or 0, 'turn')}, {turns} without a record")
        if said:
            totals = self.models.setdefault(expected.model, ModelTotals())
            totals.findings[MISSING_RECORDS.code] += 1
            finding = MISSING_RECORDS.at(expected.where, "; ".join(said), "run the same command again: it goes on")
            yield Judged(finding, expected.model, "", None, 0)

    def _judge(self, call: Call) -> Iterator[Judged]:
        key = (call.run, call.model)
        totals = self.models.setdefault(call.model, ModelTotals())
        if call.no_model:
            totals.left_out += 1
            return
        group = self._groups.setdefault(key, Group())
        totals.calls += 1
        before = group.count
        group.dialogue(call.dialogue)
        totals.dialogues += group.count - before
        leaked = False
        for row in AUDIT_RULES:
            verdict = row.judge(call, group)
            if verdict is None:
                if row.rule.name == "truncated" and call.keeps_special and call.finish is None and call.raw:
                    group.ends_seen = True
            elif isinstance(verdict, str):
                leaked = leaked or row.rule.name == "eos-leak"
                yield self._found(row.rule, verdict, call)
            elif isinstance(verdict, CannotTell):
                totals.not_told(row.rule.code, verdict.reason)
            elif group.ends_seen:
                yield self._found(row.rule, verdict.message, call)
            else:
                self._wait(key, row.rule, verdict, call)
        if group.ends_seen and key in self._waiting:
            yield from self._release(key)
        group.remember(call, leaked=leaked)

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
