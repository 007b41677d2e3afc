"""What a client may hold of `playbill serve` without asking, sending or reading; and whose fault a wrong setting is."""

from __future__ import annotations

import gzip
import json
import socket
import threading

import pytest

from support.serving import HELLO, ask, wait_until  # isort: skip - first, for it skips where openai misses

import httpx2 as httpx
import psutil

from playbill.backends import load_model, model_from_function
from playbill.serve.connection import ConnectionLimits
from playbill.serve.guard import Rules

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
LONG = 600.0


def connected(server, sent=b""):
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.settimeout(20)
    connection.sendall(sent)
    return connection


def is_closed(connection):
    """Whether the server hung up; waits for it."""
    try:
        return connection.recv(65536) == b""
    except ConnectionError:
        return True


def test_connections_that_never_ask_make_room_for_those_that_do(serve):
    """However many half-open headers there are: the oldest goes, and a request is answered."""
    limits = ConnectionLimits(most_connections=20, header_seconds=LONG)
    server = serve(connections=limits)
    held = [connected(server, HEAD) for _ in range(60)]
    assert ask(server.url).status_code == 200
    assert is_closed(held[0])
    for connection in held:
        connection.close()


def test_a_request_under_way_keeps_its_connection_however_many_come(serve):
    """Room is made of those that wait, never of those that are answered."""
    gate = threading.Event()
    model = model_from_function(lambda messages: str(gate.wait(20)))
    server = serve(loaders={"echo": lambda: model}, connections=ConnectionLimits(most_connections=5))
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask(server.url)))
    asking.start()
    assert wait_until(lambda: server.pool.users == 1)
    held = [connected(server, HEAD) for _ in range(30)]
    assert is_closed(held[0])
    gate.set()
    asking.join()
    assert answers[0].status_code == 200
    for connection in held:
        connection.close()


@pytest.mark.parametrize("sent", [b"", HEAD], ids=["nothing", "half"])
def test_headers_have_their_time(serve, sent):
    """A connection that doesn't come to the end of its headers is dropped."""
    server = serve(connections=ConnectionLimits(header_seconds=0.2))
    assert is_closed(connected(server, sent))
    kept = connected(server, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    received = b""
    while b"ok" not in received:
        received += kept.recv(65536)
    kept.sendall(b"GET /hea")
    assert is_closed(kept)


def test_a_body_that_never_ends_gives_its_place_to_others(serve):
    """Though all places are taken by bodies on their way, who sends a whole one is answered."""
    server = serve(rules=Rules(most_requests=3, body_seconds=LONG))
    slow = [connected(server, HEAD + b"content-length: 99\r\n\r\n{") for _ in range(3)]
    assert wait_until(lambda: ask(server.url, model="other").status_code == 404)
    assert ask(server.url).status_code == 200
    assert b"408" in slow[0].recv(65536)
    for connection in slow:
        connection.close()


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_nobody_reads_gives_its_place_back(serve, stream):
    """The client stays connected and reads nothing: after a while the connection is dropped, and the lease with it."""
    text = "word " * 2_000_000
    model = load_model({"model_name": "long", "backend": "programmatic", "answers": [text], "max_tokens": 10_000_000})
    server = serve(loaders={"long": lambda: model}, connections=ConnectionLimits(unread_seconds=0.5))
    body = json.dumps({"model": "long", "messages": HELLO, "stream": stream}).encode()
    connection = connected(server, HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
    assert wait_until(lambda: 'requests_total{model="long"' in server.metrics.render())

    def served():
        found = psutil.Process().net_connections("tcp")
        return [c for c in found if c.laddr.port == server.port and c.status == psutil.CONN_ESTABLISHED]

    assert wait_until(lambda: not served() and server.pool.users == 0)
    connection.close()


def test_a_compressed_body_is_refused_by_its_header(url):
    """It is never unfolded, whatever it would become."""
    bomb = gzip.compress(b" " * 10_000_000)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = httpx.post(f"{url}/chat/completions", content=bomb, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_content_encoding")


def test_a_setting_of_the_server_is_no_fault_of_the_clients(serve):
    """What a load refuses is a server error, though it is about a parameter."""
    server = serve(loaders={"echo": lambda: load_model("mock", temperature="warm")})
    answer = ask(server.url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_not_loaded")
