"""What services do to a request in silence is prevented where it can be, said where it can't, and on record."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from playbill.backends import Credentials, CredentialsError, Outcome, ParameterError, load_model
from playbill.backends.engines.remote.notices import is_same_model, least_tokens
from playbill.backends.registry.validate import flatten, judge_entry
from playbill.mock_services import Answer, MockOptions, MockServer, ModelRule, Raw

pytest.importorskip("google.genai", reason="needs the extra `google`")
HELLO = [{"role": "user", "content": "hello"}]
NOBODY = Raw(
    b'{"error": {"message": "No endpoints found that can handle the requested parameters.", "code": 404}}', 404
)


def body(backend, params=None, messages=HELLO, **entry):
    name = backend if backend in ("google", "anthropic") else "openai"
    module = import_module(f"playbill.backends.engines.remote.wires.{name}")
    return module.request_body({"model_name": "m", "backend": backend, **entry}, tuple(messages), params or {})


@pytest.fixture
def ask(place):
    """Load an entry of a service at a server, and let it answer."""

    def send(server, backend, messages=HELLO, count=1, **entry):
        url = server.url if backend in ("google", "anthropic") else server.openai_url
        (place / "key.json").write_text(json.dumps({backend: {"api_key": "key-number-1", "base_url": url}}))
        spec = {"model_name": "m", "backend": backend, "retry_pause": 0.01, **entry}
        with load_model(spec, credentials=Credentials.load()) as model:
            return [model.generate(messages) for _ in range(count)]

    return send


def found(entry):
    return {f.name for f in judge_entry(flatten(entry)) if f.severity == "error"}


def test_openrouter_asks_only_providers_that_take_every_parameter():
    """Unless the entry says otherwise, by its key or by extra_body; providers and quantizations are pinned by keys."""
    assert body("openrouter")["provider"] == {"require_parameters": True}
    assert body("openrouter", require_parameters=False)["provider"] == {"require_parameters": False}
    pinned = body("openrouter", providers=["deepinfra", "novita"], quantizations=["bf16"])["provider"]
    assert pinned["only"] == pinned["order"] == ["deepinfra", "novita"]
    assert pinned["quantizations"] == ["bf16"]
    both = body("openrouter", extra_body={"provider": {"quantizations": ["fp8"]}})["provider"]
    assert both == {"require_parameters": True, "quantizations": ["fp8"]}
    assert body("openrouter")["plugins"] == [{"id": "context-compression", "enabled": False}]
    assert "provider" not in body("groq")


@pytest.mark.parametrize("model", ["anthropic/claude-opus-5.5", "openai/gpt-6-luna", "google/gemini-3.8-flash"])
def test_what_no_provider_takes_is_an_error_or_said_to_be_ignored(model, ask):
    """By the table of families: with the way out, or with a record that says so. The default is left out in both."""
    entry = {"model_name": "m", "backend": "openrouter", "model_id": model, "temperature": 0.7}
    assert found(entry) == {"refused-key"}
    with pytest.raises(ParameterError, match="require_parameters: false"):
        body("openrouter", {"temperature": 0.7}, model_id=model)
    for way in ({"require_parameters": False}, {"extra_body": {"provider": {"require_parameters": False}}}):
        assert found({**entry, **way}) == set()
        with MockServer("Hi.", MockOptions(service="openrouter")) as server:
            got = ask(server, "openrouter", model_id=model, temperature=0.7, **way)[0]
        assert "drops without a word" in got.params.ignored["temperature"]
        assert got.outcome is Outcome.ANSWERED
    assert "temperature" not in body("openrouter", model_id=model)


def test_the_default_that_no_provider_takes_is_left_out_once(ask, caplog):
    """OpenRouter names no parameter, and one alone was not asked for."""
    asked = []

    def answer(messages):
        asked.append(1)
        return NOBODY if len(asked) == 1 else "Hi."

    with MockServer(answer) as server:
        first, second = ask(server, "openrouter", count=2, model_id="lab/unknown")
        assert server.total == 3
    assert (first.outcome, second.outcome) == (Outcome.ANSWERED, Outcome.ANSWERED)
    assert "temperature" in second.params.not_sent
    assert caplog.text.count("refuses temperature, which nobody asked for") == 1


def test_parameters_that_no_provider_takes_end_with_the_way_out(ask):
    """And not with the advice to look at the model's name."""
    with MockServer(lambda messages: NOBODY) as server:
        got = ask(server, "openrouter", model_id="lab/unknown", temperature=0.7, min_p=0.1)[0]
    assert '"require_parameters": false' in got.error["message"]
    assert "model_id" not in got.error["message"]


def test_a_budget_that_is_not_forwarded_is_not_sent():
    """It raises the limit, and the entry may have it; to other families it goes."""
    budget = {"max_thinking_tokens": 2000, "max_tokens": 100}
    ignoring = body("openrouter", budget, model_id="anthropic/claude-opus-5.5")
    assert ("reasoning" in ignoring, ignoring["max_tokens"]) == (False, 2100)
    assert body("openrouter", budget, model_id="anthropic/claude-opus-5")["reasoning"] == {"max_tokens": 2000}


def test_what_answered_is_on_record(ask):
    """The provider, as OpenRouter tells it."""
    with MockServer(Answer("Hi.", provider="DeepInfra")) as server:
        assert ask(server, "openrouter", model_id="lab/unknown")[0].details["provider"] == "DeepInfra"


@pytest.mark.parametrize("service", ["fireworks", "together"])
def test_a_limit_that_is_too_long_is_refused_instead_of_lowered(service, ask, caplog):
    """Where the service knows the field; one that doesn't is asked again without, as any default."""
    assert body(service)["context_length_exceeded_behavior"] == "error"
    with MockServer("Hi.", MockOptions(rules=(ModelRule("*", ("context_length_exceeded_behavior",)),))) as server:
        got = ask(server, service, model_id="lab/unknown", count=2)
        assert server.total == 3
    assert [g.outcome for g in got] == [Outcome.ANSWERED] * 2
    assert "context_length_exceeded_behavior" not in got[0].request


def test_samplers_by_service():
    """As their SDKs have them."""
    assert body("together", {"logprobs": 3})["logprobs"] == 3
    assert "top_logprobs" not in body("together", {"logprobs": 3})
    for service in ("fireworks", "mistral", "huggingface_router"):
        sent = body(service, {"logprobs": 3, "seed": 7})
        assert (sent["logprobs"], sent["top_logprobs"]) == (True, 3)
        assert 7 in (sent.get("seed"), sent.get("random_seed"))
    assert body("mistral", {"top_k": 5, "repetition_penalty": 1.1})["top_k"] == 5
    with pytest.raises(ParameterError, match="logprobs"):
        body("cohere", {"logprobs": 3})
    assert "stream_options" not in body("mistral")


TALK = [
    {"role": "system", "content": "one two\n\nthree"},
    {"role": "user", "content": [{"type": "text", "text": "four  five"}, {"type": "image", "image": "x.png"}]},
    {"role": "assistant", "content": "these words don't count"},
    {"role": "user", "content": "六七八 six"},
]


def test_a_prompt_has_a_token_for_each_word_at_the_least():
    """What users and system say; templates drop thinking from the others."""
    assert least_tokens(TALK) == 7


@pytest.mark.parametrize("service", ["ollama", "openai_compatible", "google", "anthropic"])
def test_a_prompt_that_was_cut_is_said_once_and_stands_in_the_record(service, ask, caplog):
    """A count of fewer tokens than words; one of as many is none."""
    long = [{"role": "user", "content": "word " * 500}]
    for counted, cut in ((400, True), (500, False)):
        caplog.clear()
        with MockServer(Answer("Hi.", input_tokens=counted)) as server:
            url = {"base_url": server.openai_url} if service in ("ollama", "openai_compatible") else {}
            got = ask(server, service, long, count=2, **url)
        assert caplog.text.count("was not shown the whole prompt") == cut
        assert ("OLLAMA_CONTEXT_LENGTH" in caplog.text) is (cut and service == "ollama")
        assert [g.details.get("prompt_cut") for g in got] == [
            {"counted_tokens": 400, "words": 500} if cut else None
        ] * 2


def test_a_context_that_ollama_would_ignore_is_an_error():
    """Only where the server starts can it be set."""
    entry = {"model_name": "m", "backend": "ollama", "extra_body": {"options": {"num_ctx": 8192}}}
    assert found(entry) == {"refused-key"}
    assert found({**entry, "extra_body": {"keep_alive": "5m"}}) == set()


@pytest.mark.parametrize(
    ("asked", "served", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gemini-2.5-flash", "gemini-2.5-flash-lite", False),
        ("gemini-2.5-flash", "models/gemini-2.5-flash-preview-05-20", True),
        ("claude-opus-5", "claude-opus-5-5", False),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001", True),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5", True),
        ("mistral-large-latest", "mistral-large-2512", False),
        ("openai/gpt-oss-120b:groq", "openai/gpt-oss-120b", True),
        ("deepseek-chat", "deepseek-v4-flash", False),
    ],
)
def test_which_names_are_one_model(asked, served, same):
    """A date or a version at the end is no other model; a size or a number is."""
    assert is_same_model(asked, served) is same


@pytest.mark.parametrize(
    ("service", "wire"),
    [("openai", "openai"), ("openai", "responses"), ("anthropic", "anthropic"), ("google", "google")],
)
def test_another_model_is_said_once_on_every_wire(service, wire, ask, caplog):
    """What the answer calls itself is compared with what was asked for."""
    entry = {"api": "responses"} if wire == "responses" else {}
    with MockServer(Answer("Hi.", model="another-one")) as server:
        got = ask(server, service, count=3, model_id="gpt-5.1" if service == "openai" else "m", **entry)
    assert {g.details["served_model"] for g in got} == {"another-one"}
    assert caplog.text.count("another-one answered") == 1


def test_googles_safety_settings_are_as_the_entry_says(ask):
    """One threshold for all, as clemcore had it, or one by category; a wrong word is found before."""
    assert "safetySettings" not in body("google")
    every = body("google", safety_settings="BLOCK_MEDIUM_AND_ABOVE")["safetySettings"]
    assert len(every) == 4
    assert {s["threshold"] for s in every} == {"BLOCK_MEDIUM_AND_ABOVE"}
    one = body("google", safety_settings={"HARM_CATEGORY_HARASSMENT": "OFF"})["safetySettings"]
    assert one == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]
    for wrong in ("NONE", {"HARASSMENT": "OFF"}, {"HARM_CATEGORY_HARASSMENT": "none"}, ["OFF"]):
        assert found({"model_name": "m", "backend": "google", "safety_settings": wrong}), wrong
    with MockServer("Hi.") as server:
        got = ask(server, "google", model_id="gemini-3.8-flash", safety_settings="OFF")[0]
    assert got.request["safetySettings"][0]["threshold"] == "OFF"


def test_rare_ends_of_answers_are_known(ask):
    """Signatures that dialogues don't hold are an error in words; a pause amid tools is read as a call of them."""
    candidate = {"candidates": [{"finishReason": "MISSING_THOUGHT_SIGNATURE", "content": {"parts": []}}]}
    with MockServer(Raw(json.dumps(candidate).encode())) as server:
        got = ask(server, "google", model_id="gemini-3.8-flash")[0]
    assert "MISSING_THOUGHT_SIGNATURE" in got.error["message"]
    message = {"type": "message", "content": [{"type": "text", "text": "Hm."}], "stop_reason": "pause_turn"}
    with MockServer(Raw(json.dumps(message).encode())) as server:
        got = ask(server, "anthropic", model_id="claude-haiku-5-5")[0]
    assert (got.finish_reason, got.text) == ("tool_calls", "Hm.")


@pytest.mark.parametrize(
    ("service", "variable", "address"),
    [
        ("cohere", "COHERE_API_KEY", "https://api.cohere.com/compatibility/v1"),
        ("mistral", "MISTRAL_API_KEY", "https://api.eu.mistral.ai/v1"),
        ("mistral", "MISTRAL_API_KEY", "https://api.us.mistral.ai/v1"),
        ("huggingface_router", "HF_TOKEN", None),
        ("ollama", "OLLAMA_API_KEY", "https://ollama.com/v1"),
        ("lmstudio", "LM_API_TOKEN", None),
    ],
)
def test_keys_of_the_services_own_variables_go_to_its_own_addresses(
    place, monkeypatch, caplog, service, variable, address
):
    """Loading says nothing against it; nothing is sent."""
    monkeypatch.setenv(variable, "key-number-1")
    spec = {"model_name": "m", "backend": service, **({"base_url": address} if address else {})}
    load_model(spec, credentials=Credentials.load()).close()
    assert "may not go" not in caplog.text
    elsewhere = {**spec, "base_url": "http://127.0.0.1:9/v1"}
    if service in ("ollama", "lmstudio"):
        load_model(elsewhere, credentials=Credentials.load()).close()
        assert "may not go to http://127.0.0.1:9/v1, so it is not sent" in caplog.text
    else:
        with pytest.raises(CredentialsError, match="may not go"):
            load_model(elsewhere, credentials=Credentials.load())


def test_hugging_faces_token_serves_its_router_unless_it_is_another_hubs(place):
    """A section with an address of its own is that address's alone."""
    spec = {"model_name": "m", "backend": "huggingface_router"}
    (place / "key.json").write_text(json.dumps({"huggingface": {"api_key": "key-number-1"}}))
    with load_model(spec, credentials=Credentials.load()) as model:
        assert model.engine.facts()["base_url"] == "https://router.huggingface.co/v1"
    hub = {"api_key": "key-number-1", "base_url": "https://hub.lab.example"}
    (place / "key.json").write_text(json.dumps({"huggingface": hub}))
    with pytest.raises(CredentialsError, match="no API key for huggingface_router"):
        load_model(spec, credentials=Credentials.load())


@pytest.mark.parametrize(("key", "told"), [("AIza-a-test-key", True), ("AQ.a-test-key", False)])
def test_a_refused_standard_key_of_google_is_told_what_it_is(place, key, told):
    """Google withdraws them; the new ones look otherwise, and go in one header."""
    with MockServer("Hi.", MockOptions(api_key="another")) as server:
        (place / "key.json").write_text(json.dumps({"google": {"api_key": key, "base_url": server.url}}))
        with load_model({"model_name": "m", "backend": "google"}, credentials=Credentials.load()) as model:
            got = model.generate(HELLO)
        headers = server.requests[0].headers
    assert ("begin with AQ." in got.error["message"]) is told
    assert [name for name, value in headers.items() if key in value] == ["x-goog-api-key"]
    assert key not in got.error["message"]


@pytest.mark.parametrize("end", ["", "/openai/v1", "/openai/v1/"])
def test_azures_addresses_with_and_without_their_end(place, end):
    """As the portal shows them, for *.openai.azure.com and *.services.ai.azure.com; the limit's name is the new one."""
    with MockServer("Hi.", MockOptions(service="azure")) as server:
        url = f"{server.url}{end}"
        (place / "key.json").write_text(json.dumps({"azure": {"api_key": "key-number-1", "base_url": url}}))
        with load_model({"model_name": "m", "backend": "azure"}, credentials=Credentials.load()) as model:
            got = model.generate(HELLO)
        assert [r.path for r in server.requests] == ["/openai/v1/chat/completions"]
    assert (got.request["max_completion_tokens"], "max_tokens" in got.request) == (300, False)
