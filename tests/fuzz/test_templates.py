"""Chat templates and response templates of strangers: a text, or a TemplateError; the worker goes on."""

from __future__ import annotations

import contextlib
import json

from hypothesis import strategies as st

import support.proof_planted as planted
from playbill.backends.errors import MessageError, TemplateError
from playbill.backends.prompt.template import (
    GENERIC_TEMPLATE,
    check_syntax,
    render,
    response_regions,
    template_variables,
)
from support.fuzzing import fuzz
from support.mutations import json_bytes, json_values, mutated_bytes, written
from support.response_templates import TEMPLATES

CALL = {"function": {"name": "f", "arguments": {}}}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": [{"type": "text", "text": "a"}], "tool_calls": [CALL]},
]
PIECES = (
    *("{% for m in messages %}", "{% endfor %}", "{{ m.content }}", "{{ messages | tojson }}", "{% set ns.x = 1 %}"),
    *("{{ raise_exception('no') }}", "{% if m.role == 'system' %}", "{% else %}", "{% endif %}", "{{ '%s' % m }}"),
    *("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "{{ ''.__class__ }}", "{{ 'x' * 10 ** 9 }}"),
    *("{{ range(10 ** 9) | list }}", "{{ 2 ** 10 ** 9 }}", "{{ strftime_now('%Y' * 99) }}", "{% generation %}"),
    *("{{ messages | map('tojson') | join }}", "{{ 'a' | replace('', 'b' * 999) }}", "{% include 'x' %}", "{{ self }}"),
)  # fmt: skip
TEXTS = st.sampled_from((GENERIC_TEMPLATE, planted.CHATML, planted.GATED))


@st.composite
def templates(draw):
    """A template with pieces of others in it, cut and spliced."""
    content = draw(TEXTS)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.sampled_from(PIECES)) + content[place:]
    return draw(mutated_bytes(content.encode())).decode(errors="replace")


@fuzz(st.tuples(templates(), json_bytes([TALK])), quick=30)
def test_a_chat_template(example, place):
    """With messages of any form."""
    template, messages = example
    try:
        found = json.loads(messages)
    except (ValueError, RecursionError):
        found = TALK
    for job in (check_syntax, template_variables):
        with contextlib.suppress(TemplateError):
            job(template)
    with contextlib.suppress(TemplateError, MessageError):
        assert isinstance(render(template, found, add_generation_prompt=True), str)
    assert render("{{ 1 }}", TALK) == "1"


PATTERNS = (r"(a+)+$", r"(?s).*", "(", r"(?P<x>a)(?P=x)", r"\s*(?:<\|im_end\|>)", "[" * 50, "(?i)é", r"a{99999}")
RESPONSES = [*TEMPLATES.values(), {**TEMPLATES["qwen"], "fields": {"content": {"open_pattern": PATTERNS[0]}}}]
ANSWER = "<think>Hm.</think>\n\nHello<|im_end|><|channel|>final<|message|>a" + "a" * 40 + "=>b"


@st.composite
def responses(draw):
    """A response template with values of other types, and other patterns, in it."""
    text = written(draw(json_values(RESPONSES))).decode()
    if draw(st.booleans()):
        text = text.replace('"<think>"', json.dumps(draw(st.sampled_from(PATTERNS))))
    return text


@fuzz(st.tuples(responses(), mutated_bytes(ANSWER.encode())), quick=30)
def test_a_response_template(example, place):
    """With any text, which its regions are parts of."""
    template, answer = example
    try:
        found = json.loads(template)
    except (ValueError, RecursionError):
        found = {}
    text = answer.decode(errors="replace")
    with contextlib.suppress(TemplateError):
        for region in response_regions(found, "", text):
            assert region.text in text
