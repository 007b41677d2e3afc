"""Services that fail in any order before they answer: the retries end, with an answer or an error in words."""

from __future__ import annotations

import json
from itertools import count

from hypothesis import strategies as st

from playbill.backends import Outcome, errors, load_model
from playbill.mock_services import MockServer, Raw
from playbill.runs.folder.record import TurnId, make_record, to_line
from support.fuzzed_runs import readable_line
from support.fuzzing import fuzz

HELLO = [{"role": "user", "content": "Hello there."}]
SOUND = {
    "id": "x",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
}
EVENTS = b"".join(
    b"data: "
    + json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": end}]}).encode()
    + b"\n\n"
    for text, end in (("Hi", None), (".", "stop"))
)
WAITS = ("0", "0.001", "-1", "", "abc", "1e999", "NaN", "inf", "99999999999", "9" * 400, "0x10", "\xb2", "1, 2", "1 s")
WAITS += (
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Wed, 21 Oct 2015 07:28:00 -0000",
    "Mon, 99 Foo 2015",
    "2026-01-01T00:00:00Z",
)
HEADERS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("retry-after", "Retry-After", "retry-after-ms")), st.sampled_from(WAITS)),
        st.tuples(st.just("x-should-retry"), st.sampled_from(("true", "false", "maybe"))),
        st.tuples(
            st.sampled_from(("x-ratelimit-reset-requests", "x-ratelimit-remaining-tokens")), st.sampled_from(WAITS)
        ),
    ),
    max_size=3,
)
BODIES = st.sampled_from(
    (
        *(
            b"",
            b"<html>busy</html>",
            b"null",
            b"[]",
            b'{"error": null}',
            b'{"error": "busy"}',
            b"\xff\xfe",
            b'{"error":',
        ),
        b'{"error": {"message": "Rate limit reached. Please try again in 1e999s.", "code": "rate_limit_exceeded"}}',
        b'{"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9e99s"}]}}',
    )
)
FAILURES = st.lists(
    st.builds(
        lambda status, body, headers: Raw(body, status, "application/json", tuple(headers)),
        st.sampled_from((408, 409, 425, 429, 429, 500, 502, 503, 504, 520, 529)),
        BODIES,
        HEADERS,
    ),
    max_size=4,
)
_OURS = {name for name in dir(errors) if isinstance(getattr(errors, name), type)}


@fuzz(st.tuples(FAILURES, st.booleans()), quick=25)
def test_a_service_that_fails_before_it_answers(example, place):
    """As often as the entry allows, and never past its budget of time."""
    failures, stream = example
    asked = count()
    answer = Raw(EVENTS, 200, "text/event-stream") if stream else Raw(json.dumps(SOUND).encode())

    def reply(messages: object) -> Raw:
        return dict(enumerate(failures)).get(next(asked), answer)

    entry = {
        "model_name": "m",
        "backend": "openai_compatible",
        "max_attempts": 3,
        "retry_pause": 0.001,
        "time_budget": 2,
    }
    with MockServer(reply) as server, load_model({**entry, "base_url": server.openai_url}) as model:
        if stream:
            streamed = model.stream(HELLO)
            shown, generation = "".join(streamed), streamed.generation
        else:
            generation = model.generate(HELLO)
            shown = generation.text
        assert server.total <= 3
    if generation.outcome is Outcome.ERROR:
        assert generation.error is not None
        assert generation.error["type"] in _OURS, generation.error
        assert failures, "no failure, and no answer"
    else:
        assert shown == generation.text == "Hi."
    readable_line(to_line(make_record(TurnId("d", 0, 0), "m", "m", HELLO, generation)))
