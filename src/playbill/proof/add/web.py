"""Fetch JSON over HTTP from a server that the user named, bounded in time and size, with errors in plain words.

A key is sent only where it was given for, and never to where a redirect leads.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from playbill.backends.credentials import Credentials
from playbill.backends.errors import PlaybillError

__all__ = ["ServerError", "Server"]

_SECONDS = 30
_MOST_BYTES = 32_000_000


class ServerError(PlaybillError):
    """A server can't be reached, or answers otherwise than expected. ``status`` is its answer's, if it gave one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Server:
    """A server by its address, with or without the ``/v1`` of its OpenAI-compatible part."""

    def __init__(self, url: str, credentials: Credentials | None = None, service: str = "openai_compatible") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ServerError(f"{url!r} is not an http or https address of a server")
        self.root = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
        self.v1 = f"{self.root}/v1"
        credential = credentials.get(service) if credentials is not None else None
        may = credential is not None and credential.api_key is not None and credential.may_go_to(self.v1)
        self._key = credential.api_key if credential is not None and may else None
        self._open = urllib.request.build_opener(_NoRedirect()).open

    def get(self, path: str) -> Any:
        """Return what stands at a path below the root. Raises ServerError."""
        return self._ask(path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Return the answer to a JSON body. Raises ServerError."""
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None) -> Any:
        url = f"{self.root}{path}"
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.reveal()}"
        try:
            with self._open(urllib.request.Request(url, body, headers), timeout=_SECONDS) as answer:
                content = answer.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as e:
            raise ServerError(f"{url} answered with status {e.code}{_hint(e.code)}", e.code) from e
        except (OSError, http.client.HTTPException, ValueError) as e:
            reason = getattr(e, "reason", None) or e
            raise ServerError(f"{url} can't be reached: {reason}") from e
        if len(content) > _MOST_BYTES:
            raise ServerError(f"{url} answered with more than {_MOST_BYTES:,} bytes")
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as e:
            raise ServerError(f"{url} answered with what is not JSON: {content[:80]!r}") from e


def _hint(status: int) -> str:
    if status in (401, 403):
        return "; set its key: playbill keys set openai_compatible --base-url URL"
    return "; is it the address of an OpenAI-compatible server?" if status == 404 else ""
