"""The life of what `playbill serve` holds: models that come and go, clients that vanish, its end, its figures."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.serving import HELLO, Counting, ask, wait_until  # isort: skip - first, for it skips where openai misses

import httpx2 as httpx
import psutil

from playbill.backends import (
    Model,
    ModelSpec,
    PlaybillError,
    load_model,
    model_from_function,
)
from playbill.serve.server import Server


def test_a_model_is_loaded_once_however_many_ask_first(serve):
    """Twenty first requests load it once, and requests of different clients are in the engine at the same time."""
    loads = []
    together = threading.Barrier(20, timeout=20)

    def load() -> Model:
        loads.append(1)
        time.sleep(0.2)
        return model_from_function(lambda messages: str(together.wait() >= 0))

    server = serve(loaders={"echo": load})
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: ask(server.url), range(20)))
    assert [a.status_code for a in answers] == [200] * 20
    assert len(loads) == 1


def test_a_model_that_cannot_be_loaded_is_tried_again(serve):
    """The failure is told to those who waited, and the next request finds the model."""
    failures = [PlaybillError("no weights yet")]

    def load() -> Model:
        if failures:
            raise failures.pop()
        return load_model("mock")

    server = serve(loaders={"echo": load})
    failed = ask(server.url)
    assert (failed.status_code, failed.json()["error"]["message"]) == (500, "no weights yet")
    assert ask(server.url).status_code == 200


def test_a_model_that_nobody_uses_is_unloaded_and_comes_back(serve):
    """By age: it is closed, and loaded anew when it is asked for."""
    made = []

    def load() -> Model:
        made.append(load_model("mock"))
        return made[-1]

    server = serve(loaders={"echo": load}, idle_seconds=0.1)
    assert ask(server.url).status_code == 200
    assert wait_until(lambda: made[0].is_closed)
    assert ask(server.url).status_code == 200
    assert len(made) == 2


def test_memory_unloads_the_model_that_was_used_longest_ago_and_none_in_use(serve):
    """Over the limit idle models go, oldest first; the one that answers stays."""
    gate = threading.Event()
    models = {name: load_model("mock") for name in ("old", "new")}
    models["busy"] = model_from_function(lambda messages: str(gate.wait(20)))
    server = serve(loaders={name: lambda model=model: model for name, model in models.items()}, memory_limit=1)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, server.url, model="busy")
        ask(server.url, model="old")
        ask(server.url, model="new")
        assert wait_until(lambda: models["old"].is_closed and models["new"].is_closed)
        assert not models["busy"].is_closed
        gate.set()
        assert answer.result().status_code == 200
    assert wait_until(lambda: models["busy"].is_closed)


@pytest.mark.parametrize("stream", [False, True])
def test_two_hundred_clients_that_vanish_leave_nothing(serve, stream):
    """Once they are gone, no request is under way in the engine, no lease is held, and no socket is open."""
    engine = Counting()
    spec = ModelSpec.from_dict({"model_name": "slow", "backend": "programmatic"})
    server = serve(loaders={"slow": lambda: Model(spec, engine, None, "programmatic")})
    body = json.dumps({"model": "slow", "messages": HELLO, "stream": stream}).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: localhost", "content-type: application/json"]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    for i, connection in enumerate(clients):
        connection.sendall(head.encode() + (body if i % 4 else body[:-1]))
    assert wait_until(lambda: len(engine.futures) == 150)
    for connection in clients:
        connection.close()
    assert wait_until(lambda: all(future.cancelled() or future.done() for future in engine.futures))
    assert wait_until(lambda: server.pool.users == 0)

    def ours():
        return [c for c in psutil.Process().net_connections("tcp") if c.laddr and c.laddr.port == server.port]

    assert wait_until(lambda: [c.status for c in ours()] == [psutil.CONN_LISTEN])
    assert "playbill_vanished_clients_total 150" in server.metrics.render()
    assert ask(server.url, model="other").status_code == 404


def test_a_server_that_ends_cancels_what_is_under_way_and_closes_its_models(serve):
    """Answers that take too long don't keep it: the engine is asked to stop, the model is closed, the client told."""
    engine = Counting()
    spec = ModelSpec.from_dict({"model_name": "slow", "backend": "programmatic"})
    model = Model(spec, engine, None, "programmatic")
    server = Server(loaders={"slow": lambda: model}, port=0, grace_seconds=1)
    with ThreadPoolExecutor() as threads:
        with server.in_background() as url:
            asking = threads.submit(ask, url, model="slow")
            assert wait_until(lambda: engine.futures)
        assert model.is_closed
        assert all(future.done() for future in engine.futures)
        assert asking.result(timeout=20).status_code == 503


def test_metrics_tell_what_was_done(serve):
    """Prometheus reads requests by outcome, tokens, and what is in memory."""
    server = serve()
    ask(server.url)
    ask(server.url, model="failing", messages=[{"role": "user", "content": "engine"}])
    text = httpx.get(server.url.replace("/v1", "/metrics")).text
    assert 'playbill_requests_total{model="echo",outcome="answered"} 1' in text
    assert 'playbill_requests_total{model="failing",outcome="error"} 1' in text
    assert 'playbill_tokens_total{kind="output",model="echo"} 5' in text
    assert "playbill_models_loaded 2" in text
