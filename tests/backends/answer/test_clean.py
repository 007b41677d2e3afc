"""Cleaning: from the raw text of a generation to the answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbill.backends.answer.clean import Cleaned, CleaningRule, clean

THINK = CleaningRule(thinking_start="<think>", thinking_end="</think>")
END_ONLY = CleaningRule(thinking_end="</think>")


@pytest.mark.parametrize(
    ("raw", "ends", "text"),
    [
        ("answer<|im_end|>", ["<|im_end|>"], "answer"),
        ("answer<|im_end|><|im_end|>", ["<|im_end|>"], "answer"),
        (" answer \n<|im_end|>\n", ["<|im_end|>"], "answer"),
        ("answer<end_of_turn>\n<eos>", ["<end_of_turn>", "<eos>"], "answer"),
        ("answer<eos><end_of_turn>", ["<end_of_turn>", "<eos>"], "answer"),
        ("a <eos> in the middle", ["<eos>"], "a <eos> in the middle"),
        ("answer", [], "answer"),
        ("<eos>", ["<eos>"], ""),
        ("answer.", ["."], "answer"),
        ("answer", ["", " "], "answer"),
    ],
)
def test_end_tokens_are_culled_at_the_end_repeated_or_not(raw, ends, text):
    """Literally, in any order, with white space between; never in the middle."""
    assert clean(raw, CleaningRule(end_tokens=tuple(ends))).text == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("    return x\n", "    return x\n"),
        ("  a \n<eos>", "  a \n"),
        ("  a <eos> \n<eos>\n", "  a "),
        ("x: \n  a ", " \n  a "),
        (" \n", " \n"),
    ],
)
def test_white_space_at_the_ends_stays_where_the_entry_says_so(raw, text):
    """That of the answer itself: what stands after its end token goes with it."""
    rule = CleaningRule(end_tokens=("<eos>",), split_prefix="x:")
    assert clean(raw, replace(rule, keep_white_space=True)).text == text
    assert clean(raw, rule).text == text.strip()


@pytest.mark.parametrize(
    ("raw", "text"),
    [("x: a x: b", "b"), ("no prefix", "no prefix"), ("x:", ""), ("x: x:", "")],
)
def test_the_answer_follows_the_last_split_prefix(raw, text):
    """Absent, the text stays whole."""
    assert clean(raw, CleaningRule(split_prefix="x:")).text == text


def test_the_text_ends_before_the_stop_string_that_ended_it():
    """What a token brought along after it is no answer either."""
    assert clean("a b STOPc STOP", CleaningRule(), stop_string="STOP").text == "a b"
    assert clean("xaaa", CleaningRule(), stop_string="aa").text == "x"
    assert clean("a STOP b STOPc", CleaningRule(), stop_string="STOP", stop_from=5).text == "a STOP b"
    assert clean("a STOP b", CleaningRule(), stop_string="STOP", stop_from=9).text == "a"


@pytest.mark.parametrize(
    ("raw", "rule", "cleaned"),
    [
        ("<think>why</think> so", THINK, Cleaned("so", "why")),
        ("<think></think>so", THINK, Cleaned("so", "")),
        ("so", THINK, Cleaned("so", None)),
        ("<think>why", THINK, Cleaned("", "why", in_thinking=True)),
        ("<think>a</think>b</think>c", THINK, Cleaned("c", "a</think>b")),
        ("so <think>more", THINK, Cleaned("so", "more")),
        ("<think>a</think> b <think>c", THINK, Cleaned("b", "a\n\nc")),
        ("<think>a</think><think>c", THINK, Cleaned("", "a\n\nc", in_thinking=True)),
        ("why</think>so", END_ONLY, Cleaned("so", "why")),
        ("so", END_ONLY, Cleaned("so", None)),
    ],
)
def test_thinking_is_separated_and_never_an_answer(raw, rule, cleaned):
    """Closed or cut off, once or twice; without tags in it, the text is the answer."""
    assert clean(raw, rule) == cleaned


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("<think>a<think>b</think>c</think>so", Cleaned("so", "a<think>b</think>c")),
        ("<think>a<think>b</think>c", Cleaned("", "a<think>b</think>c", in_thinking=True)),
        ("<think>a <think> b</think>so", Cleaned("", "a <think> b</think>so", in_thinking=True)),
        ("<think>a</think>b<think>c</think>so", Cleaned("so", "a</think>b<think>c")),
        ("<think>a</think>b<think>c", Cleaned("b", "a\n\nc")),
        ("so<think>b</think>", Cleaned("so", "b")),
        ("<think>a</think>so<think>b</think>\n", Cleaned("so", "a</think>\n\n<think>b")),
        ("<th", Cleaned("", "", in_thinking=True)),
        ("</thi", Cleaned("", "", in_thinking=True)),
        ("<i>", Cleaned("<i>", None)),
    ],
)
def test_of_a_text_cut_off_what_is_in_doubt_is_thinking(raw, cleaned):
    """Nested or repeated thinking, and tags cut off in their middle; a complete pair before an answer takes none."""
    assert clean(raw, THINK, truncated=True) == cleaned


@given(st.lists(st.sampled_from(["<think>", "</think>", "W", " ", "<thi"]), max_size=12), st.booleans(), st.booleans())
def test_what_stands_in_open_thinking_is_never_an_answer(pieces, opened, truncated):
    """Whatever pairs come before: of a text that ends inside of thinking, the last thought is in no answer."""
    rule = CleaningRule(thinking_start="<think>", thinking_end="</think>", thinking_opened=opened)
    found = clean("".join([*pieces, "<think>", "SECRET"]), rule, truncated=truncated)
    assert "SECRET" not in found.text
    assert "SECRET" in found.thinking


def test_where_the_prompt_opened_the_thinking_an_unclosed_text_is_all_thinking():
    """As QwQ and DeepSeek-R1 do."""
    rule = CleaningRule(thinking_start="<think>", thinking_end="</think>", thinking_opened=True)
    assert clean("hm", rule) == Cleaned("", "hm", in_thinking=True)
    assert clean("hm</think>so", rule) == Cleaned("so", "hm")


def test_with_an_end_tag_only_a_text_cut_off_before_it_is_thinking():
    """It was published as an answer; a text that ended by itself is one."""
    assert clean("Let me see", END_ONLY, truncated=True) == Cleaned("", "Let me see", in_thinking=True)
    assert clean("Let me see", END_ONLY, truncated=False) == Cleaned("Let me see", None)


@given(st.text(alphabet="ab<>/ \n", max_size=20), st.lists(st.sampled_from(["<a>", "<b>", "ab"]), max_size=3))
def test_cleaning_ends_and_leaves_no_end_token(raw, ends):
    """Whatever the text: no end token at its end, no white space around it, and once is enough."""
    rule = CleaningRule(end_tokens=tuple(ends))
    text = clean(raw, rule).text
    assert text == text.strip()
    assert not any(text.endswith(end) for end in ends)
    assert clean(text, rule).text == text
