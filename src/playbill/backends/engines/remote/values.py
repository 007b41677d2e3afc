"""Read values of strangers' JSON: what is not of the expected type counts as not said."""

from __future__ import annotations

from typing import Any

from playbill.backends.common.jsonfile import DEEPEST, is_deeper

__all__ = ["DEEPEST", "as_object", "count", "is_deeper"]

_LARGEST = 2**53


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def count(value: Any) -> int | None:
    """Return a number of tokens; None for what is none: a text, a fraction, a negative or an absurdly large number.

    >>> count(12), count("12"), count(True), count(-1), count(10**400)
    (12, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < _LARGEST else None
