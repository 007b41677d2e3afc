"""Read the regular expressions of clemcore's entries back as the literals that they match."""

from __future__ import annotations

import re

__all__ = ["literal_end", "literals_of_regex"]

_META = set(".^$*+?{}[]|()\\")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BETWEEN = re.compile(r"(?:\\n|\n|\\s|\\r)[*+?]")
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)


def literals_of_regex(pattern: str) -> str | list[str] | None:
    r"""Read a regular expression that only stands for literals back as them, or None.

    ``<\|im_end\|>`` gives ``<|im_end|>``; ``a\n*b`` (clemcore's way to say "a, then b, lines between")
    gives the list of a and b.
    """
    if not pattern:
        return ""
    parts = [_unescape(part) for part in _BETWEEN.split(pattern)]
    if not parts or any(part is None or part == "" for part in parts):
        return None
    literals = [part for part in parts if part]
    return literals[0] if len(literals) == 1 else literals


def _unescape(part: str) -> str | None:
    """Return the literal that an escaped pattern stands for, or None where it is more than a literal."""
    if set(_ESCAPED.sub("", part)) & _META:
        return None
    if any(c.isalnum() for c in _ESCAPED.findall(part)):  # \d, \w, \n …: classes, not escaped characters
        return None
    return _ESCAPED.sub(r"\1", part)


def literal_end(pattern: str) -> str | None:
    r"""Return the literal with which all that a regular expression matches ends; None where there is no such one.

    ``<\|end\|>(<\|start\|>)*<\|final\|>`` gives ``<|final|>``: what follows the last match follows it as well.
    """
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return None
    end, depth = "", 0
    for token in _TOKEN.findall(pattern):
        if token == "|" and not depth:
            return None
        depth += (token == "(") - (token == ")")
        literal = _unescape(token) if not depth else None
        end = end + literal if literal else ""
    return end or None
