"""Streamed text: whatever the pieces, what is sent is the clean answer, character for character."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from playbill.backends.answer.clean import CleaningRule, clean
from playbill.backends.answer.streamed_text import StreamedText

ENDS = ["<|im_end|>", "</s>", "<end>", "\nUser:"]
TEXTS = st.lists(st.sampled_from([*ENDS, " ", "\n", "<", "</", "s>", "a", "Hello", "<|im_", "end|>", "User:"])).map(
    "".join
)


@st.composite
def pieces(draw):
    """A text, cut anywhere."""
    text = draw(TEXTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(pieces(), st.lists(st.sampled_from([*ENDS, " \n###"]), max_size=3), st.booleans())
def test_what_is_streamed_is_the_clean_answer(parts, ends, keep):
    """End tokens, repeated or cut anywhere, never reach the client, nor white space that the answer doesn't keep."""
    rule = CleaningRule(end_tokens=tuple(ends), keep_white_space=keep)
    streamed = StreamedText(rule)
    sent = "".join([streamed.feed(part) for part in parts])
    answer = clean("".join(parts), rule).text
    assert sent + streamed.rest(answer) == answer


@given(pieces(), st.sampled_from(["</s>", "a", "\n", "\n\nUser:", " Hello"]), st.booleans())
def test_a_stop_string_is_never_streamed(parts, stop, keep):
    """A text that ends at a stop string is streamed without it, also where it came in pieces."""
    text = "".join(parts).replace(stop, "")
    if stop in text:
        return
    rule = CleaningRule(end_tokens=("<|im_end|>",), keep_white_space=keep)
    streamed = StreamedText(rule, [stop])
    cut = len(text) // 2
    sent = "".join([streamed.feed(part) for part in (text[:cut], text[cut:], *stop)])
    whole = text + stop
    answer = clean(whole[: whole.index(stop) + len(stop)], rule, stop_string=stop).text
    assert sent + streamed.rest(answer) == answer


def test_text_is_streamed_as_soon_as_it_is_certain():
    """Words that can't be the beginning of an end go out at once."""
    streamed = StreamedText(CleaningRule(end_tokens=("</s>",)))
    assert [streamed.feed(piece) for piece in ("Hello", " wor", "ld", "<", "3", "</s", ">")] == [
        "Hello",
        " wor",
        "ld",
        "",
        "<3",
        "",
        "",
    ]


def test_where_only_the_whole_text_tells_the_answer_everything_waits():
    """Thinking between tags, and what stands before a split prefix, never reach the client as an answer."""
    template = {"start_anchor": "A:", "fields": {"content": {}}}
    rules = (
        {"thinking_end": "</think>"},
        {"split_prefix": "Answer:"},
        {"frame": ("<answer>",)},
        {"response": template},
    )
    for rule in (CleaningRule(**each) for each in rules):
        streamed = StreamedText(rule)
        assert streamed.feed("let me think") == ""
        assert streamed.rest("yes") == "yes"


def test_an_answer_that_does_not_begin_with_what_was_sent_is_noticed():
    """There is no rest then, rather than a wrong one."""
    streamed = StreamedText(CleaningRule())
    streamed.feed("Hello")
    assert streamed.rest("Goodbye") is None
