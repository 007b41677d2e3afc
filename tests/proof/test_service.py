"""`check --live` of a service: its free list of models, then one request of the fewest tokens, in its own words."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from playbill.backends import Credentials
from playbill.backends.registry.lookup import ModelRegistry
from playbill.mock_services import Answer, MockOptions, MockServer, ModelRule
from playbill.proof.check import Options, check_model

pytestmark = pytest.mark.skipif(not find_spec("google.genai"), reason="needs the extra `google`")
KEY = "key-number-1"
SERVICES = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-5-5", "google": "gemini-3.8-flash"}


@pytest.fixture
def check_live(place):
    """Check an entry at a server, and give the verdict with what was found, by rule."""

    def check(server, backend, key=KEY, **entry):
        url = server.url if backend in ("anthropic", "google") else server.openai_url
        (place / "key.json").write_text(json.dumps({backend: {"api_key": key, "base_url": url}}))
        spec = {"model_name": "m", "backend": backend, "model_id": SERVICES.get(backend, "m"), **entry}
        options = Options(live=True, credentials=Credentials.load())
        verdict = check_model(spec, ModelRegistry.load(), options)
        return verdict, {f.name: f.message for f in verdict.findings}

    return check


def asked(server):
    return [(r.method, r.path) for r in server.requests]


@pytest.mark.parametrize("service", SERVICES)
def test_a_right_entry_costs_a_list_and_one_token(service, check_live):
    """The list is free; the request has the smallest limit of tokens, Gemini's with room for the thinking that can't be
    switched off."""
    with MockServer("Hi.", MockOptions(api_key=KEY)) as server:
        verdict, found = check_live(server, service)
        (listed, _), (posted, _) = asked(server)
        body = server.requests[-1].json
    assert (listed, posted) == ("GET", "POST")
    assert verdict.looked_at[-1] == "live answers"
    assert found.keys() <= {"retired-model", "listed-end", "context-told"}
    limits = [body.get("max_completion_tokens"), body.get("max_tokens")]
    assert {"google": 25_001}.get(service, 1) in [*limits, body.get("generationConfig", {}).get("maxOutputTokens")]


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrong_key_is_said_before_anything_is_paid_for(service, check_live):
    """By the list alone, in the service's words, with what to type."""
    with MockServer("Hi.", MockOptions(api_key="another-key")) as server:
        verdict, found = check_live(server, service)
        assert [method for method, _ in asked(server)] == ["GET"]
    assert verdict.wrong
    assert "asked for its list of models" in found["live-fails"]
    assert f"playbill keys set {service}" in found["live-fails"]
    assert KEY not in found["live-fails"]


@pytest.mark.parametrize("service", SERVICES)
def test_an_unknown_model_is_named_with_those_near(service, check_live):
    """What the service said of the request, and what its list has."""
    known = SERVICES[service]
    with MockServer("Hi.", MockOptions(models=(known,))) as server:
        verdict, found = check_live(server, service, model_id=f"{known}x")
    assert verdict.wrong
    assert f"hasn't {known}x (near are {known})" in found["live-fails"]
    assert "does not exist" in found["live-fails"]


@pytest.mark.parametrize(
    ("service", "model", "words"),
    [
        ("openai", "gpt-5.1", "2027-04-01"),
        ("anthropic", "claude-opus-4-5", "claude-opus-4-5 ends on 2027-01-22"),
    ],
)
def test_a_model_that_ends_is_told_by_the_services_own_list(service, model, words, check_live):
    """By OpenAI's shutdown_date and Anthropic's lifecycle and retires_at."""
    with MockServer("Hi.", MockOptions(lenient=True)) as server:
        _, found = check_live(server, service, model_id=model)
    assert words in found["listed-end"]


def test_a_retired_model_of_the_list_is_told_as_that(check_live, monkeypatch):
    """Where the table didn't know: the list says retired, and the request fails."""
    with MockServer("Hi.") as server:
        _, found = check_live(server, "anthropic", model_id="claude-mythos-preview", retired=True)
    assert "is retired" in found["listed-end"]
    assert "no longer served" in found["live-fails"]


def test_a_refused_parameter_is_an_error_where_it_was_asked_for_and_a_warning_where_not(check_live):
    """In the service's words; the default's message has what to write."""
    rules = (ModelRule("*", refuses=("temperature",)),)
    with MockServer("Hi.", MockOptions(rules=rules, models=("m",))) as server:
        verdict, found = check_live(server, "openai_compatible", base_url=server.openai_url, temperature=0.7)
        assert verdict.wrong
        assert "temperature" in found["live-fails"]
        verdict, found = check_live(server, "openai", model_id="m")
        assert not verdict.wrong
    assert "the service refused it" in found["default-refused"]


@pytest.mark.parametrize(
    ("model", "entry", "limit"),
    [
        ("gpt-6-astra", {}, {"max_completion_tokens": 1}),
        ("gpt-6-astra", {"reasoning_effort": "high"}, {"max_completion_tokens": 1}),
        ("gpt-5-pro", {}, {"max_output_tokens": 16}),
    ],
)
def test_thinking_gets_no_tokens_where_the_limit_alone_says_so(model, entry, limit, check_live):
    """OpenAI's; its Responses API wants 16."""
    with MockServer("Hi.", MockOptions(models=(model,))) as server:
        check_live(server, "openai", model_id=model, **entry)
        body = server.requests[-1].json
    assert body.items() >= limit.items()


def test_a_budget_of_thinking_is_the_least_that_the_family_takes(check_live):
    """Anthropic's 1,024 and one token more."""
    with MockServer("Hi.", MockOptions()) as server:
        verdict, _ = check_live(server, "anthropic", model_id="claude-haiku-4-5", thinking="on")
        body = server.requests[-1].json
    assert not verdict.wrong
    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (1025, 1024)


def test_a_server_without_a_list_is_asked_all_the_same(check_live):
    """And one that lists other names answers under a warning."""
    with MockServer("Hi.", MockOptions(service="azure")) as server:
        verdict, found = check_live(server, "azure")
        assert [method for method, _ in asked(server)] == ["POST"]
        assert not verdict.wrong
        verdict, found = check_live(server, "openai", model_id="ft:gpt-4.1-mini:lab::x1")
    assert "the service's list of models hasn't it" in found["not-listed"]


def test_ollama_tells_its_context(check_live):
    """Of the model that it has loaded, which is what cuts long prompts; then come the free questions."""
    with MockServer(Answer("Hi."), MockOptions(service="ollama", models=("gemma:2b",))) as server:
        _, found = check_live(server, "ollama", base_url=server.openai_url, model_id="gemma:2b")
        assert sum(method == "POST" for method, _ in asked(server)) > 2
    assert "4,096 tokens" in found["context-told"]
