"""Print verdicts: a paragraph for each entry, and of many the sum by rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import click

from playbill.backends.common.findings import Severity
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.cli.listing import describe
from playbill.cli.tables import print_columns
from playbill.proof.check import Verdict
from playbill.proof.check_many import count_by_rule

__all__ = ["print_summary", "print_verdicts", "summary_of"]

_REACHED = {1: "the entry", 2: "the prompt path", 3: "live answers"}
_REASONS = 5


def print_verdicts(verdicts: Iterable[Verdict], *, as_json: bool = False) -> None:
    """Verdicts to stdout, one paragraph each; the sum of them to stderr."""
    listed = list(verdicts)
    if as_json:
        click.echo(printable_json([verdict.to_dict() for verdict in listed]))
        return
    for verdict in listed:
        _print(verdict)
    counts = {s: sum(f.severity is s for v in listed for f in v.findings) for s in Severity}
    said = ", ".join(counted(count, severity.value) for severity, count in counts.items())
    click.echo(f"{counted(len(listed), 'entry')}: {said}", err=True)


def _print(verdict: Verdict) -> None:
    looked = ", ".join(verdict.looked_at)
    unseen = f"; not looked at: {', '.join(verdict.unseen)}" if verdict.unseen else ""
    why = f"{unseen}; no deeper: {verdict.stopped}" if verdict.stopped else unseen
    click.echo(printable(f"{verdict.name or '(no name)'}: looked at {looked}{why}"))
    if verdict.self_test:
        click.echo(printable(f"  self-test {verdict.self_test}"))
    for finding in verdict.findings:
        click.echo(f"  {describe(finding)}")


def summary_of(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the sum of many verdicts as JSON: how deep they went, why not deeper, and each rule's findings."""
    stopped = Counter(verdict.stopped for verdict in verdicts if verdict.stopped)
    return {
        "entries": len(verdicts),
        "wrong": sum(verdict.wrong for verdict in verdicts),
        "reached": {name: sum(v.depth == depth for v in verdicts) for depth, name in _REACHED.items()},
        "not_wholly_looked_at": sum(bool(v.unseen) for v in verdicts),
        "stopped": dict(stopped.most_common()),
        "rules": [asdict(count) for count in count_by_rule(verdicts)],
    }


def print_summary(verdicts: Sequence[Verdict]) -> None:
    """The sum of many verdicts, for people."""
    summary = summary_of(verdicts)
    rows = [
        (rule["severity"], rule["code"], rule["name"], str(rule["findings"]), str(rule["entries"]))
        for rule in summary["rules"]
    ]
    if rows:
        print_columns(("SEVERITY", "RULE", "NAME", "FINDINGS", "ENTRIES"), rows)
    reached = ", ".join(f"{name} for {count}" for name, count in summary["reached"].items() if count)
    click.echo(f"looked as deep as: {reached or 'nothing'}")
    if unseen := summary["not_wholly_looked_at"]:
        click.echo(f"  something that a load needs was not looked at for {unseen}")
    reasons = list(summary["stopped"].items())
    for reason, count in reasons[:_REASONS]:
        click.echo(printable(f"  no deeper for {count}: {reason}"))
    if more := sum(count for _, count in reasons[_REASONS:]):
        click.echo(f"  no deeper for {more} more, each for a reason of its own; --json tells them")
