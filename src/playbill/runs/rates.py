"""Tokens a second, counted in one way for the terminal, for `--json` and for the report."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["Rate"]

_SHORTEST = 0.1
"""Seconds below which a rate says nothing."""


@dataclass(slots=True)
class Rate:
    """Output tokens by the time in which at least one answer was under way, over all records that were added.

    Pauses between two starts of a run count as little as waiting for a load does. What is kept are the spans of time
    in which something was under way, each once: a few, however many records there are.
    """

    tokens: int = 0
    begins: array[float] = field(default_factory=lambda: array("d"))
    ends: array[float] = field(default_factory=lambda: array("d"))

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record. What failed has no time of its own: its attempts and pauses generate nothing."""
        self.tokens += (record.get("usage") or {}).get("output_tokens") or 0
        seconds = record.get("seconds")
        if record["outcome"] != "error" and isinstance(seconds, (int, float)) and 0 <= seconds < math.inf:
            with suppress(KeyError, TypeError, ValueError):
                end = datetime.fromisoformat(record["time"]).timestamp()
                self._cover(end - seconds, end)

    def _cover(self, begin: float, end: float) -> None:
        """Join a span with all that it touches."""
        first, after = bisect_left(self.ends, begin), bisect_right(self.begins, end)
        if first < after:
            begin, end = min(begin, self.begins[first]), max(end, self.ends[after - 1])
        self.begins[first:after] = array("d", [begin])
        self.ends[first:after] = array("d", [end])

    @property
    def busy_seconds(self) -> float:
        """For how long something was under way."""
        return sum(end - begin for begin, end in zip(self.begins, self.ends, strict=True))

    @property
    def per_second(self) -> float | None:
        """Tokens a second; None where nothing was generated, or in too short a time to tell."""
        seconds = self.busy_seconds
        return self.tokens / seconds if self.tokens and seconds >= _SHORTEST else None
