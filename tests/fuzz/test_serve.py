"""What clients send to `serve`: an answer or an error in OpenAI's form, never a fault of the server's own."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("starlette", reason="needs the extra `serve`")
pytest.importorskip("openai", reason="needs the extra `openai`")

import httpx2 as httpx
from hypothesis import strategies as st

from playbill.serve.guard import Rules
from playbill.serve.server import Server
from support.fuzzing import fuzz
from support.mutations import json_bytes
from support.serving import HELLO, LOADERS

PNG = "data:image/png;base64,iVBORw0KGgo="
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REQUESTS = [
    {"model": "echo", "messages": HELLO, "max_tokens": 20, "temperature": 0.0, "stop": ["x"], "n": 1},
    {"model": "answers", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}, "tools": []},
    {"model": "strict", "messages": HELLO, "max_completion_tokens": 20, "playbill": {"dialogue": "d", "record": True}},
    {"model": "echo", "messages": [*HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                                   {"role": "tool", "tool_call_id": "c", "content": "1"}], "top_logprobs": 2},
    {"model": "echo", "stream": True, "playbill": {"record": "clembench"}, "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}, {"type": "text", "text": "?"}]},
    ]},
]  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(("content-type", "authorization", "accept-encoding", "origin", "x-stainless-retry-count")),
    st.sampled_from(("", "Bearer x", "Bearer \xe9", "text/plain", "null", "http://a.example", "gzip")),
    max_size=2,
)


@pytest.fixture(scope="module")
def server():
    """A server of models that fail in no way of their own, as long as this module runs."""
    loaders = {name: load for name, load in LOADERS.items() if name != "failing"}
    with Server(loaders=loaders, port=0, rules=Rules(body_limit=1_000_000)).in_background() as url:
        with httpx.Client(base_url=url, timeout=20) as client:
            yield client


@fuzz(st.tuples(json_bytes(REQUESTS), HEADERS), quick=40, fixture="server")
def test_a_request_for_a_chat_completion(example, place, server):
    """Any body, with odd headers beside it."""
    body, headers = example
    sent = {"content-type": "application/json", **headers}
    answer = server.post("chat/completions", content=body, headers={k: v.encode("latin-1") for k, v in sent.items()})
    said = f"{answer.status_code}: {answer.text[:500]}"
    assert answer.status_code < 500, said
    if answer.status_code != 200:
        assert answer.json()["error"]["message"], said
    elif "event-stream" in answer.headers["content-type"]:
        data = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
        events = [json.loads(each) for each in data if each != "[DONE]"]
        assert not [event for event in events if "error" in event], said
    else:
        assert answer.json()["choices"], said


ASKS = st.sampled_from(
    ("v1/models", "v1/models/echo", "v1/models/%00", "healthz", "metrics", "v1", "..//", "%ff", "v1/chat")
)


@fuzz(st.tuples(st.sampled_from(("GET", "POST", "PUT", "OPTIONS", "HEAD")), ASKS, HEADERS), quick=20, fixture="server")
def test_any_other_request(example, place, server):
    """Any path and method."""
    method, path, headers = example
    url = str(server.base_url).removesuffix("v1/") + path
    answer = server.request(method, url, headers={k: v.encode("latin-1") for k, v in headers.items()})
    assert answer.status_code < 500, f"{answer.status_code}: {answer.text[:500]}"
