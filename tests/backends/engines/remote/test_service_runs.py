"""Runs against services: under faults, with a refused key, with a dead endpoint, interrupted and gone on with."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter

import pytest

from playbill.backends import Credentials
from playbill.backends.credentials import allow
from playbill.mock_services import MockOptions, MockServer
from playbill.runs import run

MIX = {
    "429": 0.05, "429@0": 0.05, "500": 0.04, "503": 0.04, "reset": 0.03, "hang@30": 0.01, "half_body": 0.02,
    "invalid_json": 0.02, "html": 0.02, "no_choices": 0.02,
}  # fmt: skip


def entry(server, name="m", **more):
    found = {"model_name": name, "backend": "openai_compatible", "base_url": server.openai_url, "retry_pause": 0.02}
    return {**found, **more}


def dialogues(count, turns=1):
    return [{"id": f"d{n}", "turns": [f"dialogue {n}, turn {t}" for t in range(turns)]} for n in range(count)]


def keys_of(records):
    return Counter((r["id"], r["turn"], r["sample"]) for r in records)


def test_a_run_under_faults_ends_by_itself_with_everything_recorded_once(place):
    """500 dialogues while 30 % of the requests go wrong in ten ways: all are answered, attempts are bounded."""
    with MockServer(options=MockOptions(faults=MIX, seed=3)) as server:
        result = run(dialogues(500), entry(server, concurrency=24, timeout=3), out="out")
        counts = server.counts
    records = list(result.records())
    assert len(records) == 500
    assert set(keys_of(records).values()) == {1}
    assert {r["outcome"] for r in records} == {"answered"}
    assert all(r["text"] == f"dialogue {r['id'][1:]}, turn 0" for r in records)
    assert 1 < max(r["attempts"] for r in records) <= 6
    assert sum(r["attempts"] for r in records) == sum(counts.values())
    assert sum(counts.values()) - counts["answered"] > 100
    assert all(r["request"]["messages"] and r["response"]["choices"] for r in records)


def test_adaptive_concurrency_goes_through_a_run_with_rate_limits(place):
    """The schedule keeps as much ready as the service takes just then."""
    with MockServer(options=MockOptions(latency=0.02, concurrency=12)) as server:
        result = run(dialogues(150, turns=2), entry(server, retry_pause=0.05), out="out")
        assert server.counts["rate_limited"] > 0
        assert server.peak > 4
    assert Counter(r["outcome"] for r in result.records()) == {"answered": 300}


def test_a_refused_key_stops_that_model_at_once_and_no_other(place):
    """Its summary says what to do; the others finish."""
    (place / "key.json").write_text(
        json.dumps({"bad": {"api_key": "key-number-2"}, "good": {"api_key": "key-number-1"}})
    )
    with MockServer(options=MockOptions(api_key="key-number-1", latency=0.02)) as server:
        for section in ("bad", "good"):
            allow(section, server.openai_url, path=place / "key.json")
        models = [entry(server, name, key_section=name, concurrency=4) for name in ("bad", "good")]
        result = run(dialogues(100), models, out="out", credentials=Credentials.load())
        refused = server.counts["401"]
    assert refused <= 10
    assert "refuses the key" in str(result.models["bad"].problem)
    assert result.models["bad"].missing >= 90
    assert Counter(r["outcome"] for r in result.records("good")) == {"answered": 100}


def test_a_dead_endpoint_stops_its_model_with_one_message(place):
    """Not after hours, and without ten thousand records of the same error."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    dead = {**entry(type("Dead", (), {"openai_url": f"http://127.0.0.1:{port}/v1"}), "dead"), "retry_pause": 0.01}
    with MockServer() as server:
        result = run(dialogues(300), [dead, entry(server, "alive")], out="out")
    assert "answered none of" in str(result.models["dead"].problem)
    assert len(list(result.records("dead"))) < 50
    assert Counter(r["outcome"] for r in result.records("alive")) == {"answered": 300}


def test_a_run_goes_on_under_another_pace(place):
    """How fast a service is asked is no part of what is asked."""
    with MockServer() as server:
        run(dialogues(3), entry(server, concurrency=1), out="out")
        again = run(dialogues(5), entry(server, timeout=30, max_attempts=2), out="out", concurrency=2)
        assert server.total == 5
    assert len(list(again.records())) == 5


def command(*arguments):
    return [sys.executable, "-m", "playbill", *arguments]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent otherwise there")
def test_ctrl_c_ends_a_loaded_run_and_it_can_go_on(place):
    """Finished answers are kept, and each is there once in the end."""
    (place / "in.jsonl").write_text("".join(json.dumps(d) + "\n" for d in dialogues(400)))
    with MockServer(options=MockOptions(latency=0.3)) as server:
        model = json.dumps(entry(server))
        line = command("run", "in.jsonl", "-m", f"m={model}", "-o", "out", "--concurrency", "32", "--json")
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
        assert server.wait_until(lambda s: s.total > 100, timeout=60)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert server.peak <= 32
        kept = [json.loads(text) for text in (place / "out" / "m" / "records.jsonl").read_text().splitlines()]
        assert 0 < len(kept) < 400
        assert {r["outcome"] for r in kept} == {"answered"}
        before = server.total
        done = subprocess.run(line, capture_output=True, env=os.environ, check=True)
        assert server.total - before == 400 - len(kept)
    assert json.loads(done.stdout)["models"]["m"]["records"] == 400
    records = [json.loads(text) for text in (place / "out" / "m" / "records.jsonl").read_text().splitlines()]
    assert set(keys_of(records).values()) == {1}


def test_prompt_shows_the_body_as_it_would_be_sent(place):
    """Without a key, and without sending anything."""
    selector = json.dumps({"model_name": "m", "backend": "openai", "model_id": "gpt-x"})
    (place / "talk.json").write_text(json.dumps([{"role": "user", "content": "Hi!"}]))
    done = subprocess.run(command("prompt", selector, "talk.json", "-p", "seed=1"), capture_output=True, check=True)
    assert json.loads(done.stdout) == {
        "model": "gpt-x",
        "messages": [{"role": "user", "content": "Hi!"}],
        "temperature": 0.0,
        "max_completion_tokens": 300,
        "seed": 1,
    }
    as_json = subprocess.run(command("prompt", selector, "talk.json", "--json"), capture_output=True, check=True)
    assert json.loads(as_json.stdout)["request"]["model"] == "gpt-x"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent otherwise there")
def test_the_mock_server_is_a_command(place):
    """It says its address, fails as told, and counts what it did when it is stopped."""
    line = command("mock-server", "--port", "0", "--answer", "Hi.", "--fault", "500=0.5", "--api-key", "key-number-1")
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = process.stderr.readline().split()[-1]
        (place / "key.json").write_text(json.dumps({"ollama": {"api_key": "key-number-1", "base_url": url}}))
        model = {"model_name": "m", "backend": "ollama", "retry_pause": 0.01, "max_attempts": 30}
        result = run(dialogues(20), model, out="out")
    finally:
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)
    assert {r["text"] for r in result.records()} == {"Hi."}
    assert "20 answered" in told
    assert " 500\n" in told


@pytest.mark.parametrize("option", [("--fault", "nope=0.1"), ("--fault", "429=much"), ("--latency", "slow")])
def test_the_mock_server_refuses_what_it_does_not_know(place, option):
    """With the words to type instead."""
    done = subprocess.run(command("mock-server", *option), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert option[1].split("=")[-1] in done.stderr or "known are" in done.stderr
