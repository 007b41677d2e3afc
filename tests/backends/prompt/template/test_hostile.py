"""Hostile templates, and the errors that templates end in."""

from __future__ import annotations

from contextlib import suppress

import pytest

from playbill.backends.errors import TemplateError, TemplateFault, TemplateRefusal
from playbill.backends.prompt.template import GENERIC_TEMPLATE, check_syntax, render, template_variables
from playbill.backends.prompt.template._process import Worker, WorkerLimits
from playbill.backends.prompt.template._render import render_in

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def worker():
    """A worker with less patience than the usual one."""
    with Worker(WorkerLimits(seconds=1.0, memory=1 << 28, output=100_000)) as worker:
        yield worker


REACHING = {
    "class": "{{ ''.__class__ }}",
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "attr": "{{ ''|attr('__class__') }}",
    "attr in pieces": "{{ ''|attr('__cl' ~ 'ass__') }}",
    "item": "{{ raise_exception['__globals__'] }}",
    "map": "{{ ['']|map(attribute='__class__')|list }}",
    "globals of a global": "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "globals of ours": "{{ strftime_now.__globals__ }}",
    "closure": "{{ strftime_now.__closure__ }}",
    "init of a global": "{{ cycler.__init__.__globals__.os }}",
    "self": "{{ self.__init__.__globals__ }}",
    "format": "{{ '{0.__class__}'.format(1) }}",
    "format_map": "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "format in a name": "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
    "sort": "{{ [1]|sort(attribute='__class__') }}",
    "select": "{{ [1]|selectattr('__class__')|list }}",
    "group": "{{ [1]|groupby('__class__') }}",
    "dict": "{{ dict.__class__.__base__ }}",
    "namespace": "{{ namespace.__init__.__globals__ }}",
    "namespace attribute": "{% set ns = namespace(__class__=1) %}",
    "macro": "{% macro m() %}{% endmacro %}{{ m.__call__.__globals__ }}",
    "generator": "{{ (messages|map('upper')).gi_frame.f_globals }}",
    "mutation": "{{ messages.append(1) }}",
    "update": "{{ messages[0].update({'a': 1}) }}",
}


@pytest.mark.parametrize("attack", REACHING)
def test_python_s_internals_are_out_of_reach(worker, attack):
    """Whatever way a template takes towards Python's internals, it ends in an error and not in output."""
    with pytest.raises(TemplateError) as caught:
        render_in(worker, REACHING[attack], HELLO)
    assert caught.value.fault in (TemplateFault.FORBIDDEN, TemplateFault.UNDEFINED)


DOUBLING = "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}"
LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
COSTLY = {
    "endless loops": LOOP,
    "loops that collect": LOOP.replace("{% endfor %}", "{{ i }}{% endfor %}"),
    "one endless step": "{{ 7 ** (7 ** 9) % 2 }}",
    "multiplied text": "{{ 'a' * 10 ** 10 }}",
    "multiplied list": "{{ ([0] * 10 ** 10)|length }}",
    "absurdly multiplied": "{{ 'a' * 10 ** 30 }}",
    "padding by percent": "{{ '%1000000000d' % 1 }}",
    "padding by format": "{{ '{:1000000000}'.format(1) }}",
    "padding by center": "{{ 'a'|center(10 ** 10) }}",
    "padding by ljust": "{{ 'a'.ljust(10 ** 10) }}",
    "doubling": DOUBLING,
    "replacing": "{% set s = 'a' * 100000 %}{{ s.replace('a', s) }}",
    "range": "{{ range(10 ** 10)|list }}",
    "output flood": "{% for i in range(99999) %}{{ 'flood' }}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "branching": "{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a loop in itself": "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "lorem ipsum": "{{ lipsum(n=10 ** 8) }}",
    "a date": "{{ strftime_now('%A' * 10 ** 7) }}",
    "indentation": "{{ messages|tojson(indent=10 ** 9) }}",
    "deep parentheses": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "deep lists": "{{ " + "[" * 5_000 + "]" * 5_000 + " }}",
    "deep blocks": "{% if 1 %}" * 500 + "{% endif %}" * 500,
    "long chain": "{{ a" + ".a" * 100_000 + " }}",
    "long sum": "{{ 1" + " + 1" * 20_000 + " }}",
    "many nots": "{{ " + "not " * 50_000 + "1 }}",
    "folded while compiling": "{{ ('a' * 10 ** 9) ~ ('b' * 10 ** 9) }}",
    "slow filters": "{{ ('a' * 30000)|wordwrap(1)|urlize|title|striptags }}" * 200,
}


@pytest.mark.parametrize("attack", COSTLY)
def test_a_template_that_costs_too_much_is_stopped(worker, attack):
    """Loops, memory, recursion and floods end in a TemplateError, and the next template renders as ever."""
    with pytest.raises(TemplateError):
        render_in(worker, COSTLY[attack], HELLO)
    assert render_in(worker, "{{ messages[0].content }}", HELLO) == "Hello"


@pytest.mark.parametrize(
    ("attack", "fault"),
    [
        ("endless loops", TemplateFault.TIME),
        ("one endless step", TemplateFault.TIME),
        ("multiplied text", TemplateFault.MEMORY),
        ("doubling", TemplateFault.MEMORY),
        ("output flood", TemplateFault.OUTPUT),
        ("recursion", TemplateFault.RECURSION),
    ],
)
def test_the_error_says_what_it_was_that_cost_too_much(worker, attack, fault):
    """Time, memory, output and recursion are told apart, so that a check can say which."""
    with pytest.raises(TemplateError) as caught:
        render_in(worker, COSTLY[attack], HELLO)
    assert caught.value.fault is fault


@pytest.mark.parametrize("template", [LOOP, DOUBLING, "{{ " + "(" * 50_000])
def test_parsing_and_checking_are_as_well_guarded_as_rendering(template):
    """A hostile template meets the public functions under their usual limits."""
    for function in (check_syntax, template_variables):
        with suppress(TemplateError):
            function(template)
    with pytest.raises(TemplateError):
        render(template, HELLO)
    assert render("{{ messages[0].content }}", HELLO) == "Hello"


def test_a_template_too_long_to_be_one_is_refused():
    """A file of a million characters and more isn't parsed at all."""
    with pytest.raises(TemplateError, match="limit"):
        render("a" * 1_000_001, HELLO)


def test_errors_have_the_line_and_the_template_s_own_words():
    """Syntax errors, undefined names and refusals say where and what."""
    with pytest.raises(TemplateError, match="line 2") as syntax:
        check_syntax("a\n{% for %}")
    assert (syntax.value.fault, syntax.value.line) == (TemplateFault.SYNTAX, 2)
    with pytest.raises(TemplateError, match=r"line 3.*has no attribute 'foo'") as undefined:
        render("a\n\n{{ messages.foo.bar }}", HELLO)
    assert (undefined.value.fault, undefined.value.line) == (TemplateFault.UNDEFINED, 3)
    with pytest.raises(TemplateRefusal) as refusal:
        render("{{ raise_exception('No ' ~ messages[0].role ~ '!') }}", HELLO)
    assert (str(refusal.value), refusal.value.fault) == ("No user!", TemplateFault.REFUSED)


def test_the_words_of_a_refusal_are_bounded():
    """A template that refuses with a novel doesn't fill the log with it."""
    with pytest.raises(TemplateRefusal) as refusal:
        render("{{ raise_exception('no' * 1000000) }}", HELLO)
    assert len(str(refusal.value)) == 4000


def test_variables_are_those_that_the_caller_may_give():
    """What the template sets, loops over, or is given by every environment isn't among them."""
    template = (
        "{% set a = 1 %}{% for m in messages %}{{ m.b }}{{ a }}{{ loop.index }}{% endfor %}{{ range(2) }}"
        "{% generation %}{{ enable_thinking }}{% endgeneration %}{{ namespace() }}{{ strftime_now('%d') }}"
        "{% if tools %}{{ raise_exception(bos_token|default('')) }}{% endif %}"
    )
    assert template_variables(template) == {"messages", "enable_thinking", "tools", "bos_token"}
    assert template_variables(GENERIC_TEMPLATE) == {"messages", "add_generation_prompt"}
    with pytest.raises(TemplateError, match="line 1"):
        template_variables("{{ x")


def test_a_long_honest_history_is_no_attack():
    """Ten thousand messages render within the usual limits."""
    history = [{"role": ("user", "assistant")[i % 2], "content": f"Message {i}. " * 20} for i in range(10_000)]
    text = render(GENERIC_TEMPLATE, history)
    assert text.count("<|im_end|>") == 10_000
    assert text.endswith("Message 9999. <|im_end|>\n")
