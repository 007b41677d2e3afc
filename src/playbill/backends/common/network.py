"""Say what is wrong with how this machine reaches the network: its proxies and certificates. Opens nothing."""

from __future__ import annotations

import os
import ssl

__all__ = ["setup_fault"]

_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def setup_fault(e: BaseException) -> str | None:
    """Return what is wrong in words, with the variable to mend, where an HTTP client can't even be made; else None."""
    text = str(e).lower()
    if isinstance(e, ssl.SSLCertVerificationError):
        return None  # that is the server's
    if isinstance(e, ssl.SSLError) or (type(e) is FileNotFoundError and _set(_CERTIFICATES) and not e.filename):
        return f"no certificates can be read{_named(_CERTIFICATES)}: name a file in PEM form"
    if isinstance(e, ImportError) and "socks" in text:
        return f"a SOCKS proxy{_named(_PROXIES)} needs a further package: pip install socksio"
    if (isinstance(e, ValueError) and "proxy" in text) or type(e).__name__ == "InvalidURL":
        return f"no proxy can be made of an address{_named(_PROXIES)}: write http://host:port"
    return None


def _set(names: tuple[str, ...]) -> list[str]:
    return [name for each in names for name in (each, each.lower()) if os.environ.get(name)]


def _named(names: tuple[str, ...]) -> str:
    """Name the variables that are set, never their values: a proxy's address may hold a password."""
    found = " or ".join(f"${name}" for name in _set(names))
    return f" ({found})" if found else ""
