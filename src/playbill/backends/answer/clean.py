"""Clean a generation: from raw text to the answer, in named steps that can be replayed.

Takes the generated text alone, never the prompt. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from playbill.backends.answer.split_thinking import SplitThinking, by_regions, by_tags
from playbill.backends.errors import TemplateError
from playbill.backends.prompt.template import response_regions
from playbill.backends.prompt.thinking_families import Tags

__all__ = ["Cleaned", "CleaningRule", "clean"]


@dataclass(frozen=True, slots=True)
class CleaningRule:
    """How the raw text of one model becomes its answer.

    ``end_tokens``: literals culled at the end, repeated or not (the entry's ``eos_to_cull`` and the texts of
    the stop ids). ``split_prefix``: the answer follows its last occurrence. ``thinking_start`` and
    ``thinking_end``: the tags around thinking, and ``thinking_opened`` where the prompt ends inside it. ``frame``:
    what stands at the edges of thinking and answer in the model's form of a turn, and belongs to neither.
    ``response``: the model's own response template, by which thinking and answer are separated first of all.
    ``keep_white_space``: white space at the answer's two ends stays, where it is removed otherwise.
    """

    end_tokens: tuple[str, ...] = ()
    split_prefix: str | None = None
    thinking_start: str | None = None
    thinking_end: str | None = None
    thinking_opened: bool = False
    frame: tuple[str, ...] | None = None
    response: Mapping[str, Any] | None = None
    keep_white_space: bool = False

    def tags(self, prompt: str | None) -> Tags | None:
        """Return the tags around the thinking in what follows this prompt, which may end inside of it."""
        if not self.thinking_end:
            return None
        start = self.thinking_start
        opened = self.thinking_opened or bool(start and prompt and prompt.rstrip().endswith(start))
        return Tags(self.thinking_end, start, opened)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """``text`` is the answer, ``thinking`` what the model thought first (None: it has no such thing).

    ``in_thinking`` says that the generation ended before the answer began; ``text`` is empty then. ``problem`` says
    why the response template was of no use for this text.
    """

    text: str
    thinking: str | None = None
    in_thinking: bool = False
    problem: str | None = None


def clean(
    raw: str,
    rule: CleaningRule,
    *,
    prompt: str | None = None,
    stop_string: str | None = None,
    stop_from: int = 0,
    truncated: bool = False,
) -> Cleaned:
    """Cut at the stop string that ended the generation, cull end tokens, separate thinking, split, strip.

    These steps, in this order, are all that is ever done to a text; ``raw`` in a record is what they start from.
    ``prompt`` is what the text follows. ``stop_from`` is where the stop string begins at the earliest. ``truncated``
    says that the generation ended at a limit.
    """
    text = _cut(raw, stop_string, stop_from)
    text = _cull(text, rule.end_tokens)
    tags = rule.tags(prompt)
    found = by_tags(text, tags, truncated=truncated, frame=rule.frame or ()) if tags else SplitThinking(text)
    problem = None
    if rule.response is not None and not (truncated and found.inside):
        better, problem = _by_response(text, rule.response, prompt, tags, truncated=truncated)
        found = better or found
    text = found.answer
    if rule.split_prefix and rule.split_prefix in text:
        text = text.rpartition(rule.split_prefix)[2]
    return Cleaned(text if rule.keep_white_space else text.strip(), found.thinking, found.inside, problem)


def _by_response(
    text: str, template: Mapping[str, Any], prompt: str | None, tags: Tags | None, *, truncated: bool
) -> tuple[SplitThinking | None, str | None]:
    """Return what the response template makes of a text, or why it makes nothing of it."""
    try:
        regions = response_regions(template, prompt or "", text)
    except TemplateError as e:
        return None, str(e)
    content = template["fields"].get("content", {})
    join = content.get("join") or ("\n\n" if content.get("repeats") else None)
    found = by_regions(regions, tags, truncated=truncated, join=join)
    return found, "it found neither thinking nor an answer" if found is None and text.strip() else None


def _cut(text: str, stop_string: str | None, start: int) -> str:
    """Return what came before the stop string: before its first occurrence that can have ended the generation."""
    if not stop_string:
        return text
    place = text.find(stop_string, start)
    return text[:place] if place >= 0 else text.partition(stop_string)[0]


def _cull(text: str, end_tokens: Sequence[str]) -> str:
    """Without the literals at its end, in any order, repeated or not, white space between them included."""
    literals = [token for token in end_tokens if token.strip()]
    while True:
        bare = text.rstrip()
        found = next((token for token in literals if bare.endswith(token.rstrip())), None)
        if found is None:
            return text
        text = bare[: -len(found.rstrip())]
