"""Templates and messages that nobody thought of: no hang, no error but Playbill's own, and parity."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playbill.backends.errors import MessageError, ParameterError, TemplateError
from playbill.backends.prompt.template import template_variables
from playbill.backends.prompt.template._process import Worker, WorkerLimits
from playbill.backends.prompt.template._render import render_in
from support.assets import chat_templates
from support.parity import difference

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
TEXT = st.text() | st.sampled_from(["", " a ", "<think>b</think>c", "<|im_end|>", "{{ x }}"])
PARTS = st.lists(st.fixed_dictionaries({"type": st.sampled_from(["text", "image"]), "text": TEXT}), max_size=3)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]) | TEXT, "content": TEXT | PARTS | JSON},
    optional={"reasoning_content": TEXT, "tool_calls": st.none() | st.lists(JSON, max_size=2), "name": JSON},
)
MESSAGES = st.lists(MESSAGE, min_size=1, max_size=5)
SHARED = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

# Pieces that fit together often enough to get past the parser, and cost nothing in the other function.
PIECES = """
{% for m in messages %}
{% endfor %}
{% if m.role == 'user' %}
{% else %}
{% endif %}
{{ m.content }}
{{- m['role'] -}}
{{ loop.index0 }}
{% set x = m %}
{{ x }}
{{ messages|tojson }}
{{ messages[0].content|trim }}
{{ messages[-1]['role'][1:] }}
{% generation %}
{% endgeneration %}
{% break %}
{% continue %}
{{ nothing.at.all }}
{% macro f(a) %}
{% endmacro %}
{{ f(1) }}
{{ caller() }}
{# no #}
{% raw %}
{{ raise_exception('no') }}
{{ namespace(a=messages).a|length }}
{{ messages|first|items|list }}
{{ 1 / 0 }}
{{ 'a' ~ 1 ~ none }}
{{ '%s' % messages }}
{{ messages|map(attribute='x')|list }}
ü }}
"""
WORDS = """
{{ }} {% %} {# #} -%} {%- for in if endfor endif set macro call filter block include raw recursive
messages range namespace dict lipsum cycler tojson x loop self attr map join format __class__
( ) [ ] . | ~ * ** % = , 10 99999 'a' '%s'
"""
PIECE = st.sampled_from([*PIECES.strip().splitlines(), "\n", "  "])
WORD = st.sampled_from([*WORDS.split(), "\n"])
TEMPLATE = (
    st.text()
    | st.lists(PIECE, max_size=12).map("".join)
    | st.lists(WORD, max_size=30).map(" ".join)
    | st.lists(WORD, max_size=12).map(lambda words: "{{ " + " ".join(words) + " }}")
)


@pytest.fixture(scope="module")
def worker():
    with Worker(WorkerLimits(seconds=0.5, memory=1 << 28)) as worker:
        yield worker


@SHARED
@given(template=TEMPLATE, messages=MESSAGES)
def test_any_template_renders_or_ends_in_a_template_error(worker, template, messages):
    """Whatever the text, it gives text or a TemplateError, and the worker goes on."""
    try:
        text = render_in(worker, template, messages)
    except TemplateError as error:
        text = str(error)
    assert isinstance(text, str)
    assert render_in(worker, "{{ 1 }}", messages) == "1"


@SHARED
@given(template=TEMPLATE)
def test_the_variables_of_any_template_are_names_or_it_is_refused(template):
    """Reading a template's variables ends as well."""
    try:
        names = template_variables(template)
    except TemplateError:
        names = frozenset()
    assert all(isinstance(name, str) for name in names)


@SHARED
@given(
    messages=JSON | st.lists(JSON) | MESSAGES,
    variables=st.dictionaries(st.text(min_size=1), JSON, max_size=3),
)
def test_any_messages_render_or_are_refused_with_their_place(worker, messages, variables):
    """Lists, numbers and objects in the place of messages are Playbill's errors, never Python's."""
    variables = {name: value for name, value in variables.items() if name not in ("worker", "template", "date")}
    try:
        text = render_in(worker, "{{ messages|length }}", messages, **variables)
    except (MessageError, ParameterError):
        text = None
    fit = isinstance(messages, list) and messages and all(isinstance(message, dict) for message in messages)
    assert text is None or (fit and text == str(len(messages)))


@SHARED
@given(data=st.data(), messages=MESSAGES)
def test_real_templates_render_any_messages_as_transformers_does(theirs, data, messages):
    """Parity isn't a matter of well-chosen conversations."""
    name = data.draw(st.sampled_from(sorted(chat_templates())))
    assert difference(theirs, chat_templates()[name], messages, add_generation_prompt=True) == ""


@SHARED
@given(template=st.lists(PIECE, max_size=10).map("".join), messages=MESSAGES)
def test_made_up_templates_render_as_in_transformers(theirs, template, messages):
    """Nor is it a matter of well-chosen templates."""
    assert difference(theirs, template, messages) == ""
