"""What callers give to `render`: which values travel, unchanged, and what is said of those that can't."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from zoneinfo import ZoneInfo

import pytest

from playbill.backends.errors import MessageError, ParameterError, TemplateError
from playbill.backends.prompt.template import GENERIC_TEMPLATE, check_syntax, render

HELLO = [{"role": "user", "content": "Hello"}]


class Role(enum.StrEnum):
    USER = "user"


def nested(depth):
    value = "bottom"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("Hello", "messages: a list of messages was expected, not str"),
        (None, "messages: a list of messages was expected, not None"),
        ({"role": "user"}, "messages: a list of messages was expected, not dict"),
        ([], "messages: the list is empty"),
        (["Hello"], r"messages\[0\]: an object with role and content was expected, not str"),
        ([HELLO], r"messages\[0\]: an object with role and content was expected, not list"),
        ([*HELLO, {"role": "user", "content": b"x"}], r"messages\[1\]\.content: bytes is no JSON value"),
        (
            [{"content": [{"image": object()}]}],
            r"messages\[0\]\.content\[0\]\.image: object is no JSON value",
        ),
        ([{"content": {1: "a"}}], r"messages\[0\]\.content: the key 1 is int"),
        ([{1: "a"}], r"messages\[0\]: the key 1 is int"),
        ([{"content": {1, 2}}], r"messages\[0\]\.content: set is no JSON value"),
        ([{"content": nested(300)}], "nested deeper than 200 levels"),
    ],
)
def test_malformed_messages_are_refused_with_their_place(messages, said):
    """The error names the message and the path in it, before any template runs."""
    with pytest.raises(MessageError, match=said):
        render("a", messages)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"tools": [len]}, r"tools\[0\]: an object was expected, not builtin_function_or_method"),
        ({"tools": "look"}, "tools: a list of objects was expected, not str"),
        ({"documents": ["text"]}, r"documents\[0\]: an object was expected, not str"),
        ({"extra": {"a": [0, 1j]}}, r"extra\.a\[1\]: complex is no JSON value"),
        ({"extra": {(1, 2): 0}}, r"extra: the key \(1, 2\) is tuple"),
        ({"continue_final_message": True}, "continue_final_message: no template variable"),
        ({"tokenize": False}, "tokenize: no template variable"),
    ],
)
def test_malformed_variables_are_refused_with_their_place(variables, said):
    """A function, a complex number or an argument meant for something else is named."""
    with pytest.raises(ParameterError, match=said):
        render("a", HELLO, **variables)


def test_a_date_must_be_a_datetime():
    """A text in its place is refused, not shown to the template."""
    with pytest.raises(ParameterError, match="date: a datetime was expected, not str"):
        render("a", HELLO, date="2026-01-01")


@pytest.mark.parametrize("template", [None, 3, b"bytes"])
def test_a_template_that_is_no_text_is_refused(template):
    """A model without a template is an error here, not a traceback from inside."""
    with pytest.raises(TemplateError, match="a chat template is text"):
        render(template, HELLO)
    with pytest.raises(TemplateError, match="a chat template is text"):
        check_syntax(template)


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            0,
            -1,
            1.5,
            1e300,
            10**40,
            "",
            "a",
            [],
            {},
            (),
            [None],
            (1, 2),
            {"a": {"b": [1, (2,)]}},
        ),
        *(float("inf"), float("nan"), "\ud83d", "\ud83d\ude00", "😀", "a\0b", "\r\n\u2028", nested(150)),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_value_arrives_as_it_is(value):
    """Numbers, odd text, lone surrogates and tuples print in a template as they do in Python."""
    assert render("{{ value }}", HELLO, value=value) == str(value)


def test_subclasses_and_mappings_arrive_as_plain_values():
    """An enum is its text and any mapping an object, so templates see nothing with methods of its own."""
    messages = (MappingProxyType({"role": Role.USER, "content": enum.IntEnum("N", "ONE").ONE}),)
    assert render("{{ messages }}", messages) == "[{'role': 'user', 'content': 1}]"


def test_the_date_is_the_caller_s():
    """Templates that print the date print the given one, zone and all; without one it is today."""
    template = "{{ strftime_now('%Y-%m-%d %H:%M:%S.%f %Z %z') }}"
    assert render(template, HELLO, date=datetime(2020, 2, 29, 1, 2, 3, 4)) == "2020-02-29 01:02:03.000004  "
    berlin = datetime(2020, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert render(template, HELLO, date=berlin) == berlin.strftime("%Y-%m-%d %H:%M:%S.%f %Z %z")
    fixed = datetime(2020, 7, 1, tzinfo=timezone(timedelta(hours=-3)))
    assert render(template, HELLO, date=fixed) == fixed.strftime("%Y-%m-%d %H:%M:%S.%f %Z %z")
    before = datetime.now()
    shown = datetime.fromisoformat(render("{{ strftime_now('%Y-%m-%dT%H:%M:%S.%f') }}", HELLO))
    assert before <= shown <= datetime.now()


def test_the_generic_template_writes_chatml():
    """System, user and assistant in ChatML, an open turn at the end if asked, text parts joined."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two."}]},
        {"role": "assistant", "content": None},
    ]
    text = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne. Two.<|im_end|>\n"
        "<|im_start|>assistant\n<|im_end|>\n"
    )
    assert render(GENERIC_TEMPLATE, messages) == text
    assert render(GENERIC_TEMPLATE, messages, add_generation_prompt=True) == text + "<|im_start|>assistant\n"
    with pytest.raises(TemplateError, match="text only, not image"):
        render(GENERIC_TEMPLATE, [{"role": "user", "content": [{"type": "image"}]}])
