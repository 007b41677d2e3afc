"""The headers of a request are ours: nothing of the environment goes to a service."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from playbill.backends import load_model
from playbill.mock_services import MockServer

pytest.importorskip("google.genai", reason="needs the extra `google`")

HOSTILE = {
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer sk-corp\nX-Corp: sk-corp\nHost: sk-corp\nUser-Agent: sk-corp",
    "ANTHROPIC_CUSTOM_HEADERS": "x-api-key: sk-corp\nAuthorization: Bearer sk-corp\nanthropic-version: sk-corp",
    "OPENAI_ORG_ID": "sk-corp",
    "OPENAI_PROJECT_ID": "sk-corp",
    "OPENAI_ADMIN_KEY": "sk-corp",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/sk-corp",
    "AZURE_OPENAI_AD_TOKEN": "sk-corp",
    "ANTHROPIC_AUTH_TOKEN": "sk-corp",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9/sk-corp",
    "GOOGLE_GENAI_USE_VERTEXAI": "true",
    "GOOGLE_CLOUD_PROJECT": "sk-corp",
    "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9/sk-corp",
}
HTTP = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
REVIEWED = {
    "openai": ({"authorization"}, {}),
    "openai_compatible": ({"authorization"}, {}),
    "groq": ({"authorization"}, {}),
    "azure": ({"authorization"}, {}),
    "azure dated": ({"api-key"}, {"api_version": "2025-04-01-preview"}),
    "anthropic": ({"authorization", "anthropic-version"}, {}),
    "azure_claude": ({"anthropic-version", "x-api-key"}, {}),
    "google": ({"x-goog-api-key"}, {}),
    "anthropic at a gateway": ({"anthropic-version", "x-api-key"}, {"key_header": "x-api-key"}),
    "google at a gateway": ({"authorization"}, {"key_header": "authorization"}),
}


class Recorder:
    """A socket that keeps the bytes of one request and answers 400."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.received = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            while b"\r\n\r\n" not in self.received:
                self.received += connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")

    def headers(self) -> dict[str, str]:
        lines = self.received.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("case", REVIEWED)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_what_official_clients_send_is_the_reviewed_list(place, monkeypatch, case, streamed):
    """At a socket, under an environment full of headers, keys and addresses of others."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    backend = case.partition(" ")[0]
    own, entry = REVIEWED[case]
    recorder = Recorder()
    (place / "key.json").write_text(json.dumps({backend: {"api_key": "key-number-1", "base_url": recorder.url}}))
    with load_model({"model_name": "m", "backend": backend, **entry}) as model:
        if streamed:
            _ = model.stream([{"role": "user", "content": "hello"}]).generation
        else:
            model.generate([{"role": "user", "content": "hello"}])
    headers = recorder.headers()
    assert set(headers) == HTTP | own
    assert "sk-corp" not in recorder.received.decode()
    assert [name for name, value in headers.items() if "key-number-1" in value] == sorted(own)[-1:]
    assert headers["host"] == recorder.url.removeprefix("http://")


def test_user_and_password_of_an_address_are_kept(place):
    """An entry's own base_url may carry them, for a server without a key."""
    with MockServer("Hi.") as server:
        address = server.openai_url.replace("http://", "http://me:secret@")
        with load_model({"model_name": "m", "backend": "openai_compatible", "base_url": address}) as model:
            model.generate([{"role": "user", "content": "hello"}])
        assert server.requests[0].headers["authorization"].startswith("Basic ")
