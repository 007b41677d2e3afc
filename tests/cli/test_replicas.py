"""`--replicas` and `--ray` as a person types them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is here")
@pytest.mark.parametrize("command", [("run", "in.jsonl", "-m", "mock"), ("serve", "mock")])
def test_without_ray_the_line_to_type_is_said(playbill, command):
    """Before anything is loaded or made."""
    Path("in.jsonl").write_text('{"id": 1, "turns": ["a"]}\n')
    code, out, err = playbill(*command, "--ray")
    assert (code, out) == (2, "")
    assert 'install with: pip install "playbill[ray]"' in err
    assert not Path("runs").exists()


def test_a_run_with_replicas_says_how_they_do_as_lines_of_json(playbill):
    """With --json each line of stderr is an object, and stdout is the result alone; services stay as they are."""
    Path("in.jsonl").write_text("".join(json.dumps({"id": i, "turns": ["a", "b"]}) + "\n" for i in range(10)))
    code, out, err = playbill("run", "in.jsonl", "-m", "mock", "--replicas", "2", "--json")
    assert code == 0
    assert json.loads(out)["models"]["mock"]["records"] == 20
    events = [json.loads(line) for line in err.splitlines()]
    assert [e["event"] for e in events if e["event"] != "said"] == ["planned", "loading", "started", "finished"]
    replicas = events[-1]["replicas"]
    assert sum(each["turns"] for each in replicas) == 20
    assert {"replica", "node", "device", "state", "in_flight", "tokens_per_second"} <= replicas[0].keys()


def test_more_gpus_than_there_are_end_the_command(playbill, monkeypatch):
    """With 2 and both numbers."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    Path("in.jsonl").write_text('{"id": 1, "turns": ["a"]}\n')
    code, _, err = playbill("run", "in.jsonl", "-m", "mock", "-p", "num_gpus=1", "--replicas", "2")
    assert code == 2
    assert "2 replicas of 1 GPUs each need 2, and this machine shows 1" in err
