"""What goes wrong on purpose goes wrong on the socket, byte for byte, and as often as told."""

import http.client
import json
import random
import socket
from collections import Counter
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime

import pytest

from playbill.backends.errors import ParameterError
from playbill.mock_services import FAULT_HEADER, Fault, FaultKind, MockOptions, MockServer, Raw

PATHS = {
    "openai": ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
    "anthropic": ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    "google": ("/v1beta/models/m:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}


@contextmanager
def connected(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        yield connection


def write_request(connection, *, wire="openai", stream=False, fault=None, **changes):
    path, body = PATHS[wire]
    if stream:
        path = path.replace(":generateContent", ":streamGenerateContent")
        body = body if wire == "google" else {**body, "stream": True}
    data = json.dumps({**body, **changes}).encode()
    demand = f"{FAULT_HEADER}: {fault}\r\n" if fault else ""
    head = f"POST {path} HTTP/1.1\r\nHost: mock\r\n{demand}Content-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)


def read_all(connection):
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def exchange(server, **request):
    """Status, headers and body of one request, the body read by the rules of HTTP."""
    with connected(server) as connection:
        write_request(connection, **request)
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        return response.status, response.headers, response.read()


@pytest.fixture(scope="module")
def server():
    with MockServer("fine") as running:
        yield running


def test_reset_is_a_reset_and_close_an_orderly_end(server):
    """A reset connection raises on the client's side; a closed one just ends, both without a byte."""
    with connected(server) as connection:
        write_request(connection, fault="reset")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connected(server) as connection:
        write_request(connection, fault="close")
        assert read_all(connection) == b""


def test_a_hang_sends_nothing_until_its_time_is_over(server):
    """A hanging request is in work and unanswered; after its seconds the connection closes."""
    with connected(server) as connection:
        write_request(connection, fault="hang")
        assert server.wait_until(lambda s: s.in_flight == 1)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert server.wait_until(lambda s: s.in_flight == 0)
    with connected(server) as connection:
        write_request(connection, fault="hang@0.1")
        assert read_all(connection) == b""


@pytest.mark.parametrize("wire", PATHS)
def test_half_a_body_is_shorter_than_promised(server, wire):
    """Content-Length announces more than comes before the end."""
    with connected(server) as connection:
        write_request(connection, wire=wire, fault="half_body")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < promised


@pytest.mark.parametrize("wire", PATHS)
def test_a_cut_stream_lacks_its_last_chunk_and_a_short_one_only_its_end(server, wire):
    """Cut: no terminating chunk. Short: whole events and a proper end of body, but no end of the message."""
    with connected(server) as connection:
        write_request(connection, wire=wire, stream=True, fault="cut_stream")
        cut = read_all(connection)
    assert b"transfer-encoding: chunked" in cut.lower()
    assert b"data: " in cut
    assert not cut.endswith(b"0\r\n\r\n")
    status, headers, body = exchange(server, wire=wire, stream=True, fault="short_stream")
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert body.rstrip(b"\r").endswith((b"\n\n", b"\r\n"))
    for end in (b"[DONE]", b"message_stop", b"finishReason", b'"finish_reason":"stop"'):
        assert end not in body


def test_a_stream_can_reset_hang_or_report_an_error_in_its_middle(server):
    """After 200 and some events: a reset, silence, or an error event."""
    with connected(server) as connection:
        write_request(connection, stream=True, fault="reset_stream")
        with pytest.raises(ConnectionResetError):
            read_all(connection)
    with connected(server) as connection:
        write_request(connection, stream=True, fault="hang_stream")
        connection.settimeout(0.5)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with pytest.raises(TimeoutError):
            read_all(connection)
    for wire, sign in {"openai": b'"server_error"', "anthropic": b"event: error", "google": b'"INTERNAL"'}.items():
        status, _, body = exchange(server, wire=wire, stream=True, fault="error_stream")
        assert (status, sign in body) == (200, True)


@pytest.mark.parametrize("wire", PATHS)
def test_a_200_may_hold_no_completion(server, wire):
    """A web page, broken JSON, nothing at all, JSON without choices, or an error: all with status 200."""
    bodies = {}
    for fault in ("html", "invalid_json", "no_body", "no_choices", "error_200"):
        status, headers, bodies[fault] = exchange(server, wire=wire, fault=fault)
        assert status == 200
        assert headers["content-type"].startswith("text/html" if fault == "html" else "application/json")
    with pytest.raises(ValueError):
        json.loads(bodies["invalid_json"])
    assert bodies["no_body"] == b""
    assert not any(json.loads(bodies["no_choices"]).get(name) for name in ("choices", "content", "candidates"))
    assert "error" in json.loads(bodies["error_200"])


def test_empty_and_null_content_are_well_formed_answers(server):
    """Empty text is a string of no length; null content is null, or absent where the wire has no null."""
    texts = [json.loads(exchange(server, fault=f)[2])["choices"][0]["message"]["content"] for f in ("empty", "null")]
    assert texts == ["", None]
    message = json.loads(exchange(server, wire="anthropic", fault="empty")[2])
    assert (message["content"], message["stop_reason"]) == ([], "end_turn")
    candidate = json.loads(exchange(server, wire="google", fault="null")[2])["candidates"][0]
    assert (candidate["content"], candidate["finishReason"]) == ({"role": "model"}, "STOP")


def test_retry_after_is_absent_or_seconds_or_a_date(server):
    """429 may say when to come back, in either form of the standard; Google says it in the body too."""
    assert exchange(server, fault="429")[1]["retry-after"] is None
    assert exchange(server, fault="429@2")[1]["retry-after"] == "2"
    status, headers, _ = exchange(server, fault="503@date:60")
    assert status == 503
    dates = [parsedate_to_datetime(headers["retry-after"])]
    assert dates[0].tzname() == "UTC"
    details = json.loads(exchange(server, wire="google", fault="429@7")[2])["error"]["details"]
    assert details[0]["retryDelay"] == "7s"


def test_what_is_no_request_of_this_wire_is_refused(server):
    """Broken JSON, a missing parameter, an unknown fault and an unknown path are errors that say so."""
    assert exchange(server, messages=[])[0] == 400
    assert b"known are" in exchange(server, fault="nonsense")[2]
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as client:
        client.request("POST", "/v1/chat/completions", b"{")
        response = client.getresponse()
        assert (response.status, b"not JSON" in response.read()) == (400, True)
        client.request("GET", "/v1/nothing")
        response = client.getresponse()
        assert (response.status, b"GET /v1/nothing" in response.read()) == (404, True)
    with connected(server) as connection:
        connection.sendall(b"this is not HTTP\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 400")


def test_a_script_is_used_in_order_and_says_when_it_is_used_up():
    """Each request gets the next item, be it text, a fault or raw bytes; after the last comes an error, not a guess."""
    script = ["one", Fault(FaultKind.UNAVAILABLE), Raw(b"{}", status=418)]
    with MockServer(script) as scripted:
        statuses = [exchange(scripted)[0] for _ in range(3)]
        status, _, body = exchange(scripted)
        outcomes = [received.outcome for received in scripted.requests]
    assert statuses == [200, 503, 418]
    assert (status, b"used up" in body) == (400, True)
    assert outcomes == ["answered", "503", "418", "400"]


def outcomes_by_prompt(order, seed):
    options = MockOptions(seed=seed, faults={"500": 0.2, "429@0": 0.1, "html": 0.1})
    found = {}
    with MockServer("ok", options) as mixed, connected(mixed) as connection:
        for prompt in order:
            write_request(connection, messages=[{"role": "user", "content": str(prompt)}])
            response = http.client.HTTPResponse(connection, method="POST")
            response.begin()
            response.read()
        for received in mixed.requests:
            found.setdefault(received.json["messages"][0]["content"], []).append(received.outcome)
    return found


def test_faults_befall_their_share_and_depend_on_the_seed_not_on_the_order():
    """Two runs with one seed fail in the same places whatever the order of arrival; another seed fails elsewhere."""
    order = list(range(200)) * 2
    shuffled = random.Random(1).sample(order, len(order))
    first = outcomes_by_prompt(order, seed=1)
    assert outcomes_by_prompt(shuffled, seed=1) == first
    assert outcomes_by_prompt(order, seed=2) != first
    counts = Counter(outcome for outcomes in first.values() for outcome in outcomes)
    assert 200 < counts["answered"] < 280
    assert set(counts) == {"answered", "500", "429", "html"}
    assert any(len(set(outcomes)) == 2 for outcomes in first.values())


@pytest.mark.parametrize("text", ["429", "429@2", "503@date:5", "hang@0.5", "cut_stream"])
def test_a_fault_is_written_as_it_is_read(text):
    """The text form of a fault is the same in both directions."""
    assert str(Fault.parse(text)) == text


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"oops": 0.1}, "unknown"),
        ({"429@x": 0.1}, "seconds"),
        ({"500": 0.6, "503": 0.6}, "add up"),
        ({"500": -1}, "share"),
    ],
)
def test_bad_fault_settings_are_refused_at_once(faults, words):
    """A name, number or share that makes no sense is an error when the options are made."""
    with pytest.raises(ParameterError, match=words):
        MockOptions(faults=faults)
