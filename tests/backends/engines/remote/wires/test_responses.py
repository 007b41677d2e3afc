"""OpenAI's Responses API: bodies and answers, against the official client's own types and the mock server."""

from __future__ import annotations

import json

import pytest
from pydantic import TypeAdapter

from playbill.backends import FinishReason, Outcome, ParameterError
from playbill.backends.engines.remote.wires import openai as wire
from playbill.mock_services import Answer, Fault, MockServer, Raw
from support.pictures import png_url

types = pytest.importorskip("openai.types.responses", reason="needs the extra `openai`")
HELLO = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}]
TEXT = {"type": "text", "text": "what?"}
PIXEL = png_url()


def body(params=None, messages=tuple(HELLO), **entry):
    whole = {"model_name": "m", "backend": "openai", "model_id": "gpt-5-pro", **entry}
    return wire.request_body(whole, messages, params or {})


def judged(found):
    """A body that the official client's types accept, no field unknown."""
    typed = types.response_create_params.ResponseCreateParamsNonStreaming
    TypeAdapter(typed).validate_python(found)
    known = {k for each in (typed, *typed.__orig_bases__) for k in getattr(each, "__annotations__", {})}
    assert not found.keys() - known
    return found


def test_a_family_that_answers_only_there_is_asked_there():
    """By the table; nothing is stored at the service, and a summary of the thinking is asked for."""
    found = judged(body())
    assert found["input"] == [
        {"role": "system", "content": [{"type": "input_text", "text": "Be short."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
    ]
    assert found["store"] is False
    assert found["max_output_tokens"] == 25300
    assert found["reasoning"] == {"summary": "auto"}
    assert "messages" not in found


def test_an_entry_may_choose_the_api():
    """Either way."""
    assert "input" in judged(body(model_id="gpt-5.6", api="responses"))
    assert "messages" in body(model_id="gpt-5.6")
    assert "messages" in body(api="chat")


@pytest.mark.parametrize(
    ("entry", "reasoning"),
    [
        ({"reasoning_effort": "high"}, {"effort": "high", "summary": "auto"}),
        ({"model_id": "gpt-5.6", "api": "responses", "thinking": "off"}, {"effort": "none"}),
        ({"model_id": "gpt-5.6", "api": "responses"}, {"summary": "auto"}),
        ({"model_id": "gpt-4.1", "api": "responses"}, None),
        ({"backend": "openai_compatible", "base_url": "http://x/v1", "model_id": "own", "api": "responses"}, None),
    ],
)
def test_thinking_is_asked_for_in_the_apis_own_way(entry, reasoning):
    """An effort, and a summary where the family gives one."""
    assert judged(body(**entry)).get("reasoning") == reasoning


def test_parameters_have_the_apis_names_and_others_are_refused():
    """It knows no seed, no penalties and no stop strings."""
    entry = {"model_id": "gpt-4.1", "api": "responses"}
    found = judged(body({"temperature": 0.0, "top_p": 0.5, "logprobs": 2, "max_tokens": 9}, **entry))
    assert found["top_logprobs"] == 2
    assert found["include"] == ["message.output_text.logprobs"]
    assert (found["temperature"], found["top_p"], found["max_output_tokens"]) == (0.0, 0.5, 9)
    for name, value in (("seed", 1), ("stop", ["x"]), ("presence_penalty", 0.5)):
        with pytest.raises(ParameterError, match=name):
            body({name: value}, **entry)


def test_pictures_and_past_turns():
    """Pictures as parts of their own; the model's own words go back as they came."""
    talk = (
        {"role": "user", "content": [TEXT, {"type": "image_url", "image_url": {"url": PIXEL}}]},
        {"role": "assistant", "content": "a dot"},
        {"role": "user", "content": "sure?"},
    )  # fmt: skip
    found = judged(body(messages=talk, multimodality={"single_image": True, "multiple_images": True}))
    assert found["input"][0]["content"][1] == {"type": "input_image", "image_url": PIXEL, "detail": "auto"}
    assert found["input"][1] == {"role": "assistant", "content": "a dot"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("answer", "outcome", "reason", "text"),
    [
        (Answer("Hi you.", thinking="hm hm"), Outcome.ANSWERED, FinishReason.STOP, "Hi you."),
        (Answer("one two", finish="length"), Outcome.TRUNCATED, FinishReason.LENGTH, "one two"),
        (Answer("", thinking="hm", finish="length"), Outcome.TRUNCATED_IN_THINKING, FinishReason.LENGTH, ""),
        (Answer("", finish="refused"), Outcome.REFUSED, FinishReason.REFUSED, ""),
        (Answer("", finish="tool"), Outcome.EMPTY, FinishReason.TOOL_CALLS, ""),
    ],
)
def test_answers_are_read_whole_and_streamed(opened, answer, outcome, reason, text, stream):
    """Text, thinking, usage and the end, the same both ways."""
    with MockServer(answer) as server:
        model = opened(server.openai_url, api="responses", model_id="m", extra_body={"reasoning": {"summary": "auto"}})
        if stream:
            streamed = model.stream(HELLO)
            assert "".join(streamed) == text
            got = streamed.generation
        else:
            got = model.generate(HELLO)
        assert server.requests[0].path.endswith("/responses")
    assert (got.outcome, got.finish_reason, got.text) == (outcome, reason, text)
    assert got.thinking == answer.thinking
    assert got.usage.input_tokens == 3
    assert got.usage.thinking_tokens == len((answer.thinking or "").split())
    types.Response.model_validate(got.response if not stream else got.response[-1]["response"])


@pytest.mark.parametrize("fault", ["500", "half_body", "no_choices", "invalid_json", "429"])
def test_faults_are_tried_again(opened, fault):
    """As on the other wires."""
    with MockServer([Fault.parse(fault), Answer("Hi.")]) as server:
        got = opened(server.openai_url, api="responses", timeout=2).generate(HELLO)
        assert server.total == 2
    assert got.text == "Hi."


@pytest.mark.parametrize("fault", ["cut_stream", "error_stream", "short_stream"])
def test_a_stream_that_breaks_is_no_answer(opened, fault):
    """What was shown can't be taken back."""
    with MockServer(Fault.parse(fault)) as server:
        stream = opened(server.openai_url, api="responses", timeout=2, max_attempts=1).stream(HELLO)
        list(stream)
    assert stream.generation.outcome is Outcome.ERROR


def test_a_streams_text_is_what_was_shown(opened):
    """A service may show something else than it says in the end: what went out can't be taken back."""
    final = {"status": "completed", "output": [], "usage": None}
    events = [
        {"type": "response.output_text.delta", "delta": "Hi "},
        {"type": "response.output_text.delta", "delta": "you."},
        {"type": "response.completed", "response": final},
    ]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    with MockServer(Raw(body, content_type="text/event-stream")) as server:
        stream = opened(server.openai_url, api="responses").stream(HELLO)
        assert "".join(stream) == "Hi you."
    assert stream.generation.text == "Hi you."


def test_an_answer_that_failed_is_classified_by_its_error(opened):
    """The service says so with a 200."""
    failed = {"status": "failed", "error": {"code": "server_error", "message": "it broke"}, "output": []}
    with MockServer(Answer("", extra=failed)) as server:
        got = opened(server.openai_url, api="responses", max_attempts=1).generate(HELLO)
    assert "it broke" in got.error["message"]


def test_the_official_client_reads_the_mock(place):
    """So that what the mock says is what the service says."""
    import openai

    with MockServer(Answer("Hi.", thinking="hm")) as server:
        client = openai.OpenAI(base_url=server.openai_url, api_key="key-number-1", max_retries=0)
        whole = client.responses.create(model="m", input="hello", reasoning={"summary": "auto"})
        assert (whole.output_text, whole.status, whole.usage.output_tokens) == ("Hi.", "completed", 2)
        with client.responses.stream(model="m", input="hello") as stream:
            assert [e.delta for e in stream if e.type == "response.output_text.delta"] == ["Hi."]
            assert stream.get_final_response().output_text == "Hi."
    assert json.dumps(whole.output[0].model_dump()["summary"]) == '[{"text": "hm", "type": "summary_text"}]'
