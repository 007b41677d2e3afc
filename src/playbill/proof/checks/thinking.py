"""How a template shows that its model thinks before it answers: end tags, or channels. Judges nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from playbill.proof.checks.probe import PLAIN, Probe

__all__ = ["Thinking", "thinking_of"]

# The end tags of thinking that are in use, and by what their start tags differ from them.
_ENDS = re.compile(r"</(?:[\w-]+:)?think(?:ing)?>|<\|END_THINKING\|>|\[/THINK\]|\u25c1/think\u25b7")
_STARTS = (("</", "<"), ("|END_", "|START_"), ("[/", "["), ("\u25c1/", "\u25c1"))
_MARKER = re.compile(r"<\|[^|<>\s]{1,40}\|>")


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
        start = end[0]
        for old, new in _STARTS:
            start = start.replace(old, new)
        return Thinking(start, end[0])
    if _MARKER.search(between) and probe.attempt(PLAIN).text != probe.attempt(PLAIN, opened=False).text:
        return Thinking(prefix=between.strip("\n"))
    return None
