"""Judge many entries: side by side, resumable, each with its stamp if one is wanted; and sum up by rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from playbill import __version__
from playbill.backends.common.findings import Finding, Severity
from playbill.backends.registry.fields.table import LOCAL
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.backends.registry.stamps.stamp import Stamp, parse_stamp
from playbill.proof.bulk import Journal, digest_of, side_by_side
from playbill.proof.check import Options, Verdict, check_entry
from playbill.proof.checks.neighbours import shadows
from playbill.proof.stamping import make_stamp

__all__ = ["Judged", "RuleCount", "check_many", "count_by_rule"]

_DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the stamp that it is worth where one was wanted."""

    verdict: Verdict
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How often a rule found something, in how many entries."""

    code: str
    name: str
    severity: str
    findings: int
    entries: int


def check_many(
    entries: Sequence[RegistryEntry], registry: ModelRegistry, options: Options, *, journal: Journal, jobs: int
) -> Iterator[Judged]:
    """Yield what is found on each entry, as it is found; what the journal holds comes first, and isn't done again.

    What could not be had, as where a hub can't be reached, is not noted, and so tried again the next time.
    """
    keys = {id(entry): _key(entry, registry, options) for entry in entries}
    left = [entry for entry in entries if keys[id(entry)] not in journal]
    for entry in entries:
        if keys[id(entry)] in journal:
            yield _from_json(journal[keys[id(entry)]], entry)

    def judge(entry: RegistryEntry) -> Judged:
        verdict = check_entry(entry, registry, options)
        return Judged(verdict, make_stamp(verdict, date.today()) if options.evidence else None)

    for entry, judged in side_by_side(judge, left, jobs):
        if not _may_go_deeper(judged.verdict, options):
            journal.add(keys[id(entry)], _as_json(judged))
        yield judged


def _key(entry: RegistryEntry, registry: ModelRegistry, options: Options) -> str:
    """Return what a verdict depends on, as far as it stands in registries, and how deep it was asked to go."""
    around = [str(finding) for finding in shadows(entry, registry)]
    return digest_of([__version__, entry.where, entry.raw, around, options.live, options.fetch, options.evidence])


def _may_go_deeper(verdict: Verdict, options: Options) -> bool:
    """Tell whether another try may see more: weights or a tokenizer could not be had."""
    if verdict.wrong or verdict.entry is None:
        return False
    if options.live:
        return verdict.depth < _DEEPEST
    return options.fetch and verdict.depth == 1 and verdict.entry.flat.entry.get("backend") in LOCAL


def _as_json(judged: Judged) -> dict[str, Any]:
    verdict = judged.verdict.to_dict()
    return {"verdict": verdict, "stamp": judged.stamp.to_dict() if judged.stamp is not None else None}


def _from_json(value: Any, entry: RegistryEntry) -> Judged:
    said = value["verdict"]
    findings = (Finding(**{**finding, "severity": Severity(finding["severity"])}) for finding in said["findings"])
    looked, unseen = tuple(said["looked_at"]), tuple(said["not_looked_at"])
    verdict = Verdict(said["model_name"], said["where"], looked, tuple(findings), said["stopped"], unseen, entry=entry)
    return Judged(verdict, parse_stamp(value["stamp"]))


def count_by_rule(verdicts: Iterable[Verdict]) -> list[RuleCount]:
    """Return how often each rule found something, the worst first."""
    found: Counter[tuple[str, str, str]] = Counter()
    entries: Counter[tuple[str, str, str]] = Counter()
    for verdict in verdicts:
        rules = [(f.code, f.name, f.severity.value) for f in verdict.findings]
        found.update(rules)
        entries.update(set(rules))
    order = [severity.value for severity in Severity]
    rules = sorted(found, key=lambda rule: (order.index(rule[2]), rule[0]))
    return [RuleCount(*rule, findings=found[rule], entries=entries[rule]) for rule in rules]
