"""Fetch a picture from the public internet: bounded in bytes, time and redirects, and never from a private address.

The name is resolved once and that address is connected to, so a name that resolves to another address a moment later
reaches nothing. Each redirect is judged anew. Neither proxies nor credentials of the environment are used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

__all__ = ["fetch", "is_public"]

_SECONDS = 20.0
_MOST_REDIRECTS = 4
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16


def is_public(address: str) -> bool:
    """Tell whether an address may be connected to: not this machine's, not a private network's, no multicast."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if found in ipaddress.ip_network("64:ff9b::/96"):  # NAT64: the last 32 bits are an IPv4 address
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    return found.is_global and not found.is_multicast


def fetch(url: str, most: int, *, seconds: float = _SECONDS, may_connect: Callable[[str], bool] = is_public) -> bytes:
    """Return what is at a URL, at most so many bytes, in so many seconds all told.

    Raises OSError, which says why: a private address, a status, the size, the time.
    """
    until = time.monotonic() + seconds
    for _ in range(_MOST_REDIRECTS + 1):
        connection, target = _connection(url, until, may_connect)
        try:
            connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "playbill"})
            response = connection.getresponse()
            location = response.getheader("Location")
            if response.status in _REDIRECTS and location:
                url = urljoin(url, location)
                continue
            if response.status != 200:
                raise OSError(f"the server answers with status {response.status}")
            return _content(response, connection, most, until)
        except (http.client.HTTPException, ValueError) as e:
            raise OSError(f"{type(e).__name__}: {e}") from e
        finally:
            connection.close()
    raise OSError(f"more than {_MOST_REDIRECTS} redirects")


def _connection(url: str, until: float, may_connect: Callable[[str], bool]) -> tuple[http.client.HTTPConnection, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise OSError(f"{url[:200]} is no URL: {e}") from e
    if parts.scheme not in ("http", "https") or not host:
        raise OSError(f"{parts.scheme or 'nothing'} is no way to fetch a picture; http and https are")
    if parts.username or parts.password:
        raise OSError("the URL has a user or password in it")
    port = port or (443 if parts.scheme == "https" else 80)
    addresses = [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if forbidden := [address for address in addresses if not may_connect(address)]:
        raise OSError(f"{host} is at {forbidden[0]}, which is no public address; nothing is fetched from there")
    connection = _Pinned(host, port, addresses[0], _left(until), tls=parts.scheme == "https")
    return connection, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was judged, whatever the name resolves to by now."""

    def __init__(self, host: str, port: int, address: str, timeout: float, *, tls: bool) -> None:
        super().__init__(host, port, timeout=timeout)
        self._address = address
        self._tls = tls

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host) if self._tls else plain


def _content(
    response: http.client.HTTPResponse, connection: http.client.HTTPConnection, most: int, until: float
) -> bytes:
    found = bytearray()
    while True:
        if connection.sock is not None:
            connection.sock.settimeout(_left(until))
        chunk = response.read1(_CHUNK)
        if not chunk:
            return bytes(found)
        found += chunk
        if len(found) > most:
            raise OSError(f"it is larger than {most // 2**20} MiB")


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"it took longer than {_SECONDS:.0f} s")
    return left
