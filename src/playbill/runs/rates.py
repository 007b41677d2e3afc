"""Tokens a second, counted in one way for the terminal, for `--json` and for the report."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["Rate", "busy_seconds"]

_SHORTEST = 0.1
"""Seconds below which a rate says nothing."""


@dataclass(slots=True)
class Rate:
    """Output tokens by the time in which at least one answer was under way, over all records that were added.

    Pauses between two starts of a run count as little as waiting for a load does.
    """

    tokens: int = 0
    begins: array[float] = field(default_factory=lambda: array("d"))
    ends: array[float] = field(default_factory=lambda: array("d"))

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record. What failed has no time of its own: its attempts and pauses generate nothing."""
        self.tokens += (record.get("usage") or {}).get("output_tokens") or 0
        seconds = record.get("seconds")
        if record["outcome"] != "error" and isinstance(seconds, (int, float)):
            with suppress(KeyError, TypeError, ValueError):
                end = datetime.fromisoformat(record["time"]).timestamp()
                self.begins.append(end - seconds)
                self.ends.append(end)

    @property
    def per_second(self) -> float | None:
        """Tokens a second; None where nothing was generated, or in too short a time to tell."""
        seconds = busy_seconds(list(zip(self.begins, self.ends, strict=True)))
        return self.tokens / seconds if self.tokens and seconds >= _SHORTEST else None


def busy_seconds(spans: Sequence[tuple[float, float]]) -> float:
    """Return how long at least one of these spans of time was running.

    >>> busy_seconds([(0, 2), (1, 3), (10, 11)])
    4.0
    """
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
