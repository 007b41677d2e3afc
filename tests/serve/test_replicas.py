"""`playbill serve` with replicas: clients can't tell them from a model of the same process."""

from __future__ import annotations

import json
import subprocess

import pytest

from support.gguf_smollm2 import entry

from support.serving import HELLO, ask  # isort: skip - it skips where openai misses

pytest.importorskip("xllamacpp", reason='needs "playbill[llamacpp]"')

from playbill.backends import Credentials, ModelRegistry
from playbill.replicas import LocalPlaces
from playbill.serve.loaders import make_loaders
from playbill.serve.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("place")]
MODEL = json.dumps(entry(n_ctx=512, threads=1))


def replies(places):
    """What a server says: whole, streamed, with log probabilities, with records, and to what is wrong."""
    loaders = make_loaders(
        [MODEL],
        registry=ModelRegistry.load(),
        credentials=Credentials.load(),
        params={},
        dialogues=4,
        places=places,
    )
    common = {"model": "smollm2", "messages": HELLO, "max_tokens": 12}
    with Server(loaders=loaders, port=0).in_background() as url:
        whole = ask(url, **common, logprobs=True, top_logprobs=2).json()["choices"]
        pieces = [line for line in ask(url, **common, stream=True).text.splitlines() if line.startswith("data: {")]
        clembench = ask(url, **common, playbill={"record": "clembench"}).json()["playbill"]
        wrong = [
            ask(url, **{**common, "messages": [{"role": "nobody", "content": "x"}]}),
            ask(url, **common, warmth=3),
            ask(url, **{**common, "messages": [{"role": "user", "content": "word " * 2000}]}),
        ]
    streamed = "".join(
        choice["delta"].get("content") or "" for piece in pieces for choice in json.loads(piece[6:])["choices"]
    )
    return {
        "whole": whole,
        "streamed": streamed,
        "clembench": clembench,
        "wrong": [(each.status_code, each.json().get("error")) for each in wrong],
    }


def test_clients_get_the_same_from_replicas():
    """Texts, pieces, log probabilities, clembench's objects and errors."""
    assert replies(LocalPlaces(2)) == replies(None)


def test_the_command_serves_replicas(command):
    """It says when they are ready, and leaves no process behind."""
    process, url = command("mock", "--replicas", "2")
    assert ask(url, model="mock", messages=HELLO).json()["choices"][0]["message"]["content"] == HELLO[0]["content"]
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert "mock: replica" in err
    left = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    assert left.stdout == ""
