"""What the tests of this folder share: servers, and a client. They need the extra `serve`.

Only the fixtures import what that brings.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from importlib.util import find_spec

import pytest

MISSING = [name for name in ("h11", "psutil", "starlette", "uvicorn") if not find_spec(name)]
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header():
    return f"serve: not tested, needs the extra `serve` ({', '.join(MISSING)})" if MISSING else None


@pytest.fixture(scope="module")
def url():
    """A server of several models, on a free port."""
    from playbill.serve.guard import Rules
    from playbill.serve.server import Server
    from support.serving import LOADERS

    with Server(loaders=LOADERS, port=0, rules=Rules(body_limit=100_000)).in_background() as url:
        yield url


@pytest.fixture
def serve():
    """Start further servers; they end with the test."""
    from playbill.serve.server import Server
    from support.serving import LOADERS

    with ExitStack() as running:

        def start(**options):
            server = Server(**{"port": 0, "loaders": LOADERS, **options})
            running.enter_context(server.in_background())
            return server

        yield start


@pytest.fixture
def client(url):
    """The official client of that server."""
    import openai

    with openai.OpenAI(base_url=url, api_key="none") as client:
        yield client


@pytest.fixture
def command(tmp_path):
    """Run `playbill serve` as a process: it, and the address that it printed."""
    running = []

    def start(*args: str) -> tuple[subprocess.Popen[str], str]:
        env = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-m", "playbill", "serve", *args, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=env,
        )
        running.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.communicate()
