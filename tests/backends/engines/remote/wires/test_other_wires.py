"""Anthropic's and Google's wires by their official clients: what is sent, what is read, and how they fail."""

from __future__ import annotations

import base64
import json
from importlib import import_module

import pytest

from playbill.backends import MessageError, Outcome, ParameterError, load_model
from playbill.mock_services import Answer, Fault, MockOptions, MockServer, Raw
from support.pictures import tiny_png

pytest.importorskip("google.genai", reason="needs the extra `google`")

WIRES = ("anthropic", "google")
TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "say hello"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "again"},
]
PNG = base64.b64encode(tiny_png()).decode()
SEES = {"single_image": True}


@pytest.fixture
def asked(place):
    """Load a model of a service whose key may go to the server; closed when the test ends."""
    models = []

    def load(server, backend, **entry):
        (place / "key.json").write_text(json.dumps({backend: {"api_key": "key-number-1", "base_url": server.url}}))
        models.append(load_model({"model_name": "m", "backend": backend, "retry_pause": 0.01, **entry}))
        return models[-1]

    yield load
    for model in models:
        model.close()


def body(backend, messages=TALK, params=None, **entry):
    module = import_module(f"playbill.backends.engines.remote.wires.{backend}")
    return module.request_body({"model_name": "m", "backend": backend, **entry}, tuple(messages), params or {})


def test_another_model_than_the_one_asked_for_is_said(asked, caplog):
    """A name that goes on where ours ends is a version of it; anything else is another model."""
    for served, other in (("m", False), ("m-2026-01", False), ("models/m", False), ("claude-9", True)):
        caplog.clear()
        with MockServer(Answer("Hi.", model=served)) as server:
            got = asked(server, "anthropic").generate(TALK)
        assert got.details["served_model"] == served
        assert (f"asked for m, and {served} answered" in caplog.text) is other


@pytest.mark.parametrize("backend", WIRES)
def test_an_answer_whole_and_streamed(asked, backend):
    """Text, thinking, counts and both bodies; the body that is shown before is the one that is sent."""
    answer = Answer("Hello  there,\nyou.", thinking="They greet.", input_tokens=40, cached_tokens=30)
    with MockServer(answer, MockOptions(api_key="key-number-1")) as server:
        model = asked(server, backend, thinking_mode=True)
        whole = model.generate(TALK, max_tokens=50, stop="END")
        stream = model.stream(TALK)
        assert "".join(stream) == "Hello  there,\nyou."
        sent = [request.json for request in server.requests]
    shown = body(backend, params={"max_tokens": 50, "stop": "END"}, thinking_mode=True)
    assert whole.request == sent[0] == shown
    for got in (whole, stream.generation):
        assert (got.outcome, got.text, got.thinking) == (Outcome.ANSWERED, "Hello  there,\nyou.", "They greet.")
        assert got.usage.to_dict() == {
            "input_tokens": 40, "output_tokens": 5, "cached_tokens": 30, "thinking_tokens": 2,
        }  # fmt: skip
        assert got.details["served_model"] == "m"
        assert got.params.effective["max_thinking_tokens"] == 4000
    assert isinstance(whole.response, dict)
    assert isinstance(stream.generation.response, list)


def test_anthropics_body():
    """The system apart, one limit for answer and thinking, stop sequences; what thinking refuses is left out."""
    plain = body("anthropic", params={"stop": ["END"]})
    assert plain["system"] == [{"type": "text", "text": "Be short."}]
    assert [message["role"] for message in plain["messages"]] == ["user", "assistant", "user"]
    assert (plain["max_tokens"], plain["stop_sequences"]) == (300, ["END"])
    thinking = body("anthropic", thinking_mode=True, max_thinking_tokens=2000)
    assert (thinking["max_tokens"], thinking["thinking"]["budget_tokens"]) == (2300, 2000)
    assert "temperature" not in thinking
    adaptive = body("anthropic", thinking_mode="adaptive", reasoning_effort="low")
    assert (adaptive["thinking"], adaptive["output_config"]) == ({"type": "adaptive"}, {"effort": "low"})
    with pytest.raises(ParameterError, match="can't honour 'seed'"):
        body("anthropic", params={"seed": 1})


def test_googles_body():
    """Its own names for everything, and thoughts asked for with their budget."""
    plain = body("google", params={"stop": ["END"], "top_k": 3, "seed": 1, "logprobs": 2})
    assert plain["systemInstruction"]["parts"] == [{"text": "Be short."}]
    assert [content["role"] for content in plain["contents"]] == ["user", "model", "user"]
    assert plain["generationConfig"] == {
        "temperature": 0.0, "maxOutputTokens": 300, "stopSequences": ["END"], "topK": 3, "seed": 1,
        "responseLogprobs": True, "logprobs": 2,
    }  # fmt: skip
    effort = body("google", reasoning_model=True, reasoning_effort="low")["generationConfig"]
    assert effort["thinkingConfig"] == {"includeThoughts": True, "thinkingLevel": "LOW"}


def test_images_in_each_services_form():
    """Anthropic fetches URLs itself; Google doesn't, which is said."""
    data = [{"role": "user", "content": "x", "image": f"data:image/png;base64,{PNG}"}]
    url = [{"role": "user", "content": "x", "image": "https://e.org/a.png"}]
    assert body("anthropic", data, multimodality=SEES)["messages"][0]["content"][0]["source"]["data"] == PNG
    assert body("anthropic", url, multimodality=SEES)["messages"][0]["content"][0]["source"]["type"] == "url"
    inline = body("google", data, multimodality=SEES)["contents"][0]["parts"][0]
    assert inline == {"inlineData": {"mimeType": "image/png", "data": PNG}}
    with pytest.raises(MessageError, match="fetches no images"):
        body("google", url, multimodality=SEES)


@pytest.mark.parametrize("backend", WIRES)
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer("cut", finish="length"), Outcome.TRUNCATED),
        (Answer(None, thinking="hm", finish="length"), Outcome.TRUNCATED_IN_THINKING),
        (Fault.parse("refused"), Outcome.REFUSED),
        (Answer("", finish="stop"), Outcome.EMPTY),
        (Answer(None, finish="stop"), Outcome.EMPTY),
        (Fault.parse("context"), Outcome.CONTEXT_EXCEEDED),
    ],
)
def test_outcomes_follow_from_the_services_own_words(asked, backend, answer, outcome):
    """Whole and streamed."""
    with MockServer(answer) as server:
        model = asked(server, backend, thinking_mode=True)
        assert model.generate(TALK).outcome is outcome
        stream = model.stream(TALK)
        list(stream)
    assert stream.generation.outcome is outcome


@pytest.mark.parametrize("backend", WIRES)
@pytest.mark.parametrize(
    "fault",
    ["429@0", "500", "529", "reset", "half_body", "invalid_json", "html", "no_body", "no_choices", "error_200", "hang"],
)
def test_what_may_pass_is_tried_again(asked, backend, fault):
    """The same faults, whatever the client makes of them."""
    with MockServer([Fault.parse(fault), Answer("Hi.")]) as server:
        got = asked(server, backend, timeout=1).generate(TALK)
    assert (got.outcome, got.text, got.attempts) == (Outcome.ANSWERED, "Hi.", 2)


@pytest.mark.parametrize("backend", WIRES)
@pytest.mark.parametrize(("fault", "kind"), [("401", "CredentialsError"), ("quota", "QuotaUsedUp"), ("404", "Engine")])
def test_what_stays_wrong_fails_at_once(asked, backend, fault, kind):
    """With one attempt."""
    with MockServer(Fault.parse(fault)) as server:
        got = asked(server, backend).generate(TALK)
        assert server.total == 1
    assert got.error["type"].startswith(kind)


@pytest.mark.parametrize("backend", WIRES)
@pytest.mark.parametrize("fault", ["cut_stream", "short_stream", "reset_stream", "error_stream", "hang_stream"])
def test_a_stream_that_breaks_is_never_taken_for_an_answer(asked, backend, fault):
    """Whether it ends orderly or not."""
    with MockServer(["one two three", Fault.parse(fault)]) as server:
        model = asked(server, backend, timeout=1, max_attempts=1)
        assert "".join(model.stream(TALK)) == "one two three"
        stream = model.stream(TALK)
        list(stream)
    assert stream.generation.outcome is Outcome.ERROR


ODD_EVENTS = [
    {"type": "message_start", "message": [1]},
    {"type": "content_block_start", "index": None, "content_block": {"type": "text", "text": "one "}},
    {"type": "content_block_delta", "index": "x", "delta": {"type": "text_delta", "text": "two"}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 3}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": None}},
    {"type": "content_block_delta", "index": 0, "delta": [1]},
    {"type": "content_block_start", "index": 1, "content_block": "x"},
    {"index": 2, "delta": {"text": "no type"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": [5]},
]


def test_events_of_other_shapes_than_anthropics_are_read_as_far_as_they_say_something(asked):
    """What is shown of a stream and its text are one, and nothing fails with a TypeError."""
    body = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in ODD_EVENTS)
    with MockServer(lambda ask: Raw(body, content_type="text/event-stream")) as server:
        stream = asked(server, "anthropic").stream(TALK)
        shown = "".join(stream)
    assert (shown, stream.generation.text, stream.generation.outcome) == ("one two3", "one two3", Outcome.ANSWERED)
    assert stream.generation.usage.output_tokens is None
