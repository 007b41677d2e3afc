"""Each current family of each service, as a plain entry and in each of its modes, against the strict mock server."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from playbill.backends import Credentials, Outcome, load_model
from playbill.backends.registry.service_models import model_families
from playbill.backends.registry.services import REMOTE, SERVICES
from playbill.backends.registry.validate import flatten, judge_entry
from playbill.mock_services import MockOptions, MockServer

pytestmark = pytest.mark.skipif(not find_spec("google.genai"), reason="needs the extra `google`")
HELLO = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}]


@pytest.fixture
def rehearse(place):
    """Load entries of a service at its strict mock server; give the server as well."""
    opened = []

    def start(service):
        imitated = service if SERVICES[service].wire == "openai" and service != "openai_compatible" else None
        server = MockServer("Hi.", MockOptions(service=imitated)).__enter__()
        opened.append(server)
        url = server.openai_url if SERVICES[service].wire == "openai" else server.url
        (place / "key.json").write_text(json.dumps({service: {"api_key": "key-number-1", "base_url": url}}))
        return server

    yield start
    for server in opened:
        server.__exit__(None, None, None)


def modes(service, family):
    """The entries that `check` lets pass: plain, and with each way to say something of thinking."""
    plain = {"model_name": "m", "backend": service, "model_id": family.model}
    more = [
        {},
        {"thinking": "on"},
        {"thinking": "off"},
        {"reasoning_model": True},
        *({"reasoning_effort": word} for word in (*family.thinking.efforts, "none")),
        *({"thinking_mode": mode} for mode in (True, "adaptive") if SERVICES[service].wire != "openai"),
    ]
    if service.startswith("azure"):  # where others' models answer, as they do there
        more = more[:3]
    for each in more:
        entry = {**plain, **each}
        if not [finding for finding in judge_entry(flatten(entry)) if finding.severity == "error"]:
            yield entry


@pytest.mark.parametrize("service", REMOTE)
def test_every_entry_that_check_lets_pass_is_answered(service, rehearse):
    """No request is refused. No answer is cut in thinking, unless the entry says nothing at a server of one's own."""
    server = rehearse(service)
    rows = "anthropic" if service == "azure_claude" else service
    families = [f for f in model_families() if rows in f.services and rows not in f.retired]
    count = 0
    for family in families:
        for entry in modes(service, family):
            with load_model(entry, credentials=Credentials.load()) as model:
                got = model.generate(HELLO)
            unspoken = SERVICES[service].keyless and not entry.keys() - {"model_name", "backend", "model_id"}
            cut = unspoken and got.outcome is Outcome.TRUNCATED_IN_THINKING
            assert cut or (got.outcome, got.text) == (Outcome.ANSWERED, "Hi."), (entry, got.error)
            assert got.attempts == 1, (entry, got.params.not_sent)
            count += 1
    assert server.counts["answered"] == server.total == count >= len(families)


@pytest.mark.parametrize(
    ("service", "model", "body", "words"),
    [
        ("openai", "gpt-5.6", {"top_k": 5}, "Unrecognized request argument"),
        ("openai", "gpt-5.6", {"reasoning_effort": "greatest"}, "greatest"),
        ("openai", "gpt-6-astra", {"reasoning_effort": "none"}, "can't be disabled"),
        ("openai", "gpt-5-pro", {}, "only supported in v1/responses"),
        ("mistral", "mistral-large-latest", {"stream_options": {}}, "stream_options"),
        ("groq", "openai/gpt-oss-120b", {"min_p": 0.1}, "min_p"),
        ("anthropic", "claude-opus-5-5", {"temperature": 1}, "temperature"),
        (
            "anthropic",
            "claude-opus-5-5",
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
            "enabled",
        ),
        ("anthropic", "claude-opus-5-5", {"thinking": {"type": "disabled"}}, "can't be disabled"),
        ("anthropic", "claude-haiku-4-5", {"thinking": {"type": "adaptive"}}, "adaptive"),
        ("anthropic", "claude-haiku-5-5", {"minimum": 1}, "Extra inputs"),
        ("google", "gemini-4-argon", {"thinkingConfig": {"thinkingBudget": 100}}, "no thinking budget"),
        ("google", "gemini-3.8-flash", {"thinkingConfig": {"thinkingLevel": "MINIMAL"}}, "minimal"),
        ("google", "gemini-4-argon", {"presencePenalty": 1}, "presencePenalty"),
        ("deepseek", "deepseek-chat", {}, "no longer served"),
    ],
)
def test_the_strict_mock_refuses_what_the_service_would(service, model, body, words, rehearse, place):
    """Whatever Playbill would let pass: the body goes past it, as `extra_body`."""
    server = rehearse(service)
    extra = {"generationConfig": {"maxOutputTokens": 5, **body}} if service == "google" else body
    spec = {"model_name": "m", "backend": service, "model_id": "unknown-model", "extra_body": {"model": model, **extra}}
    if service == "google":
        spec |= {"model_id": model, "extra_body": extra}
    if model == "gpt-5-pro":
        spec["api"] = "chat"
    with load_model(spec, credentials=Credentials.load()) as loaded:
        got = loaded.generate(HELLO)
    assert got.outcome is Outcome.ERROR
    assert words in got.error["message"]
    assert server.counts["answered"] == 0


def test_a_lenient_mock_takes_it_all(place):
    """For rehearsals of other things."""
    with MockServer("Hi.", MockOptions(lenient=True)) as server:
        spec = {"model_name": "m", "backend": "openai_compatible", "base_url": server.openai_url}
        with load_model({**spec, "model_id": "gpt-5-pro", "extra_body": {"top_k": 5}}) as model:
            assert model.generate(HELLO).text == "Hi."


def test_a_model_that_thinks_unasked_is_told_of_once(place, caplog):
    """At a server of one's own, where Playbill leaves no tokens for it by itself."""
    with MockServer("Hi.", MockOptions(service="vllm_server")) as server:
        spec = {"model_name": "m", "backend": "vllm_server", "base_url": server.openai_url, "model_id": "Qwen/Qwen3-8B"}
        with load_model(spec) as model:
            found = [model.generate(HELLO).outcome for _ in range(3)]
        with load_model({**spec, "thinking": "off"}) as model:
            assert model.generate(HELLO).outcome is Outcome.ANSWERED
    assert set(found) == {Outcome.TRUNCATED_IN_THINKING}
    assert caplog.text.count("seems to think unasked") == 1
