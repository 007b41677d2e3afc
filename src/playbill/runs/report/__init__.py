"""The report page of a run: one HTML file that holds all of it. It judges by `audit`."""

from __future__ import annotations

from playbill.runs.report.page import REPORT, write_report

__all__ = ["REPORT", "write_report"]
