"""Budgets of thinking and answer, counted token by token; here a token is one character."""

from __future__ import annotations

import pytest

from playbill.backends.answer.thinking_budget import Budget, TokenLimits
from playbill.backends.prompt.thinking_families import Tags, family_of

THINK = Tags("</t>", "<t>")


def spell(ids) -> str:
    return "".join(map(chr, ids))


def run(text: str, limits: TokenLimits, tags: Tags | None) -> tuple[str, str | None]:
    """What of a text is generated under limits, and the limit that ended it."""
    budget = Budget(limits, tags, spell)
    for place, character in enumerate(text):
        reached = budget.push(ord(character))
        if reached is not None:
            return text[: place + 1], reached
    return text, None


@pytest.mark.parametrize(
    ("text", "limits", "tags", "wanted"),
    [
        ("answer", TokenLimits(3, 0, 3), None, ("ans", "max_tokens")),
        ("<t>why</t>answer", TokenLimits(3, 50, 53), THINK, ("<t>why</t>ans", "max_tokens")),
        ("<t>why why</t>x", TokenLimits(9, 5, 14), THINK, ("<t>wh", "max_thinking_tokens")),
        ("why why</t>x", TokenLimits(9, 5, 14), Tags("</t>"), ("why w", "max_thinking_tokens")),
        ("why</t>answer", TokenLimits(2, 50, 52), Tags("</t>", "<t>", opened=True), ("why</t>an", "max_tokens")),
        ("<t>a</t>bc</t>defghij", TokenLimits(6, 50, 56), THINK, ("<t>a</t>bc</t>defghi", "max_tokens")),
        ("<t>a</t>b<t>cdef</t>gh", TokenLimits(9, 50, 12), THINK, ("<t>a</t>b<t>", "max_tokens")),
        ("<t>a</t>b<t>cdefg", TokenLimits(5, 14, 50), THINK, ("<t>a</t>b<t>cde", "max_thinking_tokens")),
        ("plain", TokenLimits(3, 50, 53), THINK, ("pla", "max_tokens")),
        ("<t>why</t>so", TokenLimits(1, 50, 51), THINK, ("<t>why</t>s", "max_tokens")),
        (" <t", TokenLimits(2, 50, 52), THINK, (" <t", None)),
        ("<tx", TokenLimits(2, 50, 52), THINK, ("<tx", "max_tokens")),
        ("a<t>b", TokenLimits(2, 50, 52), THINK, ("a<", "max_tokens")),
    ],
)
def test_thinking_and_answer_have_budgets_of_their_own(text, limits, tags, wanted):
    """Whichever is used up ends the generation; repeated thinking counts together; a prompt may have opened it."""
    assert run(text, limits, tags) == wanted


@pytest.mark.parametrize(
    ("template", "end"),
    [
        ("{{ '<think>' }}…</think>", "</think>"),
        ("<|channel|>analysis<|message|> <|channel|>final<|message|>", "<|channel|>final<|message|>"),
        ("[THINK][/THINK]", "[/THINK]"),
    ],
)
def test_the_family_of_a_template_tells_its_tags(template, end):
    """A template that writes thinking tags belongs to a model that thinks."""
    assert family_of(template).tags.end == end
    assert family_of("<|im_start|>assistant") is None
