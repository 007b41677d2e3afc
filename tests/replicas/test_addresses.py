"""Addresses of Ray clusters, before Ray is asked to join: what is none, what is dead, and what says nothing."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager

import pytest

from playbill.backends.errors import RunError
from playbill.replicas.ray_actor import said_in_short
from playbill.replicas.ray_address import checked_address


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


# What heads of Ray 2.60 answered, without and with token authentication.
ALIVE = b"\0\0\x18\x04\0\0\0\0\0" + bytes(24) + b"\0\0N\x01\x04\0\0\0\x01\x88@\x0bgrpc-status\x010"
NO_TOKEN = ALIVE[:-2] + b"\x0216\0\x0cgrpc-message>InvalidAuthToken: Authentication token is missing or incorrect"


def test_a_head_is_taken_and_gets_the_token_that_it_wants(monkeypatch):
    """Ray would send none to an address that it was given; what the user says of it counts."""
    monkeypatch.setenv("RAY_AUTH_MODE", "")  # so that it is put back
    monkeypatch.delenv("RAY_AUTH_MODE")
    with listening(ALIVE) as address:
        assert checked_address(address) == address
        assert "RAY_AUTH_MODE" not in os.environ
    with listening(NO_TOKEN) as address:
        assert checked_address(address) == address
        assert os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with listening(NO_TOKEN) as address:
        checked_address(address)
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


LACKING = (
    "The actor died because of an error raised in its creation task, \x1b[36mray::_Replica.__init__()\x1b[39m "
    "(pid=26042, ip=10.0.0.7, actor_id=19d8, repr=<TemporaryActor object at 0x7f>)\n    ^^^^^^\nRuntimeError: The "
    "actor with name _Replica failed to import on the worker. This may be because needed library dependencies are not "
    "installed in the worker environment:\n\n\x1b[36mray::_Replica.__init__()\x1b[39m (pid=26042, ip=10.0.0.7)\n  ^^^\n"
    "ModuleNotFoundError: No module named 'playbill'"
)


def test_a_node_without_playbill_is_named():
    """In the place of Ray's traceback: where, what is missing, and what to do."""
    assert said_in_short(RuntimeError(LACKING)) == (
        "on 10.0.0.7: ModuleNotFoundError: No module named 'playbill'; install Playbill on every node, in the "
        "environment in which `ray start` is called"
    )
    killed = "The actor died unexpectedly. x=1\nThe actor died because its worker process has died."
    assert said_in_short(RuntimeError(killed)) == "The actor died because its worker process has died."
