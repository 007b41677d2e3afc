"""Ray's own multi-node cluster on the loopback address: nodes, workers and drivers die, and each item is there once.

Ray comes into an environment of its own, .venvs/ray, which sees the packages of this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from playbill.runs import read_records, run
from support.environments import ROOT, environment
from support.gguf_smollm2 import entry as smollm2
from support.gguf_smollm2 import write_tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.usefixtures("place"),
    pytest.mark.skipif(sys.platform != "linux", reason="Ray's test cluster, and /proc"),
]
RAY = "ray==2.60.0"
SESSION = Path(__file__).parents[1] / "support" / "ray_session.py"
WORDS = ["tower", "river", "lamp", "stone", "bird", "clock", "garden", "ship"]
SLOW = {"model_name": "slow", "backend": "programmatic", "answers": ["one", "two", "three"], "delay": 0.2}
# Ends its process where an entry says so, while it loads; every process that sees this folder does as it says.
CUSTOM = """
import dataclasses
import playbill.backends.registry.backends as b
b._built_in()["programmatic"] = dataclasses.replace(b._built_in()["programmatic"], module="dying")
"""
DYING = """
import os, signal, sys
from playbill.backends.engines import programmatic

def load(entry, context):
    if entry.get("x_dies"):
        print("the last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return programmatic.load(entry, context)
"""


@pytest.fixture
def dialogues(place):
    path = place / "in.jsonl"
    further = ["What is it for?", "Who needs it?", "In a word?"]
    given = [{"id": f"d{i}", "turns": [f"Describe a {WORDS[i % 8]}, number {i}.", *further]} for i in range(200)]
    path.write_text("".join(json.dumps(each) + "\n" for each in given))
    return path


def session(kind, **arguments):
    """What the session printed; its sockets need a folder with a short name."""
    python = environment("ray", RAY) / "python"
    paths = [ROOT / "src", ROOT / "tests", sysconfig.get_paths()["purelib"]]
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        (Path(folder) / "sitecustomize.py").write_text(CUSTOM)
        (Path(folder) / "dying.py").write_text(DYING)
        done = subprocess.run(
            [python, SESSION, kind, json.dumps(arguments, default=str)],
            capture_output=True,
            text=True,
            timeout=2500,
            env={
                **os.environ,
                "RAY_TMPDIR": folder,
                "PYTHONPATH": os.pathsep.join(map(str, [folder, *paths])),
                "PLAYBILL_TEST_SESSION": folder,
            },
        )
        assert processes_with(folder) == [], "a process is left"
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def processes_with(mark):
    """The processes whose environment names the session's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def kept(folder, label):
    found = {}
    for record in read_records(Path(folder, label, "records.jsonl")):
        key = record["id"], record["turn"], record["sample"]
        assert key not in found, "each item once"
        found[key] = tuple(record[name] for name in ("text", "prompt", "output_ids", "outcome", "messages", "params"))
    return found


def check_disturbed(told, place, label):
    assert told["alive"], "the driver outlived the node"
    assert "died, and is started again" in told["first_err"]
    assert told["code"] == 0, told["err"]
    assert json.loads(told["out"])["models"][label]["records"] == 800
    assert json.loads(told["out"])["models"][label]["new_records"] == 800 - told["before"]
    starts = json.loads((place / "r/manifest.json").read_text())["starts"]
    assert sum(each["answered"] for each in starts[-1]["replicas"][label]) == 800 - told["before"]


def test_a_node_and_the_driver_die(dialogues, place):
    """Three nodes: one is killed at a third of the run, the driver at two thirds; its second start goes on."""
    quick = {**SLOW, "delay": 0}
    run(dialogues, quick, out="whole")
    told = session(
        "disturbed", inputs=dialogues, entry={**SLOW, "dialogues_per_replica": 8}, out=place / "r", nodes=3, turns=800
    )
    check_disturbed(told, place, "slow")
    assert kept("r", "slow") == kept("whole", "slow")


def test_a_node_and_the_driver_die_under_a_real_model(dialogues, place):
    """SmolLM2 on two nodes: ids, texts and prompts are those of an undisturbed run without Ray."""
    model = smollm2(model_name="slow", n_ctx=512, max_tokens=4, dialogues_per_replica=8)
    run(dialogues, model, out="whole")
    told = session("disturbed", inputs=dialogues, entry=model, out=place / "r", nodes=2, turns=800)
    check_disturbed(told, place, "slow")
    assert kept("r", "slow") == kept("whole", "slow")


def test_a_node_that_stops_answering(dialogues, place):
    """As one that is cut off: its turns are computed elsewhere, though nothing of it ended."""
    run(dialogues, {**SLOW, "delay": 0}, out="whole")
    told = session(
        "frozen_node", inputs=dialogues, entry={**SLOW, "dialogues_per_replica": 8}, out=place / "r", turns=800
    )
    assert told["code"] == 0, told["err"]
    assert "died, and is started again" in told["err"]
    assert kept("r", "slow") == kept("whole", "slow")


def test_what_goes_wrong_is_said(dialogues, place):
    """Each in its own words, none hangs, and nothing but results is on stdout."""
    write_tiny(place)
    tiny = {"model_name": "tiny", "backend": "llamacpp", "huggingface_id": "tiny.gguf", "premade_chat_template": True}
    told = session(
        "faults",
        inputs=dialogues,
        entry={**SLOW, "delay": 0.02},
        dying={**SLOW, "x_dies": True},
        relative={**tiny, "eos_to_cull": "<|im_end|>", "n_ctx": 256, "max_tokens": 2},
        out=place,
        cwd=place,
    )
    assert told["too_many"]["code"] == 0
    assert "5 replicas are asked for, and the cluster holds 2 of 1 CPU each" in told["too_many"]["err"]
    for name in ("too_many", "relative"):
        assert json.loads(told[name]["out"])["models"]
    assert told["infeasible"]["code"] == 2
    assert "a replica needs 2 GPU, and the largest of 3 nodes has 0 GPU" in told["infeasible"]["err"]
    assert told["dies_at_load"]["code"] == 2
    assert "died twice while it was loading" in told["dies_at_load"]["err"]
    assert "the last words" in told["dies_at_load"]["err"]
    assert told["relative"]["code"] == 0, told["relative"]["err"]
    assert told["wrong"]["code"] == 2
    assert "answers: 7 is not a list of strings" in told["wrong"]["err"]
    assert told["interrupted"]["code"] == 130
    assert json.loads(told["interrupted"]["out"])["models"]["slow"]["missing"] > 0
    assert "the same call goes on there" in told["interrupted"]["err"]
    assert told["no_address"]["code"] == 2
    assert "'in.jsonl' is no address of a Ray cluster" in told["no_address"]["err"]
    assert told["dead_address"]["code"] == 2
    assert "no Ray cluster answers at 127.0.0.1:9" in told["dead_address"]["err"]
    assert told["dead_seconds"] < 60
    assert told["frozen"]["code"] == 0, told["frozen"]["err"]
    assert "no sign of life for 4 s" in told["frozen"]["err"]
    assert json.loads(told["frozen"]["out"]) == {"ok": True}
    assert len(kept("frozen", "slow")) == 800
