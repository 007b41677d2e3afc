"""What families of hosted models refuse: left out where it is Playbill's default, an error where it was asked for."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from playbill.backends import Outcome, ParameterError, load_model
from playbill.backends.registry.service_models import family_of, model_families
from playbill.backends.registry.validate import flatten, judge_entry
from playbill.mock_services import MockOptions, MockServer

HELLO = ({"role": "user", "content": "hello"},)


def body(backend, model_id, params=None, **entry):
    module = import_module(
        f"playbill.backends.engines.remote.wires.{backend if backend in ('anthropic', 'google') else 'openai'}"
    )
    whole = {"model_name": "m", "backend": backend, "model_id": model_id, "base_url": "http://x/v1", **entry}
    return module.request_body(whole, HELLO, params or {})


@pytest.mark.parametrize(
    ("backend", "model_id", "entry"),
    [
        ("anthropic", "claude-opus-5-5", {}),
        ("anthropic", "claude-haiku-4-5", {}),
        ("anthropic", "claude-opus-4-7", {"api_version": "2023-06-01"}),
        ("anthropic", "some-gateways-model", {}),
        ("openai", "gpt-5", {}),
        ("openai", "gpt-5-mini", {}),
        ("openai", "o3", {}),
        ("openai", "gpt-5.1", {"reasoning_effort": "low"}),
        ("openai", "gpt-5.6", {}),
        ("openai", "gpt-6.2-sol", {}),
        ("azure", "gpt-6.2-sol", {}),
    ],
)
def test_no_temperature_is_sent_to_what_refuses_it(backend, model_id, entry):
    """Playbill's own default is left out; one that was asked for is an error that names it."""
    assert "temperature" not in body(backend, model_id, **entry)
    with pytest.raises(ParameterError, match="'temperature'"):
        body(backend, model_id, {"temperature": 0.0}, **entry)


@pytest.mark.parametrize(
    ("backend", "model_id", "entry"),
    [
        ("anthropic", "claude-haiku-4-5-20251001", {"api_version": "2023-06-01"}),
        ("anthropic", "some-gateways-model", {"api_version": "2023-06-01"}),
        ("openai", "gpt-4.1-mini", {}),
        ("openai", "gpt-5.1", {}),
        ("openai", "gpt-5.4-mini", {"reasoning_effort": "none", "reasoning_model": True}),
        ("openai", "gpt-6-luna", {"reasoning_effort": "none"}),
        ("azure", "my-deployment", {}),
    ],
)
def test_greedy_is_asked_for_where_it_is_taken(backend, model_id, entry):
    """Temperature 0, and no tokens for thinking where thinking is off."""
    sent = body(backend, model_id, **entry)
    assert sent["temperature"] == 0.0
    assert sent.get("max_completion_tokens", sent.get("max_tokens")) == 300


@pytest.mark.parametrize(("version", "named"), [("2026-10-21", {}), ("2023-06-01", {"api_version": "2023-06-01"})])
def test_the_version_of_anthropics_api_is_ours(place, version, named):
    """A plain entry ends answered at a server that refuses what the real one refuses; the version is what was set."""
    (place / "key.json").write_text('{"anthropic": {"api_key": "key-number-1"}}')
    with MockServer("Hi.", MockOptions(api_key="key-number-1")) as server:
        (place / "key.json").write_text(f'{{"anthropic": {{"api_key": "key-number-1", "base_url": "{server.url}"}}}}')
        with load_model({"model_name": "claude-haiku-4-5", "backend": "anthropic", **named}) as model:
            generation = model.generate(HELLO)
        sent = server.requests[0]
    assert (generation.outcome, sent.headers["anthropic-version"]) == (Outcome.ANSWERED, version)
    assert generation.details["api_version"] == version
    assert {"authorization", "anthropic-version", "user-agent"} < set(generation.details["headers"])
    assert ("temperature" in generation.params.effective) is bool(named)


def test_every_family_has_its_source_and_date_and_is_found_by_its_own_model():
    """And a date in the form that sorts; no row is hidden by one before it."""
    for family in model_families():
        assert family.source, family.name
        assert family.as_of.startswith("20"), family.name
        for service in family.services - family.retired:
            assert family_of(service, family.model) is family, (service, family.model)


def test_what_a_service_ignores_is_not_claimed():
    """Playbill's own temperature is left out where it has no effect; one that was asked for is sent."""
    plain = body("google", "gemini-3.8-flash")["generationConfig"]
    assert "temperature" not in plain
    assert body("google", "gemini-3.8-flash", {"temperature": 0.5})["generationConfig"]["temperature"] == 0.5
    assert body("google", "gemini-2.5-flash")["generationConfig"]["temperature"] == 0.0


def test_a_refusal_says_the_way_out():
    """The reason comes from the table of families."""
    with pytest.raises(ParameterError, match=r"refuses 'temperature': .*api_version: 2023-06-01"):
        body("anthropic", "claude-haiku-4-5", {"temperature": 0.0})


CURRENT = [
    (service, family.model)
    for family in model_families()
    for service in ("openai", "anthropic", "google")
    if service in family.services and service not in family.retired and family.api != "responses"
]


@pytest.mark.parametrize(("service", "model"), CURRENT, ids=lambda value: value)
def test_the_plain_entry_of_every_current_family_is_answered_by_the_strict_rehearsal(place, service, model):
    """With no refused request: nothing is sent that the family is known to refuse."""
    with MockServer("Hi.", MockOptions(api_key="key-number-1")) as server:
        address = server.openai_url if service == "openai" else server.url
        (place / "key.json").write_text(json.dumps({service: {"api_key": "key-number-1", "base_url": address}}))
        with load_model({"model_name": model, "backend": service}) as loaded:
            assert loaded.generate(HELLO).outcome is Outcome.ANSWERED
        assert server.counts == {"answered": 1}


@pytest.mark.parametrize(
    ("service", "model", "refused"),
    [
        ("openai", "gpt-6.2-sol", "temperature"),
        ("anthropic", "claude-opus-5-5", "temperature"),
        ("google", "gemini-4-neon", "presence_penalty"),
    ],
)
def test_the_rehearsal_refuses_what_the_service_would(place, service, model, refused):
    """Sent past Playbill's own check by `extra_body`, as another client might; leniency is an option."""
    extra = {"generationConfig": {"presencePenalty": 0.5}} if service == "google" else {refused: 0.5}
    for lenient in (False, True):
        with MockServer("Hi.", MockOptions(lenient=lenient)) as server:
            address = server.openai_url if service == "openai" else server.url
            (place / "key.json").write_text(json.dumps({service: {"api_key": "key-number-1", "base_url": address}}))
            with load_model({"model_name": model, "backend": service, "extra_body": extra}) as loaded:
                found = loaded.generate(HELLO).outcome
        by_version = service == "anthropic"  # the version itself refuses it, whatever the model
        assert found is (Outcome.ANSWERED if lenient and not by_version else Outcome.ERROR)


def test_of_parameters_that_exclude_each_other_one_is_sent():
    """Playbill's own temperature gives way to a top_p that was asked for; two that were asked for are an error."""
    entry = {"api_version": "2023-06-01"}
    for backend, more in (("anthropic", entry), ("anthropic", {**entry, "top_p": 0.9})):
        params = {} if "top_p" in more else {"top_p": 0.9}
        sent = body(backend, "claude-haiku-4-5", params, **more)
        assert (sent["top_p"], "temperature" in sent) == (0.9, False)
    assert body("anthropic", "claude-haiku-4-5", {"temperature": 0.5}, **entry)["temperature"] == 0.5
    with pytest.raises(ParameterError, match="one of 'temperature' and 'top_p' alone"):
        body("anthropic", "claude-haiku-4-5", {"temperature": 0.5}, top_p=0.9, **entry)
    both = {"model_name": "m", "backend": "anthropic", "model_id": "claude-haiku-4-5", "top_p": 0.9, **entry}
    assert [f.code for f in judge_entry(flatten(both))] == []
    assert "PB123" in [f.code for f in judge_entry(flatten({**both, "temperature": 0.5}))]


def test_effort_none_switches_thinking_off_in_each_services_way():
    """A fragment of the body for Claude and Gemini; an error, and one of `check`, where a model always thinks."""
    assert body("anthropic", "claude-sonnet-5", reasoning_effort="none")["thinking"] == {"type": "disabled"}
    assert "output_config" not in body("anthropic", "claude-sonnet-5", reasoning_effort="none")
    flash = body("google", "gemini-2.5-flash", reasoning_effort="none")["generationConfig"]
    assert flash["thinkingConfig"] == {"thinkingBudget": 0}
    for service, model in (
        ("anthropic", "claude-opus-5-5"),
        ("google", "gemini-4-neon"),
        ("openai", "gpt-6.2-sol"),
        ("xai", "grok-4.5"),
    ):
        with pytest.raises(ParameterError, match="can't be told not to think"):
            body(service, model, reasoning_effort="none")
        entry = {"model_name": "m", "backend": service, "model_id": model, "reasoning_effort": "none"}
        assert "PB123" in [finding.code for finding in judge_entry(flatten(entry))]
    known = {"model_name": "m", "backend": "anthropic", "model_id": "claude-sonnet-5", "reasoning_effort": "none"}
    assert judge_entry(flatten(known)) == ()


@pytest.mark.parametrize(
    ("service", "model", "fragment"),
    [
        ("openai", "gpt-5.4-mini", {"reasoning_effort": "none"}),
        ("openai", "a-model-nobody-knows", {"reasoning_effort": "none"}),
        ("deepseek", "deepseek-v4-pro", {"thinking": {"type": "disabled"}}),
        ("together", "moonshotai/Kimi-K3", {"reasoning": {"enabled": False}}),
        ("vllm_server", "Qwen/Qwen3-8B", {"chat_template_kwargs": {"enable_thinking": False}}),
    ],
)
def test_effort_none_on_the_wire_that_most_services_share(service, model, fragment):
    """Each has its own switch; the word itself goes out only where it is the switch, or nothing is known."""
    sent = body(service, model, reasoning_effort="none")
    switches = ("reasoning_effort", "thinking", "reasoning", "chat_template_kwargs")
    assert {key: sent[key] for key in switches if key in sent} == fragment


@pytest.mark.parametrize(
    ("service", "model", "effort", "right"),
    [
        ("cohere", "command-a-reasoning-08-2025", "medium", False),
        ("openai", "gpt-6.2-sol", "none", False),
        ("openai", "gpt-6.2-sol", "low", True),
    ],
)
def test_check_knows_the_effort_words_of_each_family(service, model, effort, right):
    """A word that the model doesn't know is an error that lists those that it does."""
    entry = {
        "model_name": "m",
        "backend": service,
        "model_id": model,
        "reasoning_effort": effort,
        "reasoning_model": True,
    }
    errors = [finding for finding in judge_entry(flatten(entry)) if finding.code == "PB123"]
    assert (errors == []) is right


@pytest.mark.parametrize(
    ("service", "model", "tokens", "said"),
    [
        ("anthropic", "claude-opus-5-5", 4000, "takes no budget"),
        ("google", "gemini-4-neon", 4000, "takes no budget"),
        ("anthropic", "claude-haiku-4-5", 100, "1024 or more"),
        ("google", "gemini-2.5-pro", 64, "128 to 32768"),
        ("google", "gemini-2.5-pro", 4000, None),
        ("anthropic", "claude-haiku-4-5", 2000, None),
    ],
)
def test_check_knows_who_takes_a_budget_and_its_bounds(service, model, tokens, said):
    """The error gives the service's bounds, or the other way to ask."""
    entry = {"model_name": "m", "backend": service, "model_id": model, "thinking_mode": True}
    errors = [f.message for f in judge_entry(flatten({**entry, "max_thinking_tokens": tokens})) if f.code == "PB123"]
    assert (errors == []) if said is None else (said in errors[0])
