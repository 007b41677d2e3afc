"""The families of models that think, told by texts that only their chat templates have: the home of thinking tags.

Cleaning, `playbill check` and `playbill audit` all take their tags from here. Knows no engine.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["THINKING_TAGS", "Family", "Tags", "family_of"]


@dataclass(frozen=True, slots=True)
class Tags:
    """The texts around thinking. ``opened``: the prompt ends inside it. Without ``start`` a text begins with it."""

    end: str
    start: str | None = None
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """The form in which the models of a family answer.

    ``marks`` are in each of its templates. ``frame`` are texts of the form that stand at the edges of thinking and
    answer and belong to neither. ``within`` are tokens that close a turn, and its thinking as well: they end nothing.
    """

    marks: tuple[str, ...]
    tags: Tags
    frame: tuple[str, ...] = ()
    within: tuple[str, ...] = ()


_THINK = Tags("</think>", "<think>")
# The first whose marks are all there; so a more special one stands before a more general one.
_FAMILIES = (
    Family(
        ("<|channel|>final<|message|>",),  # harmony, of gpt-oss
        Tags("<|channel|>final<|message|>", "<|channel|>analysis<|message|>"),
        (
            "<|end|>",
            "<|start|>assistant",
            "<|channel|>analysis<|message|>",
            "<|channel|>commentary<|message|>",
        ),
    ),
    Family(
        (" to=self<|message|>",),
        Tags("<|start|>assistant to=user<|message|>", "to=self<|message|>"),
        ("<|eom|>", "<|start|>assistant", "to=user<|message|>", "to=self<|message|>", "<|message|>"),
    ),
    Family(
        ("<|begin|>assistant<|think|>", "<|begin|>assistant<|content|>"),
        Tags("<|begin|>assistant<|content|>", "<|think|>"),
        ("<|end|>", "<|begin|>assistant", "<|think|>", "<|content|>"),
        ("<|end|>",),
    ),
    Family(
        ("<|open|>", "open_tag('think')"),
        Tags("<|close|>think<|sep|>", "<|open|>think<|sep|>"),
        ("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
        ("<|close|>",),
    ),
    Family(("<|channel>thought", "<channel|>"), Tags("<channel|>", "<|channel>thought")),
    Family(("<|inner_prefix|>", "<|inner_suffix|>"), Tags("<|inner_suffix|>", "<|inner_prefix|>")),
    Family(
        ("<|END_THINKING|>",),
        Tags("<|END_THINKING|>", "<|START_THINKING|>"),
        ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    ),
    Family(
        ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
        Tags("[BEGIN FINAL RESPONSE]", "Here are my reasoning steps:"),
        ("[END FINAL RESPONSE]",),
    ),
    Family(("[BEGIN FINAL RESPONSE]",), Tags("[BEGIN FINAL RESPONSE]"), ("[END FINAL RESPONSE]",)),
    Family(
        ("<|end_of_thought|>",),
        Tags("<|end_of_thought|>", "<|begin_of_thought|>"),
        ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ),
    Family(("[/THINK]",), Tags("[/THINK]", "[THINK]")),
    Family(("</seed:think>",), Tags("</seed:think>", "<seed:think>")),
    Family(("</mm:think>",), Tags("</mm:think>", "<mm:think>")),
    Family(("</think{}>", ":opensource"), Tags("</think:opensource>", "<think:opensource>")),
    Family(("◁/think▷",), Tags("◁/think▷", "◁think▷")),
    Family(("</think>", "<response></response>"), _THINK, ("<response>", "</response>")),
    Family(("</think>", r"<response>\n"), _THINK, ("<response>", "</response>")),
    Family(("</think>", "<answer>"), _THINK, ("<answer>", "</answer>")),
    Family(("</think>",), _THINK),
    Family(("</thinking>",), Tags("</thinking>", "<thinking>")),
    Family(("</thought>",), Tags("</thought>", "<thought>")),
    Family(("</reasoning>",), Tags("</reasoning>", "<reasoning>")),
)


def _is_markup(tag: str) -> bool:
    """Tell whether a tag can't be plain prose, so that it is a leak wherever it stands."""
    return any(c in tag for c in "<[\u25c1")


THINKING_TAGS: tuple[Tags, ...] = tuple(
    dict.fromkeys(
        family.tags
        for family in _FAMILIES
        if family.tags.start is not None and _is_markup(family.tags.start) and _is_markup(family.tags.end)
    )
)
"""The pairs of tags of all families, those left out that begin with plain prose or have no start tag."""


def family_of(template: str) -> Family | None:
    """Return the family that a chat template belongs to; None where it knows of no thinking."""
    return next((family for family in _FAMILIES if all(mark in template for mark in family.marks)), None)
