"""Odd answers of services on OpenAI's wire: each has its outcome, and a record that our own readers take."""

from __future__ import annotations

import json

import pytest

from playbill.backends import Outcome, load_model
from playbill.cli import main
from playbill.mock_services import MockServer, Raw
from playbill.runs import read_records, run

HELLO = [{"role": "user", "content": "hello"}]


def answer(choice, usage=None, **more):
    said = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", **more}
    return json.dumps({**said, "choices": [{"index": 0, **choice}], "usage": usage}).encode()


OK = {"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
BODIES = {
    "aborted": (answer({**OK, "finish_reason": "abort"}), Outcome.ERROR, ""),
    "limit in other words": (answer({**OK, "finish_reason": "MAX_TOKENS"}), Outcome.TRUNCATED, "ok"),
    "filtered whole": (answer({"finish_reason": "content_filter"}), Outcome.REFUSED, ""),
    "usage as texts": (answer(OK, {"prompt_tokens": "12", "completion_tokens": "3"}), Outcome.ANSWERED, "ok"),
    "usage beyond numbers": (answer(OK, {"prompt_tokens": 10**400, "completion_tokens": -1}), Outcome.ANSWERED, "ok"),
    "usage with a list": (answer(OK, {"prompt_tokens": 1, "prompt_tokens_details": [1]}), Outcome.ANSWERED, "ok"),
    "usage as a list": (answer(OK, [1, 2]), Outcome.ANSWERED, "ok"),
    "half a surrogate": (answer({**OK, "message": {"content": "hi \ud83d"}}), Outcome.ANSWERED, "hi \ufffd"),
    "as deep as is read": (answer(OK, json.loads("[" * 99 + "]" * 99)), Outcome.ANSWERED, "ok"),
    "deep": (answer(OK, json.loads("[" * 500 + "]" * 500)), Outcome.ERROR, ""),
    "deeper than a reader goes": (b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Outcome.ERROR, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_each_odd_body_has_its_outcome_and_its_run_goes_on(place, name):
    """A run of it is recorded, read back, started again, audited and reported."""
    body, outcome, text = BODIES[name]
    with MockServer(lambda ask: Raw(body)) as server:
        model = {
            "model_name": "m", "backend": "openai_compatible", "base_url": server.openai_url,
            "max_attempts": 2, "retry_pause": 0.01,
        }  # fmt: skip
        for _ in range(2):
            run([{"id": "d", "turns": ["hello", "again"]}], model, out="out")
    first = next(iter(read_records(place / "out" / "m" / "records.jsonl")))
    assert (first["outcome"], first["text"]) == (outcome, text)
    for command in ("audit", "report"):
        with pytest.raises(SystemExit) as ended:
            main([command, "out"])
        assert ended.value.code in (0, 1), command


def test_json_is_utf8_whatever_its_charset_says(opened):
    """As the official clients read it."""
    body = answer({"message": {"content": "Grüße"}, "finish_reason": "stop"}).decode("unicode_escape").encode()
    with MockServer(lambda ask: Raw(body, content_type="application/json; charset=iso-8859-1")) as server:
        assert opened(server.openai_url).generate(HELLO).text == "Grüße"


@pytest.mark.parametrize("status", [200, 400])
def test_what_is_no_utf16_though_its_header_says_so_is_an_error_in_words(opened, status):
    """A charset that the bytes don't fit is no exception of a codec's."""
    with MockServer(lambda ask: Raw(b"{no", status, "text/html; charset=utf-16")) as server:
        generation = opened(server.openai_url, max_attempts=1).generate(HELLO)
    assert (generation.outcome, generation.error["type"], generation.response) == (Outcome.ERROR, "EngineError", "{no")


def test_a_stream_may_begin_with_a_byte_order_mark_and_hold_other_answers(opened):
    """The first event is read, and of several answers the first."""
    events = [
        {"choices": [{"index": 0, "delta": {"content": "one"}}, {"index": 1, "delta": {"content": "two"}}]},
        {"choices": [{"index": 1, "delta": {"content": "!"}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    body = b"\xef\xbb\xbf" + b"".join(b"data: %s\n\n" % json.dumps(e).encode() for e in events) + b"data: [DONE]\n\n"
    with MockServer(lambda ask: Raw(body, content_type="text/event-stream")) as server:
        stream = opened(server.openai_url).stream(HELLO)
        assert "".join(stream) == "one"
        assert (stream.generation.outcome, stream.generation.text) == (Outcome.ANSWERED, "one")


def test_mistral_gets_no_stream_options(place):
    """It refuses the field, and tells the usage unasked."""
    with MockServer("Hi.") as server:
        keys = {"mistral": {"api_key": "key-number-1", "base_url": server.openai_url}}
        (place / "key.json").write_text(json.dumps(keys))
        with load_model({"model_name": "m", "backend": "mistral"}) as model:
            assert model.stream(HELLO).generation.outcome is Outcome.ANSWERED
        assert "stream_options" not in server.requests[0].json
