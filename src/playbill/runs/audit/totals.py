"""What an audit counts for each model: calls, dialogues, findings, and what couldn't be told. Pure data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ModelTotals"]


@dataclass(slots=True)
class ModelTotals:
    """The counts of one model. ``affected`` counts dialogues by code; under "" those with any error."""

    calls: int = 0
    dialogues: int = 0
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
            "affected_dialogues": self.affected[""],
            "affected_share": round(self.share(""), 4),
            "findings": {
                code: {"calls": n, "dialogues": self.affected[code], "share": round(self.share(code), 4)}
                for code, n in sorted(self.findings.items())
            },
            "cannot_tell": {code: dict(reasons) for code, reasons in sorted(self.cannot_tell.items())},
        }
