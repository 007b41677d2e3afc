"""Find out from a template whether its model thinks before it answers: end tags, or channels. Judges nothing."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from playbill.backends.prompt.thinking_families import THINKING_TAGS
from playbill.proof.checks.probe import PLAIN, Probe

__all__ = ["Thinking", "switched_off", "thinking_of"]

# End tags of the families whose thinking has plain tags around it, and any other of that shape.
_PAIRS = {tags.end: tags.start for tags in THINKING_TAGS if "message" not in tags.end and "assistant" not in tags.end}
_ENDS = re.compile("|".join([*map(re.escape, sorted(_PAIRS, key=len, reverse=True)), r"</(?:[\w-]+:)?think(?:ing)?>"]))
_MARKER = re.compile(r"<\|[^|<>\s]{1,40}\|>")


_SWITCHES = ("enable_thinking", "thinking", "enable_reasoning", "reasoning")
"""Variables with which templates let a model think, or not: true or false."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """Tags around thinking; or else ``prefix``, which the model writes itself before its answer proper."""

    start_tag: str | None = None
    end_tag: str | None = None
    prefix: str | None = None


def thinking_of(probe: Probe) -> Thinking | None:
    """By what stands between the generation prompt and an answer in a finished turn, and by known tags."""
    opened, answered = probe.attempt(PLAIN).text or "", probe.answered()
    between = answered[0][len(opened) :] if answered and answered[0].startswith(opened) else ""
    end = _ENDS.search(between) or _ENDS.search(probe.text)
    if end is not None:
        return Thinking(_PAIRS.get(end[0]) or end[0].replace("</", "<"), end[0])
    if _MARKER.search(between) and probe.attempt(PLAIN).text != probe.attempt(PLAIN, opened=False).text:
        return Thinking(prefix=between.strip("\n"))
    return None


def switched_off(probe: Probe, reads: Collection[str]) -> str | None:
    """Return the variable that would let the model think, where the prompt is now what it is with that set to false.

    ``reads`` are the variables that the template reads. None where the model thinks, or no switch changes a prompt.
    """
    now = probe.attempt(PLAIN).text
    for switch in _SWITCHES:
        if switch in reads and now is not None:
            on, off = (probe.with_variables({switch: value}).attempt(PLAIN).text for value in (True, False))
            if now == off and on not in (off, None):
                return switch
    return None
