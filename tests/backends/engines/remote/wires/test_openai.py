"""OpenAI's wire by the official client: what is sent, what is read, what is kept."""

from __future__ import annotations

import base64
import json

import pytest

from playbill.backends import (
    CredentialsError,
    EntryError,
    MessageError,
    Outcome,
    ParameterError,
    load_model,
)
from playbill.backends.engines.remote.wires.openai import OpenAIWire, request_body
from playbill.backends.registry.services import SERVICES
from playbill.mock_services import REASONING, Answer, MockOptions, MockServer, Raw
from support.pictures import tiny_png

HELLO = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "say hello"}]
PNG = tiny_png()
SEES = {"single_image": True, "multiple_images": True}


def test_an_answer_with_all_that_a_record_keeps_of_it(opened):
    """Text, thinking, counts, who served it, and both bodies as they were on the wire."""
    answer = Answer(
        "Hello there.", thinking="They greet.", input_tokens=40, cached_tokens=30, model="m-2026",
        provider="Acme", system_fingerprint="fp_1",
    )  # fmt: skip
    with MockServer(answer) as server:
        got = opened(server.openai_url).generate(HELLO)
        received = server.requests[0]
    assert (got.outcome, got.text, got.thinking) == (Outcome.ANSWERED, "Hello there.", "They greet.")
    assert got.usage.to_dict() == {"input_tokens": 40, "output_tokens": 4, "cached_tokens": 30, "thinking_tokens": 2}
    assert (got.details["served_model"], got.details["provider"]) == ("m-2026", "Acme")
    assert got.details["fingerprint"] == "fp_1"
    assert got.request == received.json == {"model": "m", "messages": HELLO, "temperature": 0.0, "max_tokens": 300}
    assert got.response["choices"][0]["message"]["content"] == "Hello there."
    assert got.attempts == 1


@pytest.mark.parametrize("form", ["reasoning_content", "reasoning", "parts"])
def test_thinking_is_told_from_the_answer_in_every_form(opened, form):
    """Fields of two names and content parts; whole and streamed."""
    with MockServer(Answer("Hi you.", thinking="Hm hm.", thinking_as=form)) as server:
        model = opened(server.openai_url)
        whole = model.generate(HELLO)
        stream = model.stream(HELLO)
        pieces = list(stream)
    assert (whole.text, whole.thinking) == ("Hi you.", "Hm hm.")
    assert (stream.generation.text, stream.generation.thinking) == ("Hi you.", "Hm hm.")
    assert "".join(pieces) == "Hi you."


def test_thinking_in_tags_needs_the_tags_in_the_entry(opened):
    """As for a local model."""
    with MockServer(Answer("Hi.", thinking="Hm.", thinking_as="tags")) as server:
        got = opened(server.openai_url, cot_start_tag="<think>", cot_end_tag="</think>").generate(HELLO)
    assert (got.text, got.thinking, got.raw) == ("Hi.", "Hm.", "<think>Hm.</think>Hi.")


def test_a_stream_is_kept_event_by_event(opened):
    """With usage asked for, since streams don't tell it else."""
    with MockServer(Answer("Hello  there,\nyou.")) as server:
        stream = opened(server.openai_url).stream(HELLO)
        assert "".join(stream) == "Hello  there,\nyou."
    got = stream.generation
    assert got.request["stream_options"] == {"include_usage": True}
    assert got.response[0]["object"] == "chat.completion.chunk"
    assert (got.usage.input_tokens, got.usage.output_tokens) == (4, 3)


@pytest.mark.parametrize(
    ("answer", "outcome", "raw"),
    [
        (Answer("cut", finish="length"), Outcome.TRUNCATED, "length"),
        (Answer("", thinking="hm", finish="length"), Outcome.TRUNCATED_IN_THINKING, "length"),
        (Answer("", thinking_tokens=9, finish="length"), Outcome.TRUNCATED_IN_THINKING, "length"),
        (Answer("No.", finish="refused"), Outcome.REFUSED, "content_filter"),
        (Answer("", finish="stop"), Outcome.EMPTY, "stop"),
        (Answer(None, finish="stop"), Outcome.EMPTY, "stop"),
    ],
)
def test_outcomes_follow_from_the_services_own_words(opened, answer, outcome, raw):
    """And the words are kept."""
    with MockServer(answer) as server:
        got = opened(server.openai_url).generate(HELLO)
    assert (got.outcome, got.finish_reason_raw) == (outcome, raw)


def test_a_refusal_in_a_field_of_its_own_is_one(opened):
    """Whatever the finish reason; its words are in the details, not in the answer."""
    message = {"role": "assistant", "content": None, "refusal": "I can't."}
    body = {"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    with MockServer(Raw(json.dumps(body).encode())) as server:
        got = opened(server.openai_url).generate(HELLO)
    assert (got.outcome, got.text, got.details["refusal"]) == (Outcome.REFUSED, "", "I can't.")


def test_thinking_that_is_counted_apart_is_counted_in(opened):
    """One total says which way a service counts; output tokens always include thinking."""
    usage = {
        "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22,
        "completion_tokens_details": {"reasoning_tokens": 7},
    }  # fmt: skip
    with MockServer(Answer("Hi.", extra={"usage": usage})) as server:
        got = opened(server.openai_url).generate(HELLO)
    assert (got.usage.output_tokens, got.usage.thinking_tokens) == (12, 7)


def body(backend, messages=HELLO, params=None, **entry):
    return request_body({"model_name": "m", "backend": backend, **entry}, tuple(messages), params or {})


def test_each_service_gets_its_own_names():
    """Limits, seeds and penalties are called differently."""
    assert body("openai")["max_completion_tokens"] == 300
    assert body("mistral", params={"seed": 3})["random_seed"] == 3
    assert body("lmstudio", params={"repetition_penalty": 1.1})["repeat_penalty"] == 1.1
    assert body("openai", params={"logprobs": 5})["top_logprobs"] == 5
    assert body("groq", params={"stop": "\n"})["stop"] == ["\n"]
    assert body("openrouter", reasoning_effort="low")["reasoning"] == {"effort": "low"}
    assert body("openai", reasoning_effort="low")["reasoning_effort"] == "low"
    assert body("openai", model_id="gpt-x", extra_body={"store": False, "temperature": 1})["model"] == "gpt-x"
    assert body("openai", extra_body={"temperature": 1})["temperature"] == 1


@pytest.mark.parametrize("name", [name for name, row in SERVICES.items() if row.wire == "openai"])
def test_every_row_makes_a_body_of_all_that_it_honours(name):
    """Under names that differ from each other."""
    values = {"stop": ["x"], "top_k": 5, "seed": 1, "logprobs": 2, "max_tokens": 7}
    supported_parameters = {parameter: values.get(parameter, 0.5) for parameter in SERVICES[name].supported_parameters}
    sent = body(name, params=supported_parameters)
    assert len(sent) >= len(supported_parameters) + 2
    assert {"model", "messages"} <= set(sent)


def test_a_reasoning_model_gets_no_defaults_that_it_refuses(opened):
    """They are left out, and effective says so; what it may think is added to the limit, and said too."""
    options = MockOptions(rules=(REASONING,))
    with MockServer("Hi.", options) as server:
        got = opened(server.openai_url, model_id="reasoner", reasoning_model=True).generate(HELLO)
    sent = body("openai", reasoning_model=True)
    assert set(sent) == {"model", "messages", "max_completion_tokens"}
    assert sent["max_completion_tokens"] == 300 + OpenAIWire.thinking_tokens
    assert body("openai", reasoning_model=True, max_thinking_tokens=1000)["max_completion_tokens"] == 1300
    assert got.outcome is Outcome.ANSWERED
    assert got.params.effective == {"max_tokens": 300, "max_thinking_tokens": OpenAIWire.thinking_tokens}


def test_what_was_asked_for_and_is_refused_is_an_error(opened):
    """In the entry as in the call, and before anything is sent."""
    with MockServer("Hi.") as server:
        model = opened(server.openai_url, reasoning_model=True)
        with pytest.raises(ParameterError, match="can't honour 'temperature'"):
            model.generate(HELLO, temperature=0.5)
        with pytest.raises(ParameterError, match="refuses 'temperature': the entry says so"):
            opened(server.openai_url, refuses=["temperature"], temperature=0.5)
        assert "temperature" not in opened(server.openai_url, refuses=["temperature"]).engine.supported_parameters
        with pytest.raises(ParameterError, match="can't honour 'top_k'"):
            opened(server.openai_url, top_k=5)
        assert server.total == 0


def test_images_are_sent_in_every_form(tmp_path):
    """A path below the folder, a URL, a data URL; clembench's key and the field's parts."""
    (tmp_path / "cat.png").write_bytes(PNG)
    data = base64.b64encode(PNG).decode()
    url = f"data:image/png;base64,{data}"
    from playbill.backends.engines.base import Request

    wire = OpenAIWire({"model_name": "m", "backend": "openai", "multimodality": SEES}, SERVICES["openai"])
    source = {"type": "base64", "media_type": "image/png", "data": data}
    messages = (
        {"role": "user", "content": "What is <image> this?", "image": ["cat.png", "https://e.org/a.png", url]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "path": "cat.png"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e.org/b.png"}}]},
        {"role": "user", "content": [{"type": "image", "source": source}]},
    )
    sent = wire.body(Request(messages=messages, params={}, folder=tmp_path))["messages"]
    assert [part.get("text") or part["image_url"]["url"] for part in sent[0]["content"]] == [
        url, "https://e.org/a.png", url, "What is this?",
    ]  # fmt: skip
    assert "image" not in sent[0]
    assert sent[1]["content"][1]["image_url"]["url"] == url
    assert sent[2]["content"][0]["image_url"]["url"] == "https://e.org/b.png"
    assert sent[3]["content"][0]["image_url"]["url"] == url


def test_an_image_that_the_entry_does_not_allow_is_refused_clearly():
    """Nothing is left out in silence."""
    image = [{"role": "user", "content": "x", "image": "https://e.org/a.png"}]
    with pytest.raises(MessageError, match=r'messages\[0\]: has a picture.*"multimodality"'):
        body("openai", image)
    two = [{"role": "user", "content": "x", "image": ["https://e.org/a.png"] * 2}]
    with pytest.raises(MessageError, match="has 2 pictures"):
        body("openai", two, multimodality={"single_image": True, "multiple_images": False})


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("../secret.png", "is not below"),
        ("/etc/hostname", "is not below"),
        ("link.png", "is not below"),
        ("inside", "there is no file"),
        ("gone.png", "there is no file"),
        ("notes.txt", "neither PNG"),
        ("data:text/html;base64,AAAA", "of the form"),
        ("data:image/png;base64,%%%", "no base64"),
        (7, "is no path"),
    ],
)
def test_images_are_read_from_below_the_folder_only(tmp_path, monkeypatch, image, why):
    """Wherever a path or a link leads, and only what is an image."""
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret.png").write_bytes(PNG)
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "notes.txt").write_text("hello")
    monkeypatch.chdir(inside)
    with pytest.raises(MessageError, match=why):
        body("openai", [{"role": "user", "content": "x", "image": image}], multimodality=SEES)


def write_keys(place, **sections):
    (place / "key.json").write_text(json.dumps(sections))


def test_a_key_goes_only_where_it_may(place, opened):
    """An entry can't send a service's key elsewhere; the message says how a person can."""
    write_keys(place, openai={"api_key": "sk-0123456789"})
    with MockServer("Hi.") as server:
        with pytest.raises(CredentialsError, match=rf"may not go to {server.url}.*keys allow openai {server.url}"):
            opened(server.openai_url, backend="openai")
        borrowed = opened(server.openai_url, key_section="openai").generate(HELLO)
        assert borrowed.outcome is Outcome.ANSWERED  # without a key, which a server of one's own may not need
        assert all("sk-0123456789" not in str(r.headers) for r in server.requests)
        write_keys(place, openai={"api_key": "sk-0123456789", "allowed_urls": [server.url]})
        got = opened(server.openai_url, backend="openai").generate(HELLO)
        assert server.requests[-1].headers["authorization"] == "Bearer sk-0123456789"
    assert got.outcome is Outcome.ANSWERED
    assert "sk-0123456789" not in repr(got)


def test_several_servers_in_one_file_of_keys(place):
    """Each under a section of its own, with its address beside its key."""
    with MockServer("one", MockOptions(api_key="key-number-1")) as first:
        with MockServer("two", MockOptions(api_key="key-number-2")) as second:
            write_keys(
                place,
                alpha={"api_key": "key-number-1", "base_url": first.openai_url},
                beta={"api_key": "key-number-2", "base_url": second.openai_url},
            )
            entry = {"model_name": "m", "backend": "openai_compatible"}
            with load_model({**entry, "key_section": "alpha"}) as a, load_model({**entry, "key_section": "beta"}) as b:
                assert (a.generate(HELLO).text, b.generate(HELLO).text) == ("one", "two")


def test_clemcores_section_for_compatible_servers_is_known(place):
    """Its name was another."""
    with MockServer("Hi.", MockOptions(api_key="key-number-1")) as server:
        section = {"api_key": "key-number-1", "base_url": server.openai_url}
        write_keys(place, generic_openai_compatible=section)
        with load_model({"model_name": "m", "backend": "openai_compatible"}) as model:
            assert model.generate(HELLO).text == "Hi."


def test_a_missing_key_or_address_is_said_on_load(place):
    """With what to type."""
    with pytest.raises(CredentialsError, match=r"no API key for groq: `playbill keys set groq`, or set \$GROQ_API_KEY"):
        load_model({"model_name": "m", "backend": "groq"})
    with pytest.raises(EntryError, match="doesn't say where its server is: set 'base_url'"):
        load_model({"model_name": "m", "backend": "openai_compatible"})
    with pytest.raises(EntryError, match="no http or https address"):
        load_model({"model_name": "m", "backend": "openai_compatible", "base_url": "localhost:8000/v1"})
    with pytest.raises(EntryError, match="no ca_bundle"):
        load_model({"model_name": "m", "backend": "ollama", "ca_bundle": "gone.pem"})


def test_the_environments_organisation_is_told_to_nobody_else(opened, monkeypatch):
    """The client would send it to any address."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    with MockServer("Hi.") as server:
        opened(server.openai_url).generate(HELLO)
        assert "mine" not in str(server.requests[0].headers)


def test_a_redirect_is_not_followed(opened):
    """Neither key nor prompt goes where nobody allowed."""
    with MockServer("Hi.") as other:
        with MockServer(Raw(b"", status=307, headers=(("location", other.openai_url),))) as server:
            got = opened(server.openai_url).generate(HELLO)
        assert other.total == 0
    assert got.outcome is Outcome.ERROR
    assert "points to" in got.error["message"]


def test_azure_is_spoken_to_by_deployment_or_by_its_v1(place, caplog):
    """As `api_version` says; the deployment's name is the model_id, and no sign of another model."""
    with MockServer(Answer("Hi.", model="gpt-4.1")) as server:
        write_keys(place, azure={"api_key": "key-number-1", "base_url": server.url})
        entry = {"model_name": "m", "backend": "azure", "model_id": "mine"}
        with load_model({**entry, "api_version": "2025-04-01-preview"}) as old, load_model(entry) as new:
            assert (old.generate(HELLO).text, new.generate(HELLO).text) == ("Hi.", "Hi.")
        paths = [(r.path, r.query) for r in server.requests]
    assert paths == [
        ("/openai/deployments/mine/chat/completions", "api-version=2025-04-01-preview"),
        ("/openai/v1/chat/completions", ""),
    ]
    assert "answered" not in caplog.text


@pytest.mark.parametrize(("name", "top_k"), [("vllm_server", -1), ("sglang_server", -1), ("llamacpp_server", 0)])
def test_own_servers_are_told_that_samplers_are_off(opened, name, top_k):
    """Else the repository's generation_config acts; what was asked for stays, and effective says all of it."""
    sent = body(name, params={"top_p": 0.9})
    assert (sent["top_k"], sent["top_p"], sent["presence_penalty"]) == (top_k, 0.9, 0.0)
    with MockServer("Hi.") as server:
        model = {"model_name": "m", "backend": name, "base_url": server.openai_url}
        with load_model(model) as loaded:
            assert loaded.generate(HELLO).params.effective["top_k"] == top_k


def test_another_model_than_the_one_asked_for_is_said_once(place, caplog):
    """A dated name of the same model is none."""

    def served(model):
        said = {"id": "x", "object": "chat.completion", "created": 1, "model": model}
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        return Raw(json.dumps({**said, "choices": [choice]}).encode())

    for answers, said in (("gpt-4.1-2025-04-14", 0), ("gpt-9-other", 1)):
        with MockServer(lambda ask, name=answers: served(name)) as server:
            (place / "key.json").write_text(
                json.dumps({"openai": {"api_key": "key-number-1", "base_url": server.openai_url}})
            )
            with load_model({"model_name": "m", "backend": "openai", "model_id": "gpt-4.1"}) as model:
                for _ in range(2):
                    assert model.generate(HELLO).outcome is Outcome.ANSWERED
        assert sum("gpt-9-other answered" in record.getMessage() for record in caplog.records) == said
