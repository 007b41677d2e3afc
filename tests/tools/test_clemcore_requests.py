"""Requests under clembench 3.0's entries: what clemcore really sends, what Playbill sends, and why they differ."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from playbill.backends import ModelSpec, load_spec
from support.environments import environment

pytest.importorskip("openai")
pytest.importorskip("anthropic")
pytest.importorskip("google.genai")
ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "clemcore_requests"
IN_USE = ROOT.parent / "shared" / "data" / "registries" / "clembench_v3.0_22_entries.json"


def module(name):
    spec = importlib.util.spec_from_file_location(f"clemcore_requests_{name}", TOOL / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def compare():
    return module("compare")


@pytest.fixture(scope="module")
def requests(compare):
    """What clemcore sent, and the entries: of a registry that isn't part of this project."""
    if not IN_USE.exists():
        pytest.skip(f"clembench's registry is not at {IN_USE}")
    return compare.load(IN_USE)


def test_each_difference_has_its_reason_and_stands_on_the_page(compare, requests):
    """If this fails: python tools/clemcore_requests/compare.py REGISTRY"""
    assert compare.PAGE.read_text(encoding="utf-8") == compare.page(requests)
    assert len(requests["entries"]) == 22


def test_a_difference_without_a_reason_ends_it(compare, requests):
    """A body that changes on either side is seen."""
    changed = json.loads(json.dumps(requests))
    changed["recorded"]["qwen3-max"]["body"]["top_p"] = 0.5
    with pytest.raises(SystemExit, match="qwen3-max: top_p differs, and nobody says why"):
        compare.page(changed)
    changed = json.loads(json.dumps(requests))
    changed["recorded"]["gemini-3-pro"]["body"]["generationConfig"]["maxOutputTokens"] = 301
    with pytest.raises(SystemExit, match=r"gemini-3-pro: generationConfig\.maxOutputTokens"):
        compare.page(changed)


def test_each_reason_is_needed(compare, requests):
    """A reason whose difference is gone goes too."""
    used = set()
    for entry in requests["entries"][:-1]:
        theirs = compare.by_clemcore(requests, entry)
        _, ours = compare.by_playbill(requests, entry, theirs["temperature"])
        used |= {row.why for row in compare.rows(entry, theirs["body"], ours)}
    assert {row.why for row in compare.INTENDED} <= used


def test_entries_that_differ_in_the_budget_alone_differ_in_their_bodies(compare, requests):
    """clemcore's own anthropic backend makes them the same."""
    high, low = (
        compare.by_playbill(requests, entry, 0)[1]
        for entry in requests["entries"]
        if entry["model_name"].startswith("claude-sonnet-4-5-azure")
    )
    assert (high["thinking"]["budget_tokens"], low["thinking"]["budget_tokens"]) == (8192, 1024)
    assert (high["max_tokens"], low["max_tokens"]) == (8492, 1324)
    assert high["messages"] == low["messages"]


@pytest.fixture
def server():
    """The recorder's own server, and what was sent to it."""
    recorder = module("record").Recorder
    recorder.sent = []
    with ThreadingHTTPServer(("127.0.0.1", 0), recorder) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", recorder.sent
        http.shutdown()


def test_playbill_really_sends_these_bodies(compare, requests, server, place):
    """Over the wire, by the official clients, to the same paths as clemcore."""
    address, sent = server
    roots = {"openrouter": "/api/v1", "openai": "/v1", "azure": "/openai/v1", "azure_claude": "/anthropic"}
    for entry in requests["entries"][:-1]:
        theirs = compare.by_clemcore(requests, entry)
        asked, body = compare.by_playbill(requests, entry, theirs["temperature"])
        backend = compare.flatten(entry).entry["backend"]
        keys = {backend: {"api_key": "not-a-key", "base_url": address + roots.get(backend, "")}}
        (place / "key.json").write_text(json.dumps(keys))
        with load_spec(ModelSpec.from_dict(entry).override(asked)) as model:
            assert model.generate(requests["messages"]).outcome == "answered"
        assert sent[-1]["body"] == body
        assert sent[-1]["path"] == theirs.get("path", sent[-1]["path"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_clemcore_really_sends_what_was_recorded(compare, requests):
    """By the package itself. If this fails: python tools/clemcore_requests/compare.py REGISTRY --record PYTHON"""
    commands = environment("clemcore", "clemcore==3.7.2", below=(3, 13))
    assert compare.record(str(commands / "python"), requests) == requests["recorded"]
    assert len(requests["recorded"]) == 17
