"""Findings: what is wrong or odd with an entry, a prompt path or a record, and by which rule.

The tables of rules stand beside the code that judges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from playbill.backends.common.terminal import printable

__all__ = ["Finding", "Rule", "Severity", "table_of"]


class Severity(StrEnum):
    """How bad a finding is. Only an error stops the thing judged from being used."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of one thing, in the form of a good linter's.

    ``code`` is stable (``PB101``), ``name`` is the same for people (``unknown-key``), ``where`` is a file
    and a path in it, ``message`` says what is wrong there, and ``fix`` what to type instead.
    """

    code: str
    name: str
    severity: Severity
    where: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        fix = f"; {self.fix}" if self.fix else ""
        return printable(f"{self.where}: {self.message}{fix}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What makes a finding: its stable code and name, how bad it is, and all that a page on it has to say.

    ``why`` is one sentence on why it matters; ``prevents`` names a failure seen in public that it would have
    prevented; ``mend`` says how to get rid of it.
    """

    code: str
    name: str
    severity: Severity
    summary: str
    why: str
    prevents: str
    mend: str

    def at(self, where: str, message: str, fix: str = "") -> Finding:
        """Return a finding by this rule."""
        return Finding(self.code, self.name, self.severity, where, message, fix)


def table_of(rules: Iterable[Rule]) -> dict[str, Rule]:
    """Rules by code, in the order of their codes. Two with one code or one name are our own mistake."""
    listed = sorted(rules, key=lambda rule: rule.code)
    for field in ("code", "name"):
        values = [getattr(rule, field) for rule in listed]
        if len(set(values)) < len(values):
            raise ValueError(f"two rules have the same {field}: {sorted(v for v in values if values.count(v) > 1)}")
    return {rule.code: rule for rule in listed}
