"""The mock server as a server: many connections, limits, a clean end, and a foreground form for a command."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from playbill.backends.errors import PlaybillError
from playbill.mock_services import MockOptions, MockServer, Raw
from playbill.mock_services.limits import Limiter

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def ask(port, context=None):
    """Status, headers and body of one request, over TLS if there is a context for it."""
    if context is None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    else:
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    with contextlib.closing(client):
        client.request("POST", "/v1/chat/completions", BODY)
        response = client.getresponse()
        return response.status, response.headers, response.read()


def test_hundreds_of_keep_alive_connections_are_served_at_once():
    """400 connections each ask three times, all at once, and each answer comes on the connection that asked."""

    async def dialogue(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert json.loads(await reader.readexactly(length))["choices"][0]["message"]["content"] == "hi"
        writer.close()
        await writer.wait_closed()

    async def all_at_once(port):
        await asyncio.gather(*(dialogue(port) for _ in range(400)))

    with MockServer(options=MockOptions(latency=1)) as server:
        asyncio.run(all_at_once(server.port))
        assert server.counts == {"answered": 1200}
        assert server.peak > 300
        assert server.wait_until(lambda s: s.in_flight == 0)


def test_stopping_ends_hanging_requests_and_frees_port_and_thread():
    """The end of the with block closes every connection, also one that hangs."""
    others = set(threading.enumerate())
    with MockServer(options=MockOptions(latency=600)) as server:
        port = server.port
        connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        connection.sendall(REQUEST)
        assert server.wait_until(lambda s: s.in_flight == 1)
    with connection:
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=20)
    left = set(threading.enumerate()) - others
    assert not any(thread.name == "playbill-mock-server" for thread in left)


def test_a_header_may_hold_more_than_ascii():
    """As services behind gateways send them."""
    with (
        MockServer(Raw(b"{}", headers=(("x-request-id", "\xb2"),))) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection,
    ):
        connection.sendall(REQUEST)
        assert b"x-request-id: \xb2\r\n" in connection.recv(4096)


def test_a_client_that_gives_up_is_no_longer_in_work():
    """A request whose client has gone stops counting long before its latency is over."""
    with MockServer(options=MockOptions(latency=600)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(REQUEST)
            assert server.wait_until(lambda s: s.in_flight == 1)
        assert server.wait_until(lambda s: s.in_flight == 0)


def test_more_than_the_allowed_concurrency_gets_429_with_retry_after():
    """While the allowed number is in work, the next request is sent away with the seconds to wait."""
    with MockServer(options=MockOptions(latency=600, concurrency=1)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(REQUEST)
            assert server.wait_until(lambda s: s.in_flight == 1)
            status, headers, _ = ask(server.port)
    assert (status, headers["retry-after"]) == (429, "1")


def test_more_than_the_allowed_rate_gets_429_until_time_has_passed():
    """The bucket holds a second's worth and refills with time."""
    limiter = Limiter(per_second=2, concurrency=None)
    assert [limiter.admit(100.0, 0) for _ in range(3)] == [None, None, 0.5]
    assert limiter.admit(100.25, 0) == 0.25
    assert [limiter.admit(100.5, 0), limiter.admit(100.5, 0)] == [None, 0.5]
    with MockServer(options=MockOptions(requests_per_second=0.001)) as server:
        assert [ask(server.port)[0] for _ in range(2)] == [200, 429]
        assert server.counts == {"answered": 1, "rate_limited": 1}


def test_requests_are_kept_up_to_a_bound_and_their_repr_holds_no_key():
    """The last requests can be read in full; what is printed of them has neither headers nor body."""
    with MockServer(options=MockOptions(keep_requests=2)) as server:
        for _ in range(3):
            ask(server.port)
        kept = server.requests
        assert (server.total, [received.number for received in kept]) == (3, [2, 3])
    assert kept[0].json["model"] == "m"
    assert kept[0].headers["content-length"] == str(len(BODY))
    assert "content-length" not in repr(kept[0])
    assert "s3cret" not in repr(MockOptions(api_key="s3cret"))


def test_an_idle_connection_is_closed_after_its_time():
    """As services do, the server may drop a kept connection on which nothing comes."""
    with MockServer(options=MockOptions(idle_seconds=0.2)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            assert connection.recv(1) == b""


def test_a_port_in_use_is_an_error_that_names_it():
    """The reason is given where the server was to start, not in its thread."""
    with MockServer() as server:
        with pytest.raises(PlaybillError, match=f"127.0.0.1:{server.port}"):
            MockServer(options=MockOptions(port=server.port)).start()


def test_tls_is_spoken_with_a_given_certificate(tmp_path):
    """A client that trusts the certificate's maker is answered; one that doesn't refuses the server."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=mock", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run([*make, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl command to make a certificate")
    with MockServer(options=MockOptions(tls_certificate=certificate, tls_key=key)) as server:
        assert server.openai_url.startswith("https://127.0.0.1:")
        assert ask(server.port, ssl.create_default_context(cafile=str(certificate)))[0] == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(server.port, ssl.create_default_context())


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C can't be sent to one process on Windows")
def test_in_the_foreground_it_serves_until_ctrl_c():
    """A command needs one call: it is told the URL, and Ctrl-C ends it without a traceback."""
    program = (
        "from playbill.mock_services import MockOptions, serve_forever\n"
        "log = serve_forever(MockOptions(), 'hello', lambda url: print(url, flush=True))\n"
        "print(log.total)\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
        url = process.stdout.readline().strip()
        try:
            assert ask(int(url.rpartition(":")[2]))[0] == 200
        finally:
            process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output.strip(), errors) == (0, "1", "")


def test_importing_the_mock_server_loads_no_sdk_and_no_engine():
    """It stands on h11 and the standard library alone."""
    program = (
        "import sys, playbill.mock_services\n"
        "print([m for m in ('openai', 'anthropic', 'google.genai', 'torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
