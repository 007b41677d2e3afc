"""Messages: what is refused, what is changed on the way, and that each change is told."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbill.backends import MessageError
from playbill.backends.prompt.messages import check_messages, prepare


def m(role, content, **more):
    return {"role": role, "content": content, **more}


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ("hello", "messages:"),
        (None, "messages:"),
        ([], "messages:"),
        ({"role": "user"}, "messages:"),
        ([m("user", "a"), "b"], "messages[1]:"),
        ([{"content": "a"}], "messages[0].role:"),
        ([m("", "a")], "messages[0].role:"),
        ([m(["user"], "a")], "messages[0].role:"),
        ([{"role": "user"}], "messages[0].content:"),
        ([m("assistant", None)], "messages[0].content:"),
        ([m("user", 3)], "messages[0].content:"),
        ([m("user", ["a"])], "messages[0].content[0]:"),
        ([m("user", [{"type": "text"}])], "messages[0].content[0].text:"),
        ([m("user", "\ud800")], "messages[0].content:"),
        ([m("user", [{"type": "text", "text": "\ud800"}])], "messages[0].content[0].text:"),
        ([m("user", "a", image=[b"x"])], "messages[0].image[0]:"),
        ([m("user", "a", x=float("nan"))], "messages[0].x:"),
        ([m("user", "a", x={1: 2})], "messages[0].x:"),
    ],
)
def test_malformed_messages_are_refused_with_their_place(messages, place):
    """The message begins with where the fault is."""
    with pytest.raises(MessageError) as e:
        check_messages(messages)
    assert str(e.value).startswith(place)


def test_the_callers_messages_are_never_changed_nor_kept():
    """Work is done on a copy, all the way down."""
    given_ = [m("system", ""), m("user", [{"type": "text", "text": "a"}]), m("user", "b", image=["i"])]
    before = copy.deepcopy(given_)
    prepared = prepare(given_)
    given_[1]["content"][0]["text"] = "changed"
    assert prepared.messages[0]["content"][0]["text"] == "a"
    given_[1]["content"][0]["text"] = "a"
    assert given_ == before


def test_messages_of_one_role_are_merged_with_a_blank_line():
    """The default, as clembench does; each change is told with the place in the list as it was given."""
    prepared = prepare(
        [m("system", ""), m("user", "a"), m("user", "b"), m("assistant", "c"), m("user", "d"), m("user", "e")]
    )
    assert prepared.messages == (m("user", "a\n\nb"), m("assistant", "c"), m("user", "d\n\ne"))
    assert prepared.changes == (
        "dropped messages[0], an empty system message",
        "merged messages[2] into the user message before it",
        "merged messages[5] into the user message before it",
    )


def test_merging_keeps_images_and_parts():
    """clembench's image lists are joined, and so are parts."""
    image = {"type": "image_url", "image_url": {"url": "x"}}
    merged = prepare([m("user", "a", image=["1"]), m("user", [image], image="2")]).messages
    assert merged == (m("user", [{"type": "text", "text": "a"}, image], image=["1", "2"]),)


def test_keep_sends_what_it_was_given():
    """Nothing is merged or dropped, and nothing told."""
    given_ = [m("system", ""), m("user", "a"), m("user", "b")]
    prepared = prepare(given_, consecutive_roles="keep")
    assert (list(prepared.messages), prepared.changes) == (given_, ())


def test_error_refuses_a_row_and_names_the_key():
    """With the place in the list as it was given."""
    with pytest.raises(
        MessageError, match=r"messages\[2\]\.role: 'user' twice in a row; the entry's 'consecutive_roles'"
    ):
        prepare([m("system", "s"), m("user", "a"), m("user", "b")], consecutive_roles="error")


def test_folding_puts_the_system_message_into_the_first_user_message():
    """For templates without a system role; its image goes with it, and the change is told."""
    prepared = prepare([m("system", "s", image=["i"]), m("assistant", "x"), m("user", "a")], system_role="fold")
    assert prepared.messages == (m("assistant", "x"), m("user", "s\n\na", image=["i"]))
    assert prepared.changes == ("folded messages[0], a system message, into the first user message",)
    assert prepare([m("system", "s")], system_role="fold").messages == (m("user", "s"),)
    two = prepare([m("system", "s"), m("system", "t"), m("user", "a")], system_role="fold", consecutive_roles="keep")
    assert two.messages == (m("user", "s\n\nt\n\na"),)


def test_tool_results_are_never_merged():
    """Each answers its own call."""
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    given_ = [m("user", "a"), call, m("tool", "1"), m("tool", "2")]
    assert list(prepare(given_).messages) == given_


def test_nothing_but_an_empty_system_message_is_refused():
    """There would be nothing to send."""
    with pytest.raises(MessageError):
        prepare([m("system", "")])


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": st.text(max_size=4)}
    ),
    min_size=1,
    max_size=8,
)


@given(MESSAGES)
def test_after_merging_no_two_neighbours_have_one_role_and_no_text_is_lost(messages):
    """Whatever the row; only empty system messages go."""
    try:
        prepared = prepare(messages)
    except MessageError:
        assert all(x == m("system", "") for x in messages)
        return
    roles = [x["role"] for x in prepared.messages]
    assert all(a != b or a == "tool" for a, b in pairwise(roles))
    assert "".join("".join(x["content"].split()) for x in prepared.messages) == "".join(
        "".join(x["content"].split()) for x in messages
    )
    assert prepare(list(prepared.messages)).messages == prepared.messages


ANYTHING = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(st.characters(), max_size=3) | st.binary(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "tool_calls"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(ANYTHING, st.sampled_from(["merge", "keep", "error"]), st.sampled_from(["native", "fold"]))
def test_anything_is_prepared_or_refused(messages, rows, system):
    """No value makes any other error."""
    try:
        assert prepare(messages, consecutive_roles=rows, system_role=system).messages
    except MessageError as e:
        assert str(e).startswith("messages")  # noqa: PT017 - which of the two happens is the fuzzer's choice
