"""`playbill serve` as its clients see it: answers, streams, parameters, and what is refused by name."""

from __future__ import annotations

import pytest

from support.pictures import png_url

from support.serving import HELLO, LOADERS, ask  # isort: skip - first, for it skips where openai misses

import httpx2 as httpx
import openai


def test_the_official_client_gets_an_answer_with_usage(client):
    """The answer is clean, the finish reason OpenAI's, and tokens are counted."""
    done = client.chat.completions.create(model="answers", messages=HELLO)
    assert done.choices[0].message.content == "One two three."
    assert done.choices[0].finish_reason == "stop"
    assert done.usage.completion_tokens == 3
    assert done.usage.total_tokens == done.usage.prompt_tokens + 3


def test_the_names_that_may_be_used_are_those_that_were_given(client):
    """All given models are listed, each can be asked for by itself, and the packaged registry's others can't."""
    assert [model.id for model in client.models.list()] == list(LOADERS)
    assert client.models.retrieve("echo").owned_by == "playbill"
    with pytest.raises(openai.NotFoundError, match="served are echo"):
        client.chat.completions.create(model="mock", messages=HELLO)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("mock")


def test_a_stream_holds_the_same_answer_and_its_usage(client):
    """The pieces of a stream, joined, are the whole answer; the usage comes last, without a choice."""
    chunks = list(
        client.chat.completions.create(
            model="answers", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "One two three."
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens == 3
    assert not chunks[-1].choices


def test_parameters_reach_the_engine(client):
    """Stop strings and the token limit act, in a stream as well; seed, top_k and others come back as effective."""
    stopped = client.chat.completions.create(model="echo", messages=HELLO, stop=["who"])
    assert stopped.choices[0].message.content == "Hello there,"
    short = client.chat.completions.create(model="echo", messages=HELLO, max_completion_tokens=2)
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("Hello there,", "length")
    streamed = client.chat.completions.create(model="echo", messages=HELLO, stop=["who"], stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == "Hello there,"
    extra = {"top_k": 5, "playbill": {"record": True}}
    recorded = client.chat.completions.create(model="echo", messages=HELLO, seed=7, top_p=0.5, extra_body=extra)
    assert recorded.playbill["params"]["asked"] == {"seed": 7, "top_p": 0.5, "top_k": 5}
    assert recorded.playbill["outcome"] == "answered"


def test_messages_are_sent_as_the_client_gave_them(client):
    """Two messages of a role in a row and an empty system message stay what they are; null keys are no keys."""
    given = [{"role": "system", "content": ""}, *HELLO, {"role": "user", "content": "Two.", "name": None}]
    extra = {"playbill": {"record": True}}
    assert client.chat.completions.create(model="echo", messages=given, extra_body=extra).playbill["changes"] == []


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"frobnicate": 1}, "frobnicate", "unknown_parameter"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"n": True}, "n", "unsupported_parameter"),
        ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"logit_bias": {"1": 5}}, "logit_bias", "unsupported_parameter"),
        ({"temperature": "warm"}, "temperature", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "invalid_value"),
        ({"stop": [1]}, "stop", "invalid_value"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "invalid_value"),
        ({"top_logprobs": 3}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 99}, "top_logprobs", "invalid_value"),
        ({"stream": False, "stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"messages": []}, "messages", "invalid_messages"),
        ({"messages": "hello"}, "messages", "invalid_value"),
        ({"messages": [{"content": "x"}]}, "messages", "invalid_messages"),
        (
            {"messages": [{"role": "user", "content": "x", "image": "/etc/passwd"}]},
            "messages[0].image",
            "invalid_value",
        ),
        ({"model": None}, "model", "invalid_value"),
        ({"playbill": {"recrod": True}}, "playbill", "unknown_parameter"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_done_is_refused_by_name(url, fields, param, code, stream):
    """An unknown or unsupported field is a 400 in OpenAI's form that names it; nothing is ignored in silence."""
    answer = ask(url, **{"stream": stream, **fields})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")


@pytest.mark.parametrize("image", ["http://169.254.169.254/x.png", "file:///etc/passwd", "/etc/passwd", 5, None])
def test_images_are_taken_as_data_only(url, image):
    """No address that a client names is ever fetched."""
    parts = [{"type": "image_url", "image_url": {"url": image}}]
    answer = ask(url, messages=[{"role": "user", "content": parts}])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages[0].content[0].image_url.url"


def test_an_image_as_a_data_url_goes_to_the_model(url):
    """A data URL passes, and the text beside it is answered."""
    image = {"type": "image_url", "image_url": {"url": png_url()}}
    answer = ask(url, messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}])
    assert answer.json()["choices"][0]["message"]["content"] == "What is it?"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"model": NaN}', b"[" * 50_000, b'{"n":1,"n":2}'])
def test_what_is_no_json_object_is_refused(url, body):
    """Whatever the bytes are, the answer is a 400 with an error object."""
    answer = httpx.post(f"{url}/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "messages", "status", "code"),
    [
        ("failing", [{"role": "user", "content": "engine"}], 500, "engine_error"),
        ("failing", [{"role": "user", "content": "bug"}], 500, "engine_error"),
        ("failing", [{"role": "user", "content": "context"}], 400, "context_length_exceeded"),
        ("strict", [{"role": "user", "content": "x" * 500}], 400, "context_length_exceeded"),
        ("strict", HELLO * 2, 400, "template_refused"),
    ],
)
def test_each_fate_has_its_status(client, model, messages, status, code, stream):
    """What fails before there is text has a status of its own, streamed or not; the client doesn't retry for ever."""
    with pytest.raises(openai.APIStatusError) as failed:
        client.chat.completions.create(model=model, messages=messages, stream=stream)
    assert (failed.value.status_code, failed.value.code) == (status, code)


def test_a_refusal_is_an_answer_with_a_reason(client):
    """A service's refusal comes as finish reason and refusal, and never as an answer's text."""
    choice = client.chat.completions.create(model="failing", messages=[{"role": "user", "content": "refused"}]).choices[
        0
    ]
    assert (choice.finish_reason, choice.message.content, choice.message.refusal) == ("content_filter", "", "no luck")


def test_paths_and_methods_that_there_are_not_are_said_in_openais_form(url):
    """A wrong path is a 404, a wrong method a 405, both with an error object."""
    assert httpx.get(f"{url}/embeddings").json()["error"]["code"] == "unknown_url"
    assert httpx.get(f"{url}/chat/completions").status_code == 405


@pytest.mark.parametrize(
    "extra",
    [
        {"type": "message"},
        {"type": "text"},
        {"annotations": []},
        {"audio": None, "tool_calls": []},
        {"function_call": {}},
        {"id": "msg_1", "status": "completed", "object": "chat.completion.message", "created": 1, "index": 0},
        {"reasoning_details": [], "citations": [], "provider_specific_fields": {}},
    ],
)
def test_what_clients_send_back_with_an_answer_is_no_fault(url, extra):
    """A past answer comes back as the clients' own types dump it: with keys that say nothing to a model."""
    past = [
        *HELLO,
        {"role": "assistant", "content": "One.", "refusal": None, **extra},
        {"role": "user", "content": "on"},
    ]
    assert ask(url, messages=past).status_code == 200


@pytest.mark.parametrize(
    "extra",
    [
        {"annotations": [{"type": "url_citation"}]},
        {"type": "function_call"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "so"}]},
    ],
)
def test_what_says_something_to_a_model_is_refused_by_name(url, extra):
    """A key with a meaning that can't be kept is never dropped in silence."""
    answer = ask(url, messages=[{"role": "user", "content": "hi", **extra}])
    assert answer.status_code == 400
    assert f"messages[0].{next(iter(extra))}" in answer.json()["error"]["message"]
