"""Split thinking from the answer: by tags, or by the regions of a response template.

Text that may be either counts as thinking, so that an answer is never filled from it. Knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from playbill.backends.prompt.template import Region
from playbill.backends.prompt.thinking_families import Tags

__all__ = ["THINKING_FIELDS", "SplitThinking", "by_regions", "by_tags"]

THINKING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""The names under which response templates have what a model thought."""


@dataclass(frozen=True, slots=True)
class SplitThinking:
    """``thinking`` is None where there is none; ``inside`` says that the text ended before an answer began."""

    answer: str
    thinking: str | None = None
    inside: bool = False


def by_tags(text: str, tags: Tags, *, truncated: bool, frame: Sequence[str] = ()) -> SplitThinking:
    """Thinking ends at the last end tag. A start tag after that opens thinking that was cut off.

    ``truncated`` says that the generation ended at a limit: of a model whose thinking has an end tag only, a text cut
    off before it is all thinking, and so is what is cut off in an inner pair of tags, or in a tag. Where nothing
    stands after the last end tag, what stands outside of complete pairs is the answer. Texts of the ``frame`` are
    removed from the edges of both; one that was cut off is no answer.
    """
    if truncated and not tags.opened and _begins(text, (tags.start or "", tags.end, *frame)):
        return SplitThinking("", "", inside=True)
    found = _by_tags(text, tags, truncated)
    thinking = found.thinking
    if thinking is not None and frame:
        parts = re.split("|".join(map(re.escape, frame)), thinking)
        thinking = "\n\n".join(part.strip() for part in parts if part.strip())
    answer = _without_frame(found.answer, frame)
    if truncated and _begins(answer, frame):
        answer = ""
    return replace(found, answer=answer, thinking=thinking)


def _by_tags(text: str, tags: Tags, truncated: bool) -> SplitThinking:
    text, cut_off = _split_cut_off(text, tags) if truncated else (text, None)
    inside, closed, rest = text.rpartition(tags.end)
    if not closed and (tags.opened or (truncated and not tags.start)):
        inside, rest = text, ""
    if closed and not rest.strip() and (outside := _outside(text, tags)):
        inside, rest = text.replace(outside, "\n\n", 1).rpartition(tags.end)[0], outside
    if tags.start and inside.lstrip().startswith(tags.start):
        inside = inside.lstrip()[len(tags.start) :]
    if cut_off is None and tags.start and tags.start in rest:
        rest, _, cut_off = rest.partition(tags.start)
    if not (closed or inside or cut_off is not None):
        return SplitThinking(rest)
    thinking = "\n\n".join(part.strip() for part in (inside, cut_off or "") if part.strip())
    is_open = cut_off is not None or not closed
    return SplitThinking(rest, thinking, is_open and not rest.strip())


def _split_cut_off(text: str, tags: Tags) -> tuple[str, str | None]:
    """Return a text cut off within thinking: what came before, and what was thought; None where it wasn't cut off
    there."""
    if not tags.start or not _nests(tags):
        return text, None
    depth = 1 if tags.opened and not text.lstrip().startswith(tags.start) else 0
    opened_at = thought_at = 0
    for tag in re.finditer("|".join(map(re.escape, (tags.start, tags.end))), text):
        if tag[0] == tags.end:
            depth = max(0, depth - 1)
        else:
            if depth == 0:
                opened_at, thought_at = tag.span()
            depth += 1
    return (text[:opened_at], text[thought_at:]) if depth else (text, None)


def _begins(text: str, whole: Sequence[str]) -> bool:
    """Tell whether a text is the beginning of one of others, and no more."""
    begun = text.strip()
    return bool(begun) and any(each.startswith(begun) and each != begun for each in whole)


def _nests(tags: Tags) -> bool:
    """Tell whether start and end are brackets, as ``<think>`` and ``</think>``; of channels, one end ends all."""
    return tags.end.replace("/", "", 1) == tags.start


def _outside(text: str, tags: Tags) -> str:
    """Return the last text outside of pairs of tags, where all of them are complete pairs; else nothing."""
    if not tags.start or tags.opened or not _nests(tags):
        return ""
    depth, begin, found = 0, 0, ""
    for tag in re.finditer("|".join(map(re.escape, (tags.start, tags.end))), text):
        if depth == 0 and (piece := text[begin : tag.start()].strip()):
            found = piece
        depth += 1 if tag[0] == tags.start else -1
        if depth < 0:
            return ""
        begin = tag.end()
    return found if depth == 0 else ""


def _without_frame(text: str, frame: Sequence[str]) -> str:
    """Without the texts of a frame at its edges, repeated or not, white space between them included."""
    while True:
        bare = text.strip()
        bare = next((bare[len(each) :] for each in frame if bare.startswith(each)), bare)
        bare = next((bare[: -len(each)] for each in frame if bare.endswith(each)), bare)
        if bare == text.strip():
            return text
        text = bare


def by_regions(
    regions: Sequence[Region], tags: Tags | None, *, truncated: bool, join: str | None = None
) -> SplitThinking | None:
    """Return what a response template's regions say; None where they have neither thinking nor an answer.

    As in transformers, regions of the answer are joined where the template says with what, and otherwise a later one
    takes the place of an earlier one; but white space takes none. Tags that are left in the answer, as of nested
    thinking, are obeyed.
    """
    answers = [region.text for region in regions if region.field == "content" and region.text.strip()]
    thoughts = [region.text.strip() for region in regions if region.field in THINKING_FIELDS]
    if not answers and not thoughts:
        return None
    last = regions[-1]
    answer, inside = "", last.field in THINKING_FIELDS and not last.closed
    if answers:
        answer, inside = answers[-1] if join is None else join.join(a.strip() for a in answers), False
        if tags is not None:
            rest = by_tags(answer, replace(tags, opened=False), truncated=truncated)
            answer, inside = rest.answer, rest.inside
            thoughts += [] if rest.thinking is None else [rest.thinking]
    thinking = "\n\n".join(thought for thought in thoughts if thought) if thoughts else None
    return SplitThinking(answer, thinking, inside)
