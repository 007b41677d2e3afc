"""What a service answers, on each wire, whole and streamed: an outcome, and a record that our own readers take."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("h11", reason="needs the extra `serve`")
pytest.importorskip("openai", reason="needs the extra `openai`")
pytest.importorskip("anthropic", reason="needs the extra `anthropic`")
pytest.importorskip("google.genai", reason="needs the extra `google`")

from hypothesis import strategies as st

import playbill.backends.errors as errors
from playbill.backends import Outcome, load_model
from playbill.mock_services import Answer, MockServer, Raw
from playbill.mock_services.answers import Ask
from playbill.mock_services.faults import FaultKind
from playbill.mock_services.replies import answer_reply
from playbill.mock_services.wires import WIRES, Problem
from playbill.runs.folder.manifest import describe_model
from playbill.runs.folder.record import TurnId, make_record, to_line
from support.fuzzed_runs import fresh, read_back, readable_line
from support.fuzzing import fuzz
from support.mutations import json_values, mutated_bytes, written

HELLO = [{"role": "user", "content": "Hello there."}]
THOUGHT = Answer("Hello\n you.", thinking="They greet.", input_tokens=40, cached_tokens=30, thinking_tokens=3)
LOGPROBS = {"content": [{"token": "Hi", "logprob": -0.1, "bytes": [72], "top_logprobs": [{"token": "x"}]}]}
BODIES: dict[str, list[Any]] = {}
STREAMS: dict[str, list[Any]] = {}
for _name, _wire in WIRES.items():
    _asks = [Ask("m", tuple(HELLO), stream=stream, stream_usage=True) for stream in (False, True)]
    _whole, _parts = (answer_reply(_wire, ask, THOUGHT, 1, 0.0) for ask in _asks)
    BODIES[_name] = [json.loads(b"".join(_whole.chunks))]
    BODIES[_name] += [json.loads(b"".join(answer_reply(_wire, _asks[0], Answer("Hi."), 1, 0.0).chunks))]
    BODIES[_name] += [_wire.error(Problem(FaultKind.RATE_LIMIT, retry_after=3.0), 1).body]
    _lines = b"".join(_parts.chunks).splitlines()
    STREAMS[_name] = [[json.loads(x[5:]) for x in _lines if x.startswith(b"data: {")]]
BODIES["openai"][1]["choices"][0]["logprobs"] = LOGPROBS

STATUSES = st.sampled_from((200,) * 12 + (302, 400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529, 599))
WAITS = ("0", "-1", "abc", "1e999", "NaN", "99999999999", "9" * 400, "Wed, 21 Oct 2015 07:28:00 -0000", "\xb2", "0x10")
WAITS += (
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Mon, 99 Foo 2015",
    "Wed, 21 Oct 2015 07:28",
)
TYPES = ("application/json", "application/json; charset=utf-16", "application/json; charset=no-such", "text/html", "x")
ODD = st.sampled_from((
    *((name, value) for name in ("retry-after", "retry-after-ms") for value in WAITS),
    ("content-encoding", "gzip"), ("content-encoding", "no-such"), ("location", "http://127.0.0.1:9/"),
    ("x-request-id", "\xff" * 300), ("x-should-retry", "maybe"), ("openai-processing-ms", "NaN"),
))  # fmt: skip


@st.composite
def replies(draw: Any, name: str, stream: bool) -> Raw:
    """A reply of a service: its status, headers and body."""
    headers = tuple(draw(st.lists(ODD, max_size=2)))
    status = draw(STATUSES)
    if not stream or status != 200:
        body = draw(mutated_bytes(written(draw(json_values(BODIES[name])))))
        return Raw(body, status, draw(st.sampled_from((TYPES[0],) * 4 + TYPES)), headers)
    events = draw(json_values(STREAMS[name]))
    gap = draw(st.sampled_from((b"\n\n", b"\n\n", b"\r\n\r\n", b"\r\r")))
    body = draw(mutated_bytes(b"".join(map(_event, events if isinstance(events, list) else [events]))))
    done = draw(st.sampled_from((b"data: [DONE]\n\n", b"", b": ping\n\ndata: [DONE]\n\n")))
    return Raw((body + done).replace(b"\n\n", gap), 200, "text/event-stream", headers)


def _event(value: Any) -> bytes:
    kind = value.get("type") if isinstance(value, dict) else None
    named = b"event: %s\n" % kind.encode(errors="replace") if isinstance(kind, str) and "@@" not in kind else b""
    return named + b"data: " + written(value) + b"\n\n"


@dataclass
class _Asked:
    """One service, a model of it, and the reply that the next request gets."""

    model: Any
    reply: Raw


def _asked(name: str, place: Any) -> _Asked:
    if name not in _OPEN:
        _OPEN[name] = _Asked(None, Raw(b""))
        server = MockServer(lambda messages: _OPEN[name].reply).start()
        backend = {"openai": "openai_compatible", "responses": "openai_compatible"}.get(name, name)
        url = server.openai_url if backend == "openai_compatible" else server.url
        (place / "key.json").write_text(json.dumps({backend: {"api_key": "key-number-1", "base_url": url}}))
        entry = {"model_name": "m", "backend": backend, "max_attempts": 1, "retry_pause": 0.001}
        own = {"base_url": url, "api": "responses" if name == "responses" else "chat"}
        _OPEN[name].model = load_model(entry | (own if backend == "openai_compatible" else {}))
    return _OPEN[name]


_OPEN: dict[str, _Asked] = {}
_OURS = {name for name in dir(errors) if isinstance(getattr(errors, name), type)}


def _hold(name: str, raw: Raw, place: Any, *, stream: bool) -> None:
    asked = _asked(name, place)
    asked.reply = raw
    model = asked.model
    model.engine.forget()  # no example waits for what another one asked for, or is refused because another one was
    messages = HELLO
    folder = fresh(place)
    (folder / "m").mkdir(parents=True)
    lines = b""
    for turn in range(2):
        if stream:
            streamed = model.stream(messages)
            shown = "".join(streamed)
            generation = streamed.generation
            if generation.outcome is Outcome.ANSWERED:
                assert shown in (generation.raw, generation.text), "the stream is not the answer"
        else:
            generation = model.generate(messages)
        if generation.outcome is Outcome.ERROR:
            assert generation.error is not None
            assert generation.error["type"] in _OURS, generation.error
        record = make_record(TurnId("d", turn, 0), "m", "m", messages, generation)
        lines += to_line(record)
        readable_line(to_line(record))
        if not generation.outcome.goes_on:
            break
        messages = [*messages, {"role": "assistant", "content": generation.text}, HELLO[0]]
    manifest = {"schema": 1, "date": "2026-01-01T00:00:00", "inputs": {"files": []}, "starts": [], "models": {}}
    manifest["models"] = {"m": {"folder": "m", **describe_model(model, model.spec, seeded=False)}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "m" / "records.jsonl").write_bytes(lines)
    read_back(folder)


@fuzz(replies("openai", False), quick=20)
def test_openai(example, place):
    """A body of chat completions."""
    _hold("openai", example, place, stream=False)


@fuzz(replies("openai", True), quick=20)
def test_openai_streamed(example, place):
    """Chunks of chat completions."""
    _hold("openai", example, place, stream=True)


@fuzz(replies("responses", False), quick=20)
def test_responses(example, place):
    """A body of the Responses API."""
    _hold("responses", example, place, stream=False)


@fuzz(replies("responses", True), quick=20)
def test_responses_streamed(example, place):
    """Events of the Responses API."""
    _hold("responses", example, place, stream=True)


@fuzz(replies("anthropic", False), quick=20)
def test_anthropic(example, place):
    """A message."""
    _hold("anthropic", example, place, stream=False)


@fuzz(replies("anthropic", True), quick=20)
def test_anthropic_streamed(example, place):
    """Events of a message."""
    _hold("anthropic", example, place, stream=True)


@fuzz(replies("google", False), quick=20)
def test_google(example, place):
    """A generateContent response."""
    _hold("google", example, place, stream=False)


@fuzz(replies("google", True), quick=20)
def test_google_streamed(example, place):
    """A stream of generateContent responses."""
    _hold("google", example, place, stream=True)
