"""What is tried again, what is not, and what a person is told."""

from __future__ import annotations

import re
import socket
import subprocess
import threading

import pytest

from playbill.backends import Outcome
from playbill.mock_services import Answer, Fault, FaultKind, MockOptions, MockServer, Raw

HELLO = [{"role": "user", "content": "say hello"}]
PASSING = [
    "408", "429", "429@0.01", "500", "502", "503", "504", "529", "reset", "close", "half_body", "reset_stream",
    "invalid_json", "html", "no_body", "no_choices", "error_200", "hang@20",
]  # fmt: skip
LASTING = {
    "400": ("EngineError", "400"),
    "401": ("CredentialsError", "playbill keys set openai_compatible"),
    "402": ("QuotaUsedUp", "used up"),
    "403": ("EngineError", "may not use this model"),
    "404": ("EngineError", "check the entry's 'model_id'"),
    "quota": ("QuotaUsedUp", "billing page"),
    "context": ("ContextExceeded", "maximum context length"),
    "refused": ("Refused", "refused by the content filter"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_tried_again(opened, fault):
    """And the answer says how many attempts it took."""
    with MockServer([Fault.parse(fault), Answer("Hi.")]) as server:
        got = opened(server.openai_url, timeout=1).generate(HELLO)
        assert server.total == 2
    assert (got.outcome, got.text, got.attempts) == (Outcome.ANSWERED, "Hi.", 2)


@pytest.mark.parametrize("fault", sorted(LASTING))
def test_what_stays_wrong_fails_at_once(opened, fault):
    """With one attempt, a message that says what to do, and both bodies in the record."""
    with MockServer(Fault.parse(fault)) as server:
        got = opened(server.openai_url).generate(HELLO)
        assert server.total == 1
    kind, words = LASTING[fault]
    assert got.error["type"] == kind
    assert words in got.error["message"]
    assert got.request["messages"] == HELLO
    assert got.response["error"]["message"]
    assert got.outcome is {
        "context": Outcome.CONTEXT_EXCEEDED,
        "refused": Outcome.REFUSED,
    }.get(fault, Outcome.ERROR)


def test_attempts_are_bounded(opened):
    """Six by default; an entry may say otherwise. The client's own retries don't multiply them."""
    with MockServer(Fault(FaultKind.SERVER_ERROR)) as server:
        got = opened(server.openai_url).generate(HELLO)
        assert (server.total, got.attempts) == (6, 6)
        assert "given up after 6 attempts" in got.error["message"]
        assert opened(server.openai_url, max_attempts=2).generate(HELLO).attempts == 2


def test_an_empty_answer_is_an_outcome_and_asked_again_only_on_request(opened):
    """As often as the entry says."""
    with MockServer([Fault(FaultKind.EMPTY), Fault(FaultKind.NULL), Fault(FaultKind.EMPTY), Answer("Hi.")]) as server:
        got = opened(server.openai_url).generate(HELLO)
        assert (got.outcome, got.attempts) == (Outcome.EMPTY, 1)
        got = opened(server.openai_url, retry_empty=1).generate(HELLO)
        assert (got.outcome, got.attempts) == (Outcome.EMPTY, 2)
        got = opened(server.openai_url, retry_empty=3).generate(HELLO)
        assert (got.text, got.attempts) == ("Hi.", 1)


def test_a_finish_in_error_is_no_answer(opened):
    """OpenRouter and DeepSeek say with a 200 that the answer broke off."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hal"}, "finish_reason": "error"}
    with MockServer([Answer("", extra={"choices": [choice]}), Answer("Hi.")]) as server:
        assert opened(server.openai_url).generate(HELLO).text == "Hi."


@pytest.mark.parametrize("fault", ["cut_stream", "short_stream", "reset_stream", "error_stream", "hang_stream@20"])
def test_a_stream_that_breaks_is_never_taken_for_an_answer(opened, fault):
    """What was shown can't be taken back, so it isn't begun anew either."""
    with MockServer(["one two three", Fault.parse(fault)]) as server:
        model = opened(server.openai_url, timeout=1)
        assert "".join(model.stream(HELLO)) == "one two three"
        stream = model.stream(HELLO)
        shown = "".join(stream)
        assert server.total == 2
    assert stream.generation.outcome is Outcome.ERROR
    assert shown
    came = re.search(r"after (\d+) characters had come", stream.generation.error["message"])
    assert len(shown) <= int(came[1]) <= len(shown) + 1  # a space at the end may be no part of the answer


def test_a_stream_that_never_began_is_tried_again(opened):
    """Nothing was shown yet."""
    with MockServer([Fault(FaultKind.UNAVAILABLE), Fault(FaultKind.RESET), Answer("Hi you.")]) as server:
        stream = opened(server.openai_url).stream(HELLO)
        assert "".join(stream) == "Hi you."
    assert stream.generation.attempts == 3


def test_nothing_begins_after_the_budget_of_time(opened):
    """The last failure is told, and why there was no other attempt."""
    with MockServer(Fault(FaultKind.RATE_LIMIT, 5)) as server:
        got = opened(server.openai_url, time_budget=1).generate(HELLO)
        assert server.total == 1
    assert "the time budget of 1 s is used up" in got.error["message"]


def unused_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_a_dead_endpoint_is_told_by_one_message(opened):
    """After twenty attempts of all requests together, not after six of each."""
    model = opened(f"http://127.0.0.1:{unused_port()}/v1", concurrency=10)
    got = model.generate_batch([HELLO] * 200)
    errors = [g.error for g in got]
    assert sum(e["type"] == "EndpointDown" for e in errors) >= 180
    assert sum(g.attempts for g in got) < 300
    message = next(e["message"] for e in errors if e["type"] == "EndpointDown")
    assert "answered none of 20 attempts" in message
    assert "Is it running, and is its address right?" in message


def test_a_certificate_that_is_not_trusted_is_told_with_its_cure(opened, tmp_path):
    """A private CA is a setting; checking is never off."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key)]
    made += ["-out", str(certificate), "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run(made, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs openssl to make a certificate")
    options = MockOptions(tls_certificate=certificate, tls_key=key)
    with MockServer("Hi.", options) as server:
        got = opened(server.openai_url).generate(HELLO)
        assert got.attempts == 1
        assert "set 'ca_bundle'" in got.error["message"]
        assert opened(server.openai_url, ca_bundle=str(certificate)).generate(HELLO).text == "Hi."


def test_cancelling_ends_the_request_on_the_wire(opened):
    """The connection is closed at once, so that the service can stop too."""
    with MockServer(Fault(FaultKind.HANG)) as server:
        future = opened(server.openai_url).submit(HELLO)
        assert server.wait_until(lambda s: s.in_flight == 1)
        future.cancel()
        assert server.wait_until(lambda s: s.in_flight == 0)
    assert future.cancelled()


def test_closing_ends_all_that_is_under_way(opened):
    """Whether on the wire or waiting for a place."""
    with MockServer(Fault(FaultKind.HANG)) as server:
        model = opened(server.openai_url, concurrency=1)
        futures = [model.submit(HELLO) for _ in range(3)]
        assert server.wait_until(lambda s: s.in_flight == 1)
        model.close()
        assert [f.result(5).outcome for f in futures] == [Outcome.ERROR] * 3
        assert server.wait_until(lambda s: s.in_flight == 0)


def test_answers_keep_the_callers_order(opened):
    """Whatever the order in which they come."""
    with MockServer(options=MockOptions(latency=(0.0, 0.1))) as server:
        asked = [[{"role": "user", "content": f"number {n}"}] for n in range(64)]
        got = opened(server.openai_url, concurrency=32).generate_batch(asked)
        assert server.peak <= 32
    assert [g.text for g in got] == [f"number {n}" for n in range(64)]


def test_concurrency_grows_while_it_is_answered_and_obeys_a_limit(opened):
    """It finds what the service takes, and loses nothing on the way."""
    with MockServer(options=MockOptions(latency=0.02)) as server:
        model = opened(server.openai_url)
        assert model.concurrency == 4
        model.generate_batch([HELLO] * 100)
        assert server.peak > 8
        assert model.concurrency > 8
    with MockServer("Hi.", MockOptions(latency=0.02, requests_per_second=40)) as server:
        model = opened(server.openai_url, retry_pause=0.1)
        got = model.generate_batch([HELLO] * 120)
        assert server.counts["rate_limited"] > 0
    assert all(g.outcome is Outcome.ANSWERED for g in got)


def test_two_models_with_one_key_share_what_the_service_takes(opened):
    """The limit is the account's, not the entry's."""
    with MockServer(options=MockOptions(latency=0.05)) as server:
        first, second = (opened(server.openai_url, concurrency=3, model_name=name) for name in ("a", "b"))
        futures = [model.submit(HELLO) for model in (first, second) for _ in range(6)]
        assert all(future.result(30).outcome is Outcome.ANSWERED for future in futures)
        assert server.peak <= 3


def test_requests_come_from_any_thread(opened):
    """As many as there are."""
    with MockServer() as server:
        model = opened(server.openai_url)
        texts = {}

        def ask(n):
            texts[n] = model.generate([{"role": "user", "content": str(n)}]).text

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert texts == {n: str(n) for n in range(20)}


def test_a_body_that_is_no_completion_is_in_the_record(opened):
    """What a proxy sent in the service's place can be read later."""
    with MockServer(Raw(b"<html>log in</html>", content_type="text/html")) as server:
        got = opened(server.openai_url, max_attempts=1).generate(HELLO)
    assert got.response == "<html>log in</html>"
    assert "text/html" in got.error["message"]
