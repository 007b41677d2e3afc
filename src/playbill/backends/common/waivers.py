"""Waivers: rules that an entry is let off, each with a reason and a date. What is waived is still shown, as a note.

An error can't be waived: what can't be used stays so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from playbill.backends.common.findings import Finding, Severity

__all__ = ["waive", "waivers_of"]


def waive(findings: Iterable[Finding], entry: Mapping[str, Any]) -> list[Finding]:
    """Return the findings, those as notes that the entry waives: with who said why, and when."""
    waivers = waivers_of(entry)
    return [_noted(f, waivers[f.code]) if _is_open(f) and f.code in waivers else f for f in findings]


def waivers_of(entry: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """Return the waivers of an entry that are complete, by the code of their rule."""
    said = entry.get("waivers")
    return {w["rule"]: w for w in said if _is_complete(w)} if isinstance(said, list) else {}


def _is_open(finding: Finding) -> bool:
    return finding.severity is Severity.WARNING


def _is_complete(waiver: Any) -> bool:
    return isinstance(waiver, dict) and all(isinstance(waiver.get(key), str) for key in ("rule", "reason", "date"))


def _noted(finding: Finding, waiver: Mapping[str, str]) -> Finding:
    message = f"{finding.message} (waived on {waiver['date']}: {waiver['reason']})"
    return replace(finding, severity=Severity.NOTE, message=message, fix="")
