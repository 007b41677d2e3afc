"""Halves of surrogate pairs: JSON may hold them, and UTF-8 can't."""

from __future__ import annotations

import re

__all__ = ["is_torn", "split_high", "whole_characters"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def is_torn(text: str) -> bool:
    """Tell whether a string holds half of a surrogate pair."""
    return _SURROGATE.search(text) is not None


def whole_characters(text: str) -> str:
    r"""Return a text that UTF-8 can hold: two halves beside each other are their character, one alone is U+FFFD.

    >>> whole_characters("\ud83d\ude00") == "\U0001f600", whole_characters("a\ude00") == "a\ufffd"
    (True, True)
    """
    if not is_torn(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def split_high(text: str) -> tuple[str, str]:
    """Return a text without a first half at its end, and that half: its second may come with the next piece."""
    cut = len(text) - 1 if text and "\ud800" <= text[-1] <= "\udbff" else len(text)
    return text[:cut], text[cut:]
