"""`serve`, `clem run` and a cluster that `ray start` made: replicas die in the middle, and no answer shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.environments import environment
from support.gguf_smollm2 import entry as smollm2
from support.on_ray import check_silent, kept, session
from support.relay import SCRIPTED, relay_game, said

pytest.importorskip("uvicorn", reason='needs "playbill[serve]"')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.usefixtures("place"),
    pytest.mark.skipif(sys.platform != "linux", reason="Ray's test cluster, and /proc"),
]
HELLO = [{"role": "user", "content": "Tell me of a tower and a river, and of who lives there."}]


def test_a_stream_outlives_its_replica():
    """The text that was told is not told twice; the whole of it is the answer that other clients get."""
    told = session("serve", entry=smollm2(model_name="m", n_ctx=512), messages=HELLO, max_tokens=120)
    whole = told["first"]["choices"][0]["message"]["content"]
    assert len(whole) > 100
    assert told["killed"]
    assert told["streamed"] == whole
    assert "data: [DONE]\n" in told["events"], told["events"]
    assert told["last"]["choices"][0]["message"]["content"] == whole
    assert (told["code"], told["out"]) == (0, "")
    assert "died, and is started again; 1 turn handed out again" in told["err"]
    assert all(line.startswith("playbill: ") for line in told["err"].splitlines()), told["err"]


def test_games_outlive_a_replica(place):
    """clembench's games say what they say without Ray, each episode once."""
    clem = environment("clemcore", "clemcore==3.7.2", below=(3, 13))
    relay_game(place)
    echo = {"model_name": "echo", "backend": "programmatic"}
    players = [{**player, "delay": 0.3, "num_cpus": 0.5} for player in (SCRIPTED, echo)]
    words = [word for player in players for word in ("-m", json.dumps(player))]
    options = ["--clem-python", str(clem / "python"), "-r", "plain", "--json"]
    command = [sys.executable, "-m", "playbill", "clem", "run", "-g", "relay", *words, *options]
    plain = subprocess.run(command, capture_output=True, text=True)
    assert plain.returncode == 0, plain.stderr
    told = session("clem", players=players, python=str(clem / "python"), cwd=place)
    assert told["code"] == 0, told["err"]
    assert told["replicas"] >= 2
    assert json.loads(told["out"])["failed"] == 0
    assert "died, and is started again" in told["err"]
    assert said(place, "plain") == said(place, "ray")
    assert len(said(place, "ray")) == 8


def test_without_an_address_a_cluster_is_started_and_ended(place):
    """By the command, and in a program, whose own prints are not taken for Ray's."""
    Path("in.jsonl").write_text('{"id": "d", "turns": ["a", "b"]}\n')
    told = session("starts_local", inputs=place / "in.jsonl", entry=SCRIPTED, out=place / "r")
    check_silent(told["command"])
    assert told["command"]["code"] == 0, told["command"]["err"]
    assert told["api"] == {"out": "True\n", "err": ""}
    assert kept("r", "talker") == kept("r-api", "talker")


def test_auto_joins_the_cluster_that_is_there(place):
    """As the how-to has it; where the cluster is gone, that is said, and nothing is started."""
    Path("in.jsonl").write_text('{"id": "d", "turns": ["a", "b"]}\n')
    told = session("joins_auto", inputs=place / "in.jsonl", entry=SCRIPTED, out=place / "r")
    for name, folder in (("joined", "r"), ("named", "r-named")):
        assert told[name]["code"] == 0, told[name]["err"]
        assert len(kept(folder, SCRIPTED["model_name"])) == 2
    assert told["gone"]["code"] == 2
    assert "no Ray cluster answers at 127.0.0.1:6398" in told["gone"]["err"]
