"""Runs that are ended from outside, by SIGKILL and by Ctrl-C: the next start ends with each item exactly once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from playbill.runs import read_records, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

MODEL = {"model_name": "slow", "backend": "programmatic", "answers": ["one", "two", "three"], "delay": 0.02}
START = """
import sys
from playbill.runs import Silent, RunInterrupted, run

class Watch(Silent):
    def recorded(self, label, tick):
        print(tick.recorded, flush=True)

try:
    run(sys.argv[1], {model!r}, out=sys.argv[2], repeat=2, observer=Watch())
except RunInterrupted as e:
    print("interrupted", e.result.models["slow"].missing, e)
    sys.exit(130)
"""


@pytest.fixture
def dialogues(place):
    path = place / "in.jsonl"
    path.write_text("".join(json.dumps({"id": i, "turns": ["a", "b", "c"][: 1 + i % 3]}) + "\n" for i in range(100)))
    return path


def start(dialogues: Path, out: Path, model=MODEL) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START.format(model=model), str(dialogues), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def content(path: Path) -> dict:
    """What was said under each key; fails where a key stands twice."""
    found = [((r["id"], r["turn"], r["sample"]), (r["text"], len(r["messages"]))) for r in read_records(path)]
    assert max(Counter(key for key, _ in found).values(), default=1) == 1
    return dict(found)


def kill_and_go_on(dialogues: Path, out: Path, kills: int, chance: random.Random) -> None:
    """Start and kill so many times, then let it end; what is recorded must stay just as it is, all the while."""
    path = out / "slow" / "records.jsonl"
    before: dict = {}
    for _ in range(kills):
        process = start(dialogues, out)
        for _ in range(chance.randrange(1, 12)):
            if not process.stdout.readline():
                break
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.communicate()
        before = kept(path, before)
    last = start(dialogues, out)
    last.communicate()
    assert last.returncode == 0
    kept(path, before)


def kept(path: Path, before: dict) -> dict:
    """When each answer was recorded; fails where one that was there is gone or was made anew."""
    now = {(r["id"], r["turn"], r["sample"]): r["time"] for r in read_records(path)} if path.exists() else {}
    assert {key: now.get(key) for key in before} == before
    return now


def undisturbed(dialogues: Path, out: Path) -> dict:
    quick = {**MODEL, "delay": 0}
    return content(run(dialogues, quick, out=out, repeat=2).files["slow"])


def test_a_killed_run_goes_on(dialogues, place):
    """Killed three times at random moments and resumed, a run says what an undisturbed one says, each item once."""
    kill_and_go_on(dialogues, place / "killed", 3, random.Random(1))
    assert content(place / "killed/slow/records.jsonl") == undisturbed(dialogues, place / "whole")


@pytest.mark.slow
def test_fifty_kills(dialogues, place):
    """Fifty kills at random moments lose nothing and double nothing."""
    kill_and_go_on(dialogues, place / "killed", 50, random.Random(2))
    assert content(place / "killed/slow/records.jsonl") == undisturbed(dialogues, place / "whole")


def test_a_torn_line_of_a_kill_is_mended(dialogues, place):
    """A kill in the middle of a write is the same to the next start as any other."""
    expected = undisturbed(dialogues, place / "whole")
    quick = {**MODEL, "delay": 0}
    path = run(dialogues, quick, out=place / "torn", repeat=2).files["slow"]
    size = path.stat().st_size
    for cut in random.Random(3).sample(range(size), 20):
        os.truncate(path, min(cut, path.stat().st_size))
        run(dialogues, quick, out=place / "torn", repeat=2)
        assert content(path) == expected


def test_ctrl_c_keeps_what_is_finished(dialogues, place):
    """Ctrl-C in the middle of a run keeps every finished answer, and says how to go on."""
    process = start(dialogues, place / "r")
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    word, missing, said = rest.splitlines()[-1].split(" ", 2)
    recorded = content(place / "r/slow/records.jsonl")
    assert (word, int(missing)) == ("interrupted", 398 - len(recorded))
    assert len(recorded) >= 5
    assert "the same call goes on" in said
    again = start(dialogues, place / "r")
    again.communicate()
    assert again.returncode == 0
    assert content(place / "r/slow/records.jsonl") == undisturbed(dialogues, place / "whole")


def test_ctrl_c_does_not_wait_for_answers_under_way(dialogues, place):
    """Requests that would take an hour are given up: the process ends by itself."""
    process = start(dialogues, place / "r", {**MODEL, "delay": 3600})
    manifest = place / "r/slow/records.jsonl"
    while not manifest.exists():
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
