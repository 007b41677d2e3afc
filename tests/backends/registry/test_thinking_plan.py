"""What an entry says of thinking, judged by its model's family: one key for all services, translated or refused."""

from __future__ import annotations

from importlib import import_module

import pytest

from playbill.backends import EntryError, ParameterError, load_model
from playbill.backends.registry.hosted_models import judge_hosted_model
from playbill.backends.registry.service_models import model_families
from playbill.backends.registry.services import SERVICES
from playbill.backends.registry.thinking_plan import ThinkingProblem, plan_thinking

pytest.importorskip("openai", reason="needs the extra `openai`")
HELLO = ({"role": "user", "content": "hello"},)
FAMILIES = [
    (service, family)
    for family in model_families()
    for service in sorted(family.services)
    if service not in family.retired
]


_REST = ("model", "messages", "contents", "plugins", "provider")


def body(backend, model_id, params=None, **entry):
    """The request's body without the messages, and without what every request to OpenRouter has."""
    wire = import_module(f"playbill.backends.engines.remote.wires.{SERVICES[backend].wire}")
    whole = {"model_name": "m", "backend": backend, "model_id": model_id, "base_url": "http://x/v1", **entry}
    found = wire.request_body(whole, HELLO, params or {})
    return {name: value for name, value in found.items() if name not in _REST}


@pytest.mark.parametrize(
    ("backend", "model_id", "entry", "sent"),
    [
        ("anthropic", "claude-haiku-5-5", {"thinking": "off"}, {"max_tokens": 300, "thinking": {"type": "disabled"}}),
        (
            "anthropic",
            "claude-sonnet-5-5",
            {"thinking": "off"},
            {"max_tokens": 300, "thinking": {"type": "between_tools"}},
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            {},
            {"max_tokens": 16300, "thinking": {"type": "adaptive", "display": "summarized"}},
        ),
        (
            "anthropic",
            "claude-opus-5",
            {"thinking": "off", "reasoning_effort": "low"},
            {"max_tokens": 300, "thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        ),
        (
            "anthropic",
            "claude-haiku-4-5",
            {"thinking": "on", "max_thinking_tokens": 2000},
            {"max_tokens": 2300, "thinking": {"type": "enabled", "budget_tokens": 2000}},
        ),
        (
            "openai",
            "gpt-5.6",
            {"thinking": "off"},
            {"temperature": 0.0, "max_completion_tokens": 300, "reasoning_effort": "none"},
        ),
        ("openai", "gpt-5.6", {}, {"max_completion_tokens": 25300}),
        ("openai", "gpt-5.1", {}, {"max_completion_tokens": 300, "temperature": 0.0}),
        ("openai", "gpt-5.1", {"reasoning_effort": "low"}, {"max_completion_tokens": 25300, "reasoning_effort": "low"}),
        (
            "google",
            "gemini-2.5-flash",
            {"thinking": "off"},
            {"generationConfig": {"temperature": 0.0, "maxOutputTokens": 300, "thinkingConfig": {"thinkingBudget": 0}}},
        ),
        (
            "google",
            "gemini-3.8-flash",
            {"thinking": "on", "reasoning_effort": "low"},
            {
                "generationConfig": {
                    "maxOutputTokens": 25300,
                    "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
                }
            },
        ),
        (
            "deepseek",
            "deepseek-v4-pro",
            {"thinking": "off"},
            {"max_tokens": 300, "temperature": 0.0, "thinking": {"type": "disabled"}},
        ),
        (
            "groq",
            "qwen/qwen3-32b",
            {},
            {"max_completion_tokens": 25300, "temperature": 0.0, "reasoning_format": "parsed"},
        ),
    ],
)  # fmt: skip
def test_thinking_is_asked_for_in_the_familys_own_way(backend, model_id, entry, sent):
    """And tokens are left for it where it will be done, asked for or not."""
    assert body(backend, model_id, **entry) == sent


@pytest.mark.parametrize(
    ("backend", "model_id", "entry", "words"),
    [
        ("anthropic", "claude-opus-5-5", {"thinking": "off"}, "can't be told not to think"),
        ("anthropic", "claude-opus-5", {"thinking": "off", "reasoning_effort": "max"}, "one of low, medium, high"),
        ("anthropic", "claude-opus-5-5", {"thinking_mode": True}, 'set thinking_mode to "adaptive"'),
        ("anthropic", "claude-haiku-4-5", {"thinking_mode": "adaptive"}, "thinking: on"),
        ("google", "gemini-4-argon", {"thinking_mode": True}, "takes no budget"),
        ("google", "gemini-3.8-flash", {"reasoning_effort": "minimal"}, "one of low, medium, high"),
        ("openai", "gpt-4o", {"thinking": "on"}, "can't think"),
        ("openai", "gpt-5.1", {"thinking": "on"}, "write reasoning_effort, one of low, medium, high"),
        ("openai", "gpt-5.1", {"thinking": "on", "reasoning_effort": "none"}, "contradict"),
        ("openai", "gpt-4o", {"reasoning_effort": "low"}, "takes no effort"),
        ("anthropic", "claude-haiku-4-5", {"reasoning_effort": "low"}, "takes no effort"),
        ("google", "gemini-2.5-flash", {"reasoning_effort": "low"}, "takes no effort"),
        ("xai", "grok-4.20-0309-reasoning", {"reasoning_effort": "low"}, "takes no effort"),
        ("xai", "grok-4.20-0309-non-reasoning", {"reasoning_effort": "low"}, "takes no effort"),
        ("mistral", "codestral-latest", {"reasoning_effort": "high"}, "takes no effort"),
        ("openai", "gpt-5.6", {"thinking": "off", "reasoning_effort": "high"}, "contradict"),
        ("cohere", "command-a-plus-05-2026", {"reasoning_effort": "medium"}, "one of none, high"),
        ("openai_compatible", "my-own", {"thinking": "off"}, "extra_body"),
        ("azure", "my-deployment", {"thinking": "on"}, "extra_body"),
    ],
)
def test_what_cant_be_had_is_an_error_before_the_first_request(backend, model_id, entry, words):
    """With the way out, and `check` finds the same."""
    with pytest.raises(ParameterError, match=words):
        body(backend, model_id, **entry)
    whole = {"model_name": "m", "backend": backend, "model_id": model_id, **entry}
    found = [finding for finding in judge_hosted_model(whole, {}) if finding.severity == "error"]
    assert [finding.code for finding in found] == ["PB123"]
    assert words in f"{found[0].message}; {found[0].fix}"


@pytest.mark.parametrize(
    ("backend", "model_id", "entry", "tokens", "words"),
    [
        ("anthropic", "claude-haiku-4-5", {"thinking_mode": True}, 100, "1024 or more"),
        ("anthropic", "claude-haiku-4-5", {"thinking": "on"}, 0, "1024 or more"),
        ("google", "gemini-2.5-pro", {"thinking_mode": True}, 100_000, "128 to 32768"),
        ("google", "gemini-2.5-flash-lite", {"thinking": "on"}, 100, "512 to 24576, or 0 for none"),
    ],
)
def test_a_budget_out_of_bounds_is_refused_with_the_bounds(backend, model_id, entry, tokens, words):
    """The caller's as the entry's."""
    with pytest.raises(ParameterError, match=words):
        body(backend, model_id, {"max_thinking_tokens": tokens}, **entry)
    with pytest.raises(ParameterError, match=words):
        body(backend, model_id, max_thinking_tokens=tokens, **entry)


def test_a_model_that_cant_be_asked_so_isnt_loaded(place):
    """The load says it, before anything is sent."""
    (place / "key.json").write_text('{"anthropic": {"api_key": "key-number-1"}}')
    with pytest.raises(EntryError, match="can't be told not to think"):
        load_model({"model_name": "claude-opus-5-5", "backend": "anthropic", "thinking": "off"})


@pytest.mark.parametrize(("service", "family"), FAMILIES, ids=lambda value: getattr(value, "name", value))
def test_each_family_is_told_to_think_and_not_to(service, family):
    """Where it can be told. No placeholder stays in a body."""
    plain = {"model_name": "m", "backend": service, "model_id": family.model}
    for wish in ("on", "off"):
        entry = {**plain, "thinking": wish}
        try:
            plan = plan_thinking(entry, SERVICES[service], family, family.model)
        except ThinkingProblem:
            continue
        assert plan.thinks is (wish == "on")
        assert "$" not in str(body(service, family.model, thinking=wish))
    if family.thinking.can_be_off and family.thinking.default not in ("unknown",):
        assert plan_thinking({**plain, "thinking": "off"}, SERVICES[service], family, family.model).off


SAYS_SO = [
    ("openrouter", "other/model", {"reasoning": {"enabled": True}}, {"reasoning": {"enabled": False}}),
    ("openrouter", "other/model", {"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "none"}}),
    ("openrouter", "google/gemini-3-x", {"reasoning": {"max_tokens": 9}}, {"reasoning": {"max_tokens": 0}}),
    ("openai", "gpt-5.1", {"reasoning_effort": "low"}, {"reasoning_effort": "none"}),
    ("deepseek", "deepseek-flash", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}),
    ("anthropic", "claude-sonnet-5", {"thinking": {"type": "adaptive"}}, {"thinking": {"type": "disabled"}}),
    (
        "openai_compatible",
        "qwen3-8b",
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ),
]


@pytest.mark.parametrize(("backend", "model_id", "on", "off"), SAYS_SO)
def test_thinking_in_extra_body_leaves_room_as_the_keys_do(backend, model_id, on, off):
    """Switched on there, tokens are left for thinking; switched off, the limit is the answer's alone."""

    def limit(**entry):
        found = body(backend, model_id, **entry)
        return found.get("max_tokens") or found["max_completion_tokens"]

    assert limit(extra_body=on) > 300
    assert limit(extra_body=off) == 300
    assert limit(extra_body=off, reasoning_model=True) == 300
    assert off.items() <= body(backend, model_id, extra_body=off).items()


def test_extra_body_and_the_keys_may_not_contradict_each_other():
    """One of both would be read by nothing."""
    for entry in ({"thinking": "on"}, {"reasoning_effort": "high"}):
        with pytest.raises(ThinkingProblem, match=r"extra_body switches .*off; take one of them out"):
            body("openrouter", "other/model", extra_body={"reasoning": {"enabled": False}}, **entry)
    with pytest.raises(ThinkingProblem, match="extra_body switches it on"):
        body("openrouter", "other/model", extra_body={"reasoning": {"enabled": True}}, thinking="off")


def test_who_always_thinks_keeps_its_room_whatever_extra_body_says():
    """The service thinks all the same, and would cut the answer."""
    assert body("openrouter", "moonshotai/kimi-k2-thinking", extra_body={"reasoning": {"enabled": False}}) == {
        "max_tokens": 25300,
        "temperature": 0.0,
        "reasoning": {"enabled": False},
    }
