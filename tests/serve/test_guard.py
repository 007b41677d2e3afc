"""Who may ask `playbill serve`, and how much: hosts, web pages, keys, addresses, sizes."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from support.serving import LOADERS, ask, wait_until  # isort: skip - first, for it skips where openai misses

import httpx2 as httpx

from playbill.backends import (
    PlaybillError,
    model_from_function,
)
from playbill.backends.common.secret import Secret
from playbill.serve.guard import Rules
from playbill.serve.server import Server


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


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_key_with_other_letters_than_ascii_matches(serve, encoding):
    """A header is bytes: a client may send the key as UTF-8 or as Latin-1, and no other key gets in."""
    url = serve(rules=Rules(key=Secret("schlüssel-lang-genug"))).url
    right, wrong = (f"Bearer {key}".encode(encoding) for key in ("schlüssel-lang-genug", "schlössel-lang-genug"))
    assert httpx.get(f"{url}/models", headers={b"Authorization": right}).status_code == 200
    assert httpx.get(f"{url}/models", headers={b"Authorization": wrong}).status_code == 401


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


def test_a_client_that_is_still_writing_hears_that_its_body_is_too_large(serve):
    """A server that answers and hangs up in the midst of it would be heard as a broken connection."""
    address = urlsplit(serve(rules=Rules(body_limit=4 << 20)).url)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((address.hostname, address.port)) as line:
        line.sendall(f"{head}Connection: close\r\nContent-Length: {24 << 20}\r\n\r\n".encode())
        line.sendall(b"x" * (24 << 20))
        assert b" 413 " in line.recv(100)


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
