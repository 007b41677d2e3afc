"""Say in words what an engine's self-test on load found about requests that are computed together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["self_test_words"]


def self_test_words(facts: Mapping[str, Any]) -> str | None:
    """Return what the facts of an engine say of its self-test; None where it computes nothing together by itself.

    >>> self_test_words({"batching": {"kind": "exact", "company_independent": True}})
    "passed: answers don't depend on which others are computed with them"
    """
    batching = facts.get("batching")
    if not isinstance(batching, Mapping):
        return None
    passed = batching.get("company_independent")
    if passed is None:
        return f"not made with '{batching.get('kind')}', which promises nothing"
    if batching.get("kind") == "single":
        return "not needed, since requests are answered one at a time"
    if passed:
        return "passed: answers don't depend on which others are computed with them"
    return f"failed: answers may depend on their company, by {batching.get('differs')}"
