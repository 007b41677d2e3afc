"""Spreads of numbers, for small histograms that can be compared with each other."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Spread", "share_bins"]

_BINS = 24


@dataclass(slots=True)
class Spread:
    """Numbers as they come."""

    values: array[float] = field(default_factory=lambda: array("d"))

    def add(self, value: float) -> None:
        self.values.append(value)

    @property
    def total(self) -> float:
        return sum(self.values)


def share_bins(spreads: Sequence[Spread]) -> dict[str, Any]:
    """Histograms over the same bins, from 0 to what 99 of 100 values stay under; what is above is in the last bin.

    >>> a, b = Spread(), Spread()
    >>> for n in range(10): a.add(n); b.add(2 * n)
    >>> share_bins([a, b])["spreads"][0]["median"]
    5.0
    """
    pooled = sorted(value for spread in spreads for value in spread.values)
    top = pooled[min(len(pooled) - 1, int(len(pooled) * 0.99))] if pooled else 0
    return {"top": top, "spreads": [_describe(spread, top) for spread in spreads]}


def _describe(spread: Spread, top: float) -> dict[str, Any] | None:
    values = sorted(spread.values)
    if not values:
        return None
    counts = [0] * _BINS
    for value in values:
        counts[max(0, min(int(value / top * _BINS), _BINS - 1)) if top > 0 else 0] += 1
    at = [values[min(len(values) - 1, int(len(values) * q))] for q in (0.5, 0.9)]
    return {"counts": counts, "median": at[0], "high": at[1], "most": values[-1]}
