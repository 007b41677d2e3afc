"""A small hub for tests: repositories of real files behind the hub's own routes, headers and refusals.

It speaks what `huggingface_hub` asks for on a download, on a loopback port, and remembers what it was asked.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["COMMIT", "Hub", "Repo", "serve"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """One repository with one commit. ``gated`` holds the tokens that may read it; None is open to all. ``sizes`` are
    those that are stated of files, in bytes, where not their own."""

    files: Mapping[str, bytes | Path]
    gated: frozenset[str] | None = None
    private: bool = False
    created: str = "2026-01-01T00:00:00.000Z"
    revisions: tuple[str, ...] = ("main", COMMIT)
    sizes: Mapping[str, int] = field(default_factory=dict)

    def size_of(self, name: str) -> int:
        """Return the size in bytes that the hub states for a file."""
        return self.sizes.get(name, len(self.read(name) or b""))

    def read(self, name: str) -> bytes | None:
        content = self.files.get(name)
        return content.read_bytes() if isinstance(content, Path) else content


@dataclass
class Hub:
    """The running server: its address, and each request's method, path and token."""

    url: str
    repos: Mapping[str, Repo]
    tokens: frozenset[str]
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def downloads(self) -> list[str]:
        """The files whose content was sent."""
        return [path.rpartition("/")[2] for method, path, _ in self.requests if method == "GET" and "/resolve/" in path]


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def _refusal(status: int, code: str, message: str) -> _Answer:
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return _Answer(status, json.dumps({"error": message}).encode(), headers)


def _answer(hub: Hub, path: str, token: str | None) -> _Answer:
    if token is not None and token not in hub.tokens:
        return _refusal(401, "", "Invalid credentials in Authorization header")
    api = path.startswith("/api/models/")
    parts = path.removeprefix("/api/models").strip("/").split("/")
    repo, rest = hub.repos.get("/".join(parts[:2])), parts[2:]
    if repo is None or (repo.private and token is None):
        return _refusal(401 if token is None else 404, "RepoNotFound", "Repository not found")
    revision = rest[1] if len(rest) > 1 else "main"
    if revision not in repo.revisions:
        return _refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    if not api:
        return _file(repo, "/".join(rest[2:]), token)
    if rest[:1] == ["tree"]:
        return _Answer(200, json.dumps([_listed(name, repo) for name in repo.files]).encode())
    names = [{"rfilename": name, "size": repo.size_of(name)} for name in repo.files]
    info = {"_id": "1", "id": "/".join(parts[:2]), "sha": COMMIT, "private": repo.private, "siblings": names}
    info |= {"gated": "manual" if repo.gated is not None else False, "createdAt": repo.created}
    return _Answer(200, json.dumps(info).encode())


def _listed(name: str, repo: Repo) -> dict[str, object]:
    content = repo.read(name) or b""
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def _file(repo: Repo, name: str, token: str | None) -> _Answer:
    if repo.gated is not None and token not in repo.gated:
        return _refusal(401 if token is None else 403, "GatedRepo", "Access to this model is restricted")
    content = repo.read(name)
    if content is None:
        return _refusal(404, "EntryNotFound", "Entry not found")
    return _Answer(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def _reply(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        _, _, token = (self.headers.get("Authorization") or "").partition("Bearer ")
        self.hub.requests.append((self.command, path, token or None))
        answer = _answer(self.hub, path, token or None)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serve(repos: Mapping[str, Repo], tokens: tuple[str, ...] = ()) -> Iterator[Hub]:
    """The hub, until the block ends. ``tokens`` are those that it knows, whatever they may read."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub = Hub(f"http://127.0.0.1:{server.server_port}", repos, frozenset(tokens))
    handler.hub = hub
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
