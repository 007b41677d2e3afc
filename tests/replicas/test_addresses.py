"""Addresses of Ray clusters, before Ray is asked to join: what is none, what is dead, and what says nothing."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import pytest

from playbill.backends.errors import RunError
from playbill.replicas.ray_cluster import checked_address


@contextmanager
def listening(reply):
    """A server that answers each connection with these bytes, or never."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work():
            try:
                while True:
                    connection, _ = server.accept()
                    if reply:
                        connection.sendall(reply)
                    kept.append(connection)
            except OSError:
                return

        kept = []
        threading.Thread(target=work, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        for connection in kept:
            connection.close()


@pytest.mark.parametrize("address", ["in.jsonl", "mock", "http://h:1", "h:", ":1", "h:x", ""])
def test_what_is_no_address_is_said(address):
    """With the forms that there are."""
    with pytest.raises(RunError, match="is no address of a Ray cluster: give HOST:PORT"):
        checked_address(address)


def test_a_dead_address_is_said_at_once():
    """With the port, and what starts a cluster there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(RunError, match=f"no Ray cluster answers at 127.0.0.1:{port}.*`ray start --head`"):
        checked_address(f"127.0.0.1:{port}")


def test_another_program_is_no_head():
    """One that speaks something else, one that hangs up, and one that says nothing."""
    for reply in (b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        with listening(reply) as address, pytest.raises(RunError, match="is no head of a Ray cluster"):
            checked_address(address)
    with listening(b"") as address, pytest.raises(RunError, match=r"says nothing for 0\.2 s"):
        checked_address(address, patience=0.2)


def test_a_server_of_grpc_is_taken():
    """Its first frame has settings."""
    with listening(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])) as address:
        assert checked_address(address) == address
