"""Ray's own multi-node cluster on the loopback address: nodes, the driver and the head die; each item is there once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import pytest

from playbill.runs import run
from support.gguf_smollm2 import entry as smollm2
from support.on_ray import check_silent, kept, session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.usefixtures("place"),
    pytest.mark.skipif(sys.platform != "linux", reason="Ray's test cluster, and /proc"),
]
WORDS = ["tower", "river", "lamp", "stone", "bird", "clock", "garden", "ship"]
SLOW = {"model_name": "slow", "backend": "programmatic", "answers": ["one", "two", "three"], "delay": 0.2}
NAMESPACES = ["unshare", "-Urn"]


@pytest.fixture
def dialogues(place):
    path = place / "in.jsonl"
    further = ["What is it for?", "Who needs it?", "In a word?"]
    given = [{"id": f"d{i}", "turns": [f"Describe a {WORDS[i % 8]}, number {i}.", *further]} for i in range(200)]
    path.write_text("".join(json.dumps(each) + "\n" for each in given))
    return path


def check_disturbed(told, place, label):
    assert told["alive"], "the driver outlived the node"
    assert "died, and is started again" in told["first_err"]
    assert told["code"] == 0, told["err"]
    check_silent(told)
    assert json.loads(told["out"])["models"][label]["records"] == 800
    assert json.loads(told["out"])["models"][label]["new_records"] == 800 - told["before"]
    starts = json.loads((place / "r/manifest.json").read_text())["starts"]
    assert sum(each["answered"] for each in starts[-1]["replicas"][label]) == 800 - told["before"]


def test_a_node_and_the_driver_die(dialogues, place):
    """Three nodes: one is killed at a third of the run, the driver at two thirds; its second start goes on."""
    run(dialogues, {**SLOW, "delay": 0}, out="whole")
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


def check_moved(told, place):
    assert told["code"] == 0, told["err"]
    check_silent(told)
    assert "died, and is started again" in told["err"]
    assert kept("r", "slow") == kept("whole", "slow")
    assert len(kept("r", "slow")) == 800
    replicas = json.loads((place / "r/manifest.json").read_text())["starts"][-1]["replicas"]["slow"]
    assert sum(each["answered"] for each in replicas) == 800, "an answer that comes late counts for nobody"


@pytest.mark.parametrize("thawed", [False, True])
def test_a_node_that_freezes(dialogues, place, thawed):
    """Nothing of it ends and nothing of it speaks: its turns are computed elsewhere. Thawed it is too late."""
    run(dialogues, {**SLOW, "delay": 0}, out="whole")
    model = {**SLOW, "dialogues_per_replica": 8}
    arguments = {"inputs": dialogues, "entry": model, "out": place / "r", "turns": 800, "thawed": thawed}
    check_moved(session("stopped_node", **arguments), place)


@pytest.mark.parametrize("healed", [False, True])
def test_a_node_that_is_cut_off(dialogues, place, healed):
    """Its network is gone, and it computes on. When the network is back, its answers are not taken."""
    tools = all(map(shutil.which, ("unshare", "nsenter", "ip")))
    if not tools or subprocess.run([*NAMESPACES, "ip", "link", "set", "lo", "up"], capture_output=True).returncode:
        pytest.skip("this machine gives no network namespaces")
    run(dialogues, {**SLOW, "delay": 0}, out="whole")
    model = {**SLOW, "delay": 0.5, "dialogues_per_replica": 8}
    arguments = {"inputs": dialogues, "entry": model, "out": place / "r", "turns": 800, "healed": healed}
    check_moved(session("cut_off", before=tuple(NAMESPACES), **arguments), place)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_head_dies(dialogues, place, number):
    """The command ends within a minute and says why; on that cluster no start begins, on another the same goes on."""
    run(dialogues, {**SLOW, "delay": 0}, out="whole")
    model = {**SLOW, "delay": 1.2, "dialogues_per_replica": 8}
    told = session("head_dies", inputs=dialogues, entry=model, out=place / "r", turns=800, number=int(number))
    for kind in ("first", "again", "last"):
        check_silent(told[kind])
    assert told["first"]["code"] in (1, 2), told["first"]
    assert "the head of the Ray cluster, 127.0.0.1:" in told["first"]["err"]
    assert "has not answered for 3" in told["first"]["err"]
    assert told["first"]["seconds"] < 90
    said = "no Ray cluster answers" if number == signal.SIGKILL else "takes connections and says nothing for 10 s"
    assert told["again"]["code"] == 2, told["again"]
    assert said in told["again"]["err"]
    assert told["again"]["seconds"] < 60
    assert told["last"]["code"] == 0, told["last"]["err"]
    assert kept("r", "slow") == kept("whole", "slow")
