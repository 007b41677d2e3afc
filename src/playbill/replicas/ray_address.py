"""The address of a Ray cluster: found, and tried before Ray is asked to join, which would wait for minutes.

The head is asked whether it is alive by one call of gRPC, written here by hand: it takes two milliseconds, and Ray's
own ways of asking read their settings while they are imported. Knows no replica, and loads no Ray.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path

from playbill.backends.engines.machine.process_state import prepare_ray
from playbill.backends.errors import RunError

__all__ = ["LOCAL", "checked_address"]

LOCAL = "local"
_AUTO = "auto"
_TCP_SECONDS = 3.0
_PATIENCE = 10.0  # seconds
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_SETTINGS = 4  # the kind of the first frame that an HTTP/2 server sends
_HEADER = 9  # bytes of a frame
_PATH = b"/ray.rpc.NodeInfoGcsService/CheckAlive"
_NO_TOKEN = b"grpc-status\x0216"  # UNAUTHENTICATED, as gRPC writes it: the call came without a token


def checked_address(address: str, *, patience: float = _PATIENCE) -> str:
    """Return the address for Ray, once a head answers there, within so many seconds. Raises RunError where none does.

    A head that wants a token gets the one that Ray keeps in the home, unless RAY_AUTH_MODE says otherwise.
    """
    if address == LOCAL:
        prepare_ray(loopback=True)
        return LOCAL
    if address == _AUTO:
        address = _current()
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not host or not port.isdecimal():
        raise RunError(
            f"{address!r} is no address of a Ray cluster: give HOST:PORT of its head, `auto` for the one that this "
            "machine belongs to, or none to start one here"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _TCP_SECONDS) as connection:
            answer = _answer(connection, address, patience)
    except (OSError, OverflowError) as e:
        raise RunError(
            f"no Ray cluster answers at {address}: {e}; `ray start --head` starts one, and says its address"
        ) from e
    prepare_ray(loopback=host in _LOOPBACK, token=_NO_TOKEN in answer)
    return address


def _answer(connection: socket.socket, address: str, patience: float) -> bytes:
    """Return what a head says to the question whether it is alive; empty where it speaks TLS, and can't be asked."""
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return b""
    connection.settimeout(patience)
    connection.sendall(_question())
    until, found = time.monotonic() + patience, b""
    try:
        while b"grpc-status" not in found and time.monotonic() < until and (piece := connection.recv(1 << 12)):
            found += piece
            if len(found) >= _HEADER and found[3] != _SETTINGS:
                break
    except TimeoutError as e:
        if not found:
            raise RunError(
                f"the head of the Ray cluster at {address} takes connections and says nothing for {patience:g} s; is "
                "it stopped, or another program?"
            ) from e
    if len(found) < _HEADER or found[3] != _SETTINGS:
        raise RunError(f"what answers at {address} is no head of a Ray cluster; `ray start --head` says its address")
    return found


def _question() -> bytes:
    """Return HTTP/2's preface, and a call of gRPC with an empty message: RFC 9113, its headers by RFC 7541."""
    headers = b"\x83\x86"  # POST, http
    headers += _named(b"\x04", _PATH) + _named(b"\x01", b"ray") + _named(b"\x0f\x10", b"application/grpc")
    headers += b"\x00\x02te" + b"\x08trailers"
    settings, call, message = _frame(_SETTINGS, 0, 0), _frame(1, 4, 1, headers), _frame(0, 1, 1, bytes(5))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + call + message


def _named(name: bytes, value: bytes) -> bytes:
    """Return a header whose name has a number."""
    return name + bytes([len(value)]) + value


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _current() -> str:
    """Return the address of the cluster that this machine belongs to."""
    if given := os.environ.get("RAY_ADDRESS"):
        return given
    for folder in (os.environ.get("RAY_TMPDIR"), tempfile.gettempdir(), "/tmp"):
        try:
            return Path(folder or "/tmp", "ray", "ray_current_cluster").read_text().strip()
        except OSError:
            continue
    raise RunError(
        "this machine belongs to no Ray cluster: `ray start --address HOST:PORT` joins one; or give the HOST:PORT of "
        "its head"
    )
