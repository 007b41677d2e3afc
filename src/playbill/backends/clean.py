"""From the raw text of a generation to the answer: a chain of named steps, each of which can be replayed.

Works on the generated text alone; the prompt never was in it. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["Cleaned", "CleaningRule", "clean"]


@dataclass(frozen=True, slots=True)
class CleaningRule:
    """How the raw text of one model becomes its answer.

    ``end_tokens``: literals culled at the end, repeated or not (the entry's ``eos_to_cull`` and the texts of
    the stop ids). ``split_prefix``: the answer follows its last occurrence. ``thinking_start`` and
    ``thinking_end``: the tags around thinking, and ``thinking_opened`` where the prompt ends inside it.
    """

    end_tokens: tuple[str, ...] = ()
    split_prefix: str | None = None
    thinking_start: str | None = None
    thinking_end: str | None = None
    thinking_opened: bool = False

    def after(self, prompt: str | None) -> CleaningRule:
        """The rule for what follows this prompt, which may end inside the thinking."""
        opened = self.thinking_start and prompt and prompt.rstrip().endswith(self.thinking_start)
        return replace(self, thinking_opened=True) if opened else self


@dataclass(frozen=True, slots=True)
class Cleaned:
    """``text`` is the answer, ``thinking`` what the model thought first (None: it has no such thing).

    ``in_thinking`` says that the generation ended before the answer began; ``text`` is empty then.
    """

    text: str
    thinking: str | None = None
    in_thinking: bool = False


def clean(
    raw: str, rule: CleaningRule, *, stop_string: str | None = None, stop_from: int = 0, truncated: bool = False
) -> Cleaned:
    """Cut at the stop string that ended the generation, cull end tokens, separate thinking, split, strip.

    ``stop_from`` is where that one begins at the earliest. ``truncated`` says that the generation ended at a
    limit: of a model whose thinking has an end tag only, a text cut off before it is all thinking.
    """
    text = _cut(raw, stop_string, stop_from)
    text = _cull(text, rule.end_tokens)
    thinking, text, in_thinking = _separate(text, rule, truncated)
    if rule.split_prefix and rule.split_prefix in text:
        text = text.rpartition(rule.split_prefix)[2]
    return Cleaned(text.strip(), thinking, in_thinking)


def _cut(text: str, stop_string: str | None, start: int) -> str:
    """What came before the stop string: before its first occurrence that can have ended the generation."""
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


def _separate(text: str, rule: CleaningRule, truncated: bool) -> tuple[str | None, str, bool]:
    """Thinking, the rest, and whether the text ended inside the thinking.

    Thinking ends at the last end tag. A start tag after that opens thinking that was cut off.
    """
    start, end = rule.thinking_start, rule.thinking_end
    if not end:
        return None, text, False
    inside, closed, rest = text.rpartition(end)
    if not closed and (rule.thinking_opened or (truncated and not start)):
        inside, rest = text, ""
    if start and inside.lstrip().startswith(start):
        inside = inside.lstrip()[len(start) :]
    rest, reopened, cut_off = rest.partition(start) if start else (rest, "", "")
    if not (closed or inside or reopened):
        return None, text, False
    thinking = "\n\n".join(part.strip() for part in (inside, cut_off) if part.strip())
    is_open = bool(reopened) or not closed
    return thinking, rest, is_open and not rest.strip()
