"""Reads records, Playbill's own and clembench's, and judges each call and each run. Runs no model.

    >>> from playbill.runs.audit import Audit, find_sources

A layout is read into `Call`; a rule is a small function over one `Call`; `Audit` counts.
"""

from __future__ import annotations

from playbill.runs.audit.audit import Audit, Judged, ModelTotals
from playbill.runs.audit.call import Call
from playbill.runs.audit.rules import AUDIT_RULES, RECORD_RULES
from playbill.runs.audit.sources import Expected, Source, find_sources

__all__ = [
    "AUDIT_RULES",
    "RECORD_RULES",
    "Audit",
    "Call",
    "Expected",
    "Judged",
    "ModelTotals",
    "Source",
    "find_sources",
]
