"""`render` against transformers' own `apply_chat_template`, on real templates. No weights, no torch."""

from __future__ import annotations

import pytest

from playbill.backends.errors import MessageError, TemplateFault, TemplateRefusal
from playbill.backends.prompt.template import render
from support.assets import chat_templates, vocabularies
from support.parity import SPECIAL_TOKENS, difference, outcome


def message(role, content, **more):
    return {"role": role, "content": content, **more}


HELLO = message("user", "Hello, who are you?")
REPLY = message("assistant", "I am a test. What now?")
NEXT = message("user", "  Guess the word: it is round.\n")
CALL = {
    "type": "function",
    "id": "call00001",
    "function": {"name": "look", "arguments": {"where": "box", "n": 2}},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look somewhere <here> & there",
        "parameters": {"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]},
    },
}
MARKUP = "Grüße, 你好 🎲 \u202eabc\u200b <b>&amp;</b> {{ x }} {% if %} <|im_end|> </s> [INST] \\n \" ' \t\r\n"

# Each shape is the messages and the variables that go with them.
SHAPES = {
    "plain": ([HELLO], {}),
    "system": ([message("system", "Be brief."), HELLO], {}),
    "dialogue": ([message("system", "Be brief."), HELLO, REPLY, NEXT], {}),
    "long history": ([message("system", "Be brief."), *[HELLO, REPLY] * 60, NEXT], {}),
    "two users in a row": ([HELLO, NEXT], {}),
    "two assistants in a row": ([HELLO, REPLY, REPLY, NEXT], {}),
    "empty system": ([message("system", ""), HELLO, REPLY, NEXT], {}),
    "system in the middle": ([HELLO, REPLY, message("system", "Now be long."), NEXT], {}),
    "unicode and markup": (
        [message("system", MARKUP), message("user", MARKUP), message("assistant", MARKUP), NEXT],
        {},
    ),
    "assistant first": ([REPLY, HELLO], {}),
    "assistant last": ([HELLO, REPLY], {}),
    "content parts": (
        [message("user", [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}])],
        {},
    ),
    "image part": ([message("user", [{"type": "image"}, {"type": "text", "text": "What is it?"}])], {}),
    "unknown role": ([HELLO, message("narrator", "Night falls."), NEXT], {}),
    "thinking off": (
        [HELLO, REPLY, NEXT],
        {"enable_thinking": False, "thinking": False, "reasoning_effort": "low"},
    ),
    "thinking on": (
        [HELLO, REPLY, NEXT],
        {"enable_thinking": True, "thinking": True, "date_string": "1 Jan 2020"},
    ),
    "thinking inside": ([HELLO, message("assistant", "<think>\nHm.\n</think>\n\nA ball."), NEXT], {}),
    "thinking apart": ([HELLO, message("assistant", "A ball.", reasoning="Hm."), NEXT], {}),
    "no content": ([HELLO, message("assistant", None, tool_calls=None, thinking="Hm."), NEXT], {}),
    "empty tools": ([HELLO], {"tools": [], "documents": []}),
    "tools": ([HELLO], {"tools": [TOOL]}),
    "tool call": (
        [
            HELLO,
            message("assistant", None, tool_calls=[CALL]),
            message("tool", "a ball", tool_call_id="call00001"),
        ],
        {"tools": [TOOL]},
    ),
    "documents": ([HELLO], {"documents": [{"title": "Balls", "text": "Balls are round."}]}),
}


def template_inside(path):
    """The value of a GGUF file's text key, without a reader's minute: key, type 8, length, text."""
    content = path.read_bytes()
    start = content.find(b"tokenizer.chat_template\x08\0\0\0")
    if start < 0:
        return ""
    start += len(b"tokenizer.chat_template\x08\0\0\0")
    length = int.from_bytes(content[start : start + 8], "little")
    return content[start + 8 : start + 8 + length].decode()


@pytest.fixture(scope="module")
def templates():
    """Every real template at hand: the archive's own, and those inside its GGUF files."""
    inside = {path.name: template_inside(path) for path in vocabularies()}
    return chat_templates() | {name: template for name, template in inside.items() if template}


def test_there_are_seventy_templates_in_the_archive_and_some_in_vocabularies(templates):
    """Parity is shown on all the templates that there are, not on those that happened to be found."""
    assert len(chat_templates()) == 70
    assert len(templates) == 75


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_render_gives_what_transformers_gives(templates, theirs, shape, add_generation_prompt):
    """On every real template the text is the same, and what one refuses both refuse in the same words."""
    messages, variables = SHAPES[shape]
    differences = {
        name: difference(theirs, template, messages, add_generation_prompt=add_generation_prompt, **variables)
        for name, template in templates.items()
    }
    assert {name: said for name, said in differences.items() if said} == {}


def test_both_outcomes_occur(templates):
    """The comparison has something to compare: some real templates refuse and most of them render."""
    messages, variables = SHAPES["two users in a row"]
    outcomes = [outcome(render, template, messages, **SPECIAL_TOKENS, **variables) for template in templates.values()]
    assert sum(isinstance(found, TemplateRefusal) for found in outcomes) >= 5
    assert sum(isinstance(found, str) for found in outcomes) >= 50


# What real templates rarely do, but may; each is compared like them.
CORNERS = {
    "generation": "{% generation %}{% set x = 1 %}{{ messages[0].content }}{% endgeneration %}[{{ x }}]",
    "break": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "break in generation": "{% for m in [1] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "blocks": "  {% if true %}\n    a\n  {% endif %}\nb\n  {# c #}\nd\n",
    "tojson": "{{ messages|tojson }}{{ messages|tojson(indent=2, sort_keys=true, separators=(',', ':')) }}",
    "ascii": "{{ messages|tojson(ensure_ascii=true) }}{{ '<ü>'|tojson }}",
    "undefined": "[{{ nothing }}][{{ messages[0].nothing }}][{{ nothing is defined }}]",
    "undefined deeper": "line 1\n{{ nothing.at.all }}",
    "undefined to json": "{{ nothing|tojson }}",
    "none": "{{ tools }}{{ documents }}{{ tools is none }}{{ add_generation_prompt }}",
    "namespace": "{% set ns = namespace(a=1, self=2) %}{% set ns.a = 5 %}{{ ns.a }}{{ ns.self }}",
    "dict": "{{ dict(a=1, b=2) }}{{ dict.fromkeys([1, 2]) }}",
    "mutation": "{{ messages.append(1) }}",
    "date": "{{ strftime_now('%d %b %Y') }}",
    "macro": "{% macro m(x) %}<{{ x }}{{ caller() }}>{% endmacro %}{% call m('&') %}b{% endcall %}",
    "include": "{% include 'other' %}",
    "do": "{% do messages %}",
    "refusal of nothing": "{{ raise_exception(nothing) }}",
    "range": "{{ range(10**6)|length }}",
    "division": "{{ 1 / 0 }}",
    "sum": "{{ 'a' + 1 }}",
    "filter": "{{ 'a'|nothing }}",
    "escape": "{{ '<' }}{{ '<'|e }}{{ ('<'|e) + '<' }}",
    "keys": "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{{ messages[0]|length }}",
}
ODD_MESSAGES = [
    message("user", "a", zero=0, yes=True, no=False, number=1.5, big=10**30, nan=float("nan"), gone=None),
    message("assistant", [1, "b", None, {"deep": [{}]}], pair=(1, "two"), reasoning_content="", thinking=None),
]


@pytest.mark.parametrize("corner", CORNERS)
def test_corners_of_the_environment_are_those_of_transformers(theirs, corner):
    """White space, globals, filters, undefined names and JSON's odd values come out as they do there."""
    assert difference(theirs, CORNERS[corner], ODD_MESSAGES) == ""


@pytest.mark.parametrize(
    "template", ["{% set ns = namespace(_a=1) %}", "{% set ns = namespace() %}{% set ns._a = 1 %}"]
)
def test_private_names_on_a_namespace_are_refused_by_both(theirs, template):
    """No name with an underscore in front gets onto a namespace, set at once or later."""
    assert type(outcome(theirs, template, [HELLO])).__name__ == "SecurityError"
    assert outcome(render, template, [HELLO]).fault is TemplateFault.FORBIDDEN


def test_the_caller_s_messages_stay_as_they_are():
    """Rendering works on a copy, though it adds keys for reasoning and drops those that are None."""
    messages = [message("assistant", None, reasoning="Hm.")]
    assert render("{{ messages }}", messages) == str(
        [{"thinking": "Hm.", "role": "assistant", "reasoning": "Hm.", "reasoning_content": "Hm."}]
    )
    assert messages == [message("assistant", None, reasoning="Hm.")]


def test_an_empty_conversation_is_refused_by_both(theirs):
    """Neither function renders no messages at all."""
    assert isinstance(outcome(theirs, "a", []), ValueError)
    assert isinstance(outcome(render, "a", []), MessageError)
