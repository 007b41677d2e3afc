"""Longest common prefixes of texts and lists of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["shared_length"]


def shared_length(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return the length of the longest common prefix, by bisection: slices are compared in C.

    >>> shared_length("a tower", "a towel"), shared_length([1, 2], [1, 2, 3]), shared_length("", "a")
    (6, 2, 0)
    """
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
