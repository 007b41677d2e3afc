"""Find a system prompt that a template writes by itself, before the first message. Judges nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from playbill.backends.common.prefixes import shared_length
from playbill.proof.checks.probe import PLAIN, QUESTION, SYSTEM, SYSTEM_TEXT, Probe

__all__ = ["OwnText", "own_text"]

_MARKUP = re.compile(r"<[^<>\n]{1,60}>|\[/?[A-Z_]{2,30}\]|</?s>|#{2,}")
_ROLE = re.compile(r"^(?:system|developer|user)\b[:\s]*")
_WORD = re.compile(r"[^\W\d_]{2,}")
_FEWEST = 3
"""Words that make a text; role names and headers have fewer."""


@dataclass(frozen=True, slots=True)
class OwnText:
    """What a template writes by itself. ``replaceable``: a system message takes its place."""

    text: str
    replaceable: bool


def own_text(probe: Probe) -> OwnText | None:
    """Return the text that stands before a lone question and is no message's, nor markup; None where there is none."""
    plain = (probe.attempt(PLAIN).text or "").partition(QUESTION)[0]
    if not _is_prose(plain):
        return None
    given = (probe.attempt(SYSTEM).text or "").partition(QUESTION)[0]
    if SYSTEM_TEXT in given:
        start, end = _common_ends(plain, given)
        own, theirs = plain[start : len(plain) - end], given[start : len(given) - end]
        if _is_prose(own) and len(theirs) >= len(SYSTEM_TEXT) // 2:
            return OwnText(_shorn(own), replaceable=True)
    return OwnText(_shorn(plain), replaceable=False)


def _is_prose(text: str) -> bool:
    return len(_WORD.findall(_MARKUP.sub(" ", text))) >= _FEWEST


def _shorn(text: str) -> str:
    """Return a text without the markup and the roles around it, on one line."""
    parts = [_ROLE.sub("", part.strip()) for part in _MARKUP.split(text) if len(_WORD.findall(part)) > 1]
    return " ".join(" ".join(parts).split())


def _common_ends(one: str, other: str) -> tuple[int, int]:
    """Return how many characters two texts share at their beginning, and at their end, without overlap."""
    start = shared_length(one, other)
    end = min(shared_length(one[::-1], other[::-1]), min(len(one), len(other)) - start)
    while end and one[len(one) - end] in ".!?":  # the end of a sentence is the sentence's
        end -= 1
    return start, end
