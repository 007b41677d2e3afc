"""`playbill serve` as its clients see it: the official OpenAI client, and raw HTTP where that can't misbehave."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime

import pytest

openai = pytest.importorskip("openai", reason='needs "playbill[openai]"')

import httpx2 as httpx  # noqa: E402 - there with either
import psutil  # noqa: E402

from playbill.backends import (  # noqa: E402
    ContextExceeded,
    EngineError,
    Model,
    ModelSpec,
    PlaybillError,
    PromptPath,
    Refused,
    Stops,
    Template,
    load_model,
    model_from_function,
)
from playbill.backends.engines.programmatic import Programmatic  # noqa: E402
from playbill.backends.secret import Secret  # noqa: E402
from playbill.serve.guard import Rules  # noqa: E402
from playbill.serve.server import Server  # noqa: E402

HELLO = [{"role": "user", "content": "Hello there, who are you?"}]


def wait_until(true, seconds: float = 20) -> bool:
    """Whether something becomes true in time; how long it took says nothing."""
    until = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < until:
        time.sleep(0.02)
    return bool(found)


def failing(messages):
    """A model's function: it fails in the way that the last message names."""
    kinds = {"engine": EngineError, "context": ContextExceeded, "refused": Refused, "bug": ZeroDivisionError}
    raise kinds[messages[-1]["content"]]("no luck")


class Letters:
    """A tokenizer whose tokens are characters."""

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]

    def decode(self, ids) -> str:
        return "".join(map(chr, ids))

    def special_ids(self) -> frozenset[int]:
        return frozenset()

    def facts(self):
        return {}


def strict_model() -> Model:
    """A model whose template refuses two messages of a role in a row, and whose context holds 400 characters."""
    text = (
        "{% for m in messages %}{% if loop.previtem and loop.previtem.role == m.role %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    )
    path = PromptPath(
        template=Template(text, "custom"), tokenizer=Letters(), stops=Stops(()), date=datetime.now(), context_size=400
    )
    spec = ModelSpec.from_dict({"model_name": "strict", "backend": "programmatic", "consecutive_roles": "keep"})
    return Model(spec, Programmatic(lambda messages: "fine"), path, "programmatic")


LOADERS = {
    "echo": lambda: load_model("mock", consecutive_roles="keep"),
    "answers": lambda: load_model({"model_name": "a", "backend": "programmatic", "answers": ["  One two three. "]}),
    "failing": lambda: model_from_function(failing),
    "strict": strict_model,
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of several models, on a free port."""
    with Server(loaders=LOADERS, port=0, rules=Rules(body_limit=100_000)).in_background() as url:
        yield url


@pytest.fixture
def serve():
    """Start further servers; they end with the test."""
    with ExitStack() as running:

        def start(**options) -> Server:
            server = Server(**{"port": 0, "loaders": LOADERS, **options})
            running.enter_context(server.in_background())
            return server

        yield start


@pytest.fixture
def client(url):
    with openai.OpenAI(base_url=url, api_key="none") as client:
        yield client


def ask(url: str, headers=None, **fields) -> httpx.Response:
    body = {"model": "echo", "messages": HELLO, **fields}
    return httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=30)


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
        ({"temperature": "warm"}, None, "unsupported_parameter"),
        ({"seed": -1}, None, "unsupported_parameter"),
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
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
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


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "user@127.0.0.1"])
def test_a_foreign_host_is_refused(url, host):
    """DNS rebinding brings a page's own name as Host: the server answers to its own names only."""
    answer = httpx.get(f"{url}/models", headers={"Host": host})
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8790", "LOCALHOST"])
def test_the_names_of_the_loopback_are_known(url, host):
    """Whichever loopback name a client uses, with whichever port, it is answered."""
    assert httpx.get(f"{url}/models", headers={"Host": host}).status_code == 200


def test_web_pages_are_kept_out_unless_they_are_allowed(url, serve):
    """A request that a page sends carries its Origin: it is refused, and a form's content type as well."""
    assert ask(url, headers={"Origin": "https://evil.example"}).status_code == 403
    assert ask(url, headers={"Origin": "null"}).status_code == 403
    plain = httpx.post(f"{url}/chat/completions", content="{}", headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    open_to = serve(rules=Rules(origins=("https://good.example",))).url
    answer = ask(open_to, headers={"Origin": "https://good.example"})
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    assert ask(open_to, headers={"Origin": "https://evil.example"}).status_code == 403


def test_a_key_is_asked_for_everywhere_but_on_healthz(serve):
    """With a key, no model, no name and no figure is to be had without it."""
    url = serve(rules=Rules(key=Secret("a-long-enough-key"))).url
    assert ask(url).status_code == 401
    assert ask(url, headers={"Authorization": "Bearer a-long-enough-kex"}).status_code == 401
    assert ask(url, headers={"Authorization": "Bearer a-long-enough-key"}).status_code == 200
    assert httpx.get(url.replace("/v1", "/metrics")).status_code == 401
    assert httpx.get(url.replace("/v1", "/healthz")).json() == {"status": "ok"}


def test_other_machines_are_let_in_with_a_key_only():
    """An address that others can reach is refused where there is no key."""
    with pytest.raises(PlaybillError, match="PLAYBILL_SERVE_KEY"):
        Server(loaders=LOADERS, host="0.0.0.0", port=0)


def test_a_port_that_is_taken_is_said(url):
    """The message names address and port."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    with pytest.raises(PlaybillError, match=f"port {port}"):
        Server(loaders=LOADERS, port=port)


def test_a_body_that_is_too_large_is_refused(url):
    """Beyond the limit the answer is 413, whether the size is declared or found out."""
    assert ask(url, messages=[{"role": "user", "content": "x" * 200_000}]).status_code == 413
    pieces = (b"x" * 10_000 for _ in range(30))
    streamed = httpx.post(f"{url}/chat/completions", content=pieces, headers={"content-type": "application/json"})
    assert streamed.status_code == 413


def test_more_requests_than_allowed_are_sent_away(serve):
    """The server says that it is busy, and when to come again, instead of queueing without end."""
    gate = threading.Event()
    model = model_from_function(lambda messages: str(gate.wait(20)))
    server = serve(loaders={"echo": lambda: model}, rules=Rules(most_requests=1))
    with ThreadPoolExecutor() as threads:
        first = threads.submit(ask, server.url)
        assert wait_until(lambda: server.pool.users == 1)
        busy = ask(server.url)
        gate.set()
        assert first.result().status_code == 200
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")


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


class Counting(Programmatic):
    """An engine that counts what it has under way; its answers take longer than any test."""

    def __init__(self) -> None:
        super().__init__(lambda messages: "late", delay=600)
        self.futures = []

    def submit(self, request, on_text=None):
        future = super().submit(request, on_text)
        self.futures.append(future)
        return future


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


@pytest.fixture
def command(tmp_path):
    """Run `playbill serve` as a process: it, and the address that it printed."""
    running = []

    def start(*args: str) -> tuple[subprocess.Popen[str], str]:
        env = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-m", "playbill", "serve", *args, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=env,
        )
        running.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_address_and_ends_well_at_a_signal(command, number):
    """stdout is the address alone; messages stay as they were given; a signal ends it with code 0, without a trace."""
    process, url = command("mock", 'other={"model_name": "mock"}')
    assert [m["id"] for m in httpx.get(f"{url}/models").json()["data"]] == ["mock", "other"]
    answer = ask(url, model="other", messages=HELLO * 2, playbill={"record": True})
    assert answer.json()["playbill"]["changes"] == []
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_the_key_comes_from_the_environment(command, monkeypatch):
    """PLAYBILL_SERVE_KEY makes the command ask for it; it is in no output."""
    monkeypatch.setenv("PLAYBILL_SERVE_KEY", "from-the-environment")
    process, url = command("mock")
    assert ask(url, model="mock").status_code == 401
    assert ask(url, headers={"Authorization": "Bearer from-the-environment"}, model="mock").status_code == 200
    process.terminate()
    assert "from-the-environment" not in "".join(process.communicate(timeout=30))


@pytest.mark.parametrize(
    ("args", "said"),
    [(["no-such-model"], "no model is called"), (["mock", "--host", "0.0.0.0"], "PLAYBILL_SERVE_KEY")],
)
def test_what_can_not_be_served_is_said_at_once(command, args, said):
    """An unknown name and an address without a key end the command with code 2, before any client comes."""
    process, _ = command(*args)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said in err
