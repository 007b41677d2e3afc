"""What a service sends is bounded in bytes, once decompressed: an endless body, a bomb, an error without an end."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import zlib
from contextlib import contextmanager

import pytest

from playbill.backends import Outcome, load_model
from playbill.backends.engines.remote.capture import MOST_BYTES, MOST_ERROR_BYTES
from playbill.mock_services import MockServer, Raw

pytest.importorskip("google.genai", reason="needs the extra `google`")

HELLO = [{"role": "user", "content": "hello"}]
WIRES = ("openai", "anthropic", "google")
BOMB = gzip.compress(b'{"choices": "' + b"a" * (MOST_BYTES + 100_000), 9)


@pytest.fixture
def asked(place, monkeypatch):
    """Return the generation that a model of a wire makes of one request, whole or streamed."""

    def ask(wire, url, *, stream):
        for name in ("OPENAI", "ANTHROPIC", "GEMINI"):
            monkeypatch.setenv(f"{name}_API_KEY", "key-number-1")
        backend = "openai_compatible" if wire == "openai" else wire
        keys = {} if wire == "openai" else {wire: {"api_key": "key-number-1", "base_url": url}}
        spec = {"model_name": "m", "backend": backend, "base_url": url, "max_attempts": 2, "retry_pause": 0.01}
        (place / "key.json").write_text(json.dumps(keys))
        with load_model(spec) as model:
            return model.stream(HELLO).generation if stream else model.generate(HELLO)

    return ask


@contextmanager
def endless(status, content_type):
    """A server that never comes to the end of its body; gives its address and the number of requests."""
    listening = socket.create_server(("127.0.0.1", 0))
    requests = []

    def answer(connection):
        with connection:
            connection.recv(65536)
            requests.append(1)
            head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
            piece = b"10000\r\n" + b"data: xx" * 8192 + b"\r\n"
            try:
                connection.sendall(head.encode())
                while True:
                    connection.sendall(piece)
            except OSError:
                return

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", requests
    finally:
        listening.close()


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_endless_answer_is_an_error_in_words_and_not_asked_for_again(asked, wire, stream):
    """Streamed, one event goes on for ever."""
    with endless(200, "text/event-stream" if stream else "application/json") as (url, requests):
        generation = asked(wire, url, stream=stream)
    assert generation.outcome is Outcome.ERROR
    assert f"larger than {MOST_BYTES:,} bytes" in generation.error["message"]
    assert len(requests) == 1
    assert len(str(generation.response)) < 100_000


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_bomb_is_bounded_by_what_it_unfolds_to(asked, wire, stream, encoding):
    """It is thirty kilobytes on the wire."""
    bomb = BOMB if encoding == "gzip" else zlib.compress(gzip.decompress(BOMB), 9)
    kind = "text/event-stream" if stream else "application/json"
    with MockServer(lambda ask: Raw(bomb, content_type=kind, headers=(("content-encoding", encoding),))) as server:
        generation = asked(wire, server.openai_url if wire == "openai" else server.url, stream=stream)
    assert generation.outcome is Outcome.ERROR
    assert f"larger than {MOST_BYTES:,} bytes" in generation.error["message"]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_endless_error_body_still_counts_by_its_status(asked, wire, stream):
    """Its beginning is kept, and no more than that."""
    with endless(400, "text/plain") as (url, requests):
        generation = asked(wire, url, stream=stream)
    assert generation.outcome is Outcome.ERROR
    assert "400: data: xxdata: xx" in generation.error["message"]
    assert len(requests) == 1
    assert len(generation.response) < MOST_ERROR_BYTES


def test_a_compressed_answer_is_read_whole_and_streamed(asked):
    """Though none was asked for: some gateways compress all the same."""
    body = b'{"choices": [{"index": 0, "message": {"content": "ok"}, "finish_reason": "stop"}]}'
    events = b'data: {"choices": [{"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}]}\n\n'
    for data, kind in ((body, "application/json"), (events + b"data: [DONE]\n\n", "text/event-stream")):
        raw = Raw(gzip.compress(data), content_type=kind, headers=(("content-encoding", "gzip"),))
        with MockServer(lambda ask, raw=raw: raw) as server:
            generation = asked("openai", server.openai_url, stream="event" in kind)
        assert (generation.outcome, generation.text) == (Outcome.ANSWERED, "ok")
