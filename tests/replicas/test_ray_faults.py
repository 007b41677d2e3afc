"""Replicas on a Ray cluster: what goes wrong is said in its own words, none hangs, and stdout is for results."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from playbill.runs import run
from support.gguf_smollm2 import write_tiny
from support.on_ray import check_silent, kept, session
from support.pictures import tiny_png

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.usefixtures("place"),
    pytest.mark.skipif(sys.platform != "linux", reason="Ray's test cluster, and /proc"),
]
SCRIPT = {"model_name": "slow", "backend": "programmatic", "answers": ["one", "two", "three"], "delay": 0.02}
TINY = {
    "model_name": "tiny",
    "backend": "llamacpp",
    "premade_chat_template": True,
    "eos_to_cull": "<|im_end|>",
    "n_ctx": 256,
    "max_tokens": 2,
}


def write_dialogues(place, count):
    path = place / "in.jsonl"
    given = [
        {"id": f"d{i}", "turns": [f"Describe tower {i}.", "What for?", "Who?", "In a word?"]} for i in range(count)
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in given))
    return path


def test_what_goes_wrong_is_said(place):
    """Each in its own words, none hangs, and nothing but results is on stdout."""
    write_tiny(place)
    dying = {**SCRIPT, "x_dies": True}
    relative = {**TINY, "huggingface_id": "tiny.gguf"}
    inputs = write_dialogues(place, 200)
    told = session("faults", inputs=inputs, entry=SCRIPT, dying=dying, relative=relative, out=place, cwd=place)
    for name, each in told.items():
        if name != "frozen":
            check_silent(each)
    assert told["too_many"]["code"] == 0
    assert "5 replicas are asked for, and the cluster holds 2 of 1 CPU each" in told["too_many"]["err"]
    for name in ("too_many", "relative"):
        assert json.loads(told[name]["out"])["models"]
    assert told["infeasible"]["code"] == 2
    assert "a replica needs 2 GPU, and the largest of 3 nodes has 0 GPU" in told["infeasible"]["err"]
    assert told["dies_at_load"]["code"] == 2
    assert "died twice while it was loading" in told["dies_at_load"]["err"]
    assert "the last words" in told["dies_at_load"]["err"]
    assert told["dies_once"]["code"] == 0, told["dies_once"]["err"]
    assert "died while it was loading, and is started again" in told["dies_once"]["err"]
    assert len(kept("once", "slow")) == 800
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
    assert told["dead_address"]["seconds"] < 60
    assert told["frozen"]["code"] == 0, told["frozen"]["err"]
    assert "no sign of life for 4 s" in told["frozen"]["err"]
    assert json.loads(told["frozen"]["out"]) == {"ok": True}
    assert len(kept("frozen", "slow")) == 800


def test_replicas_of_other_packages_or_weights_are_refused(place):
    """A node with another torch, and one whose file of the same name is another model: the first replica goes on."""
    homes = [place / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
    write_tiny(homes[0])
    shutil.copy(homes[0] / "tiny.gguf", homes[1])
    with (homes[1] / "tiny.gguf").open("r+b") as file:  # in the middle of a matrix
        file.seek(-4096, 2)
        file.write(bytes(64))
    told = session(
        "other_replicas",
        inputs=write_dialogues(place, 200),
        entry={**SCRIPT, "delay": 0.2, "dialogues_per_replica": 8},
        weights={**TINY, "huggingface_id": "~/tiny.gguf", "dialogues_per_replica": 1},
        homes=list(map(str, homes)),
        out=place,
    )
    for name, what in (("versions", "packages.torch: 9."), ("weights", "weights.")):
        assert told[name]["code"] == 0, told[name]["err"]
        check_silent(told[name])
        assert "is given up: it is another than the first one" in told[name]["err"]
        assert what in told[name]["err"]
        assert json.loads(told[name]["out"])["models"]
    assert len(kept("versions", "slow")) == len(kept("weights", "tiny")) == 800
    starts = json.loads((place / "versions/manifest.json").read_text())["starts"]
    assert [each["answered"] for each in starts[0]["replicas"]["slow"]] == [800]


def test_a_cluster_that_is_busy(place):
    """It is said what is waited for; Ctrl-C ends a run and a server that wait; when there is room, the run begins."""
    told = session("busy", inputs=write_dialogues(place, 20), entry=SCRIPT, out=place)
    for name in ("run", "serve", "freed"):
        assert "waiting for 1 CPU (free: 0 CPU)" in told[name]["err"], told[name]
        assert "Traceback" not in told[name]["err"]
    check_silent(told["run"])
    check_silent(told["freed"])
    assert told["run"]["code"] == 130
    assert told["serve"]["code"] == 0
    assert max(told[name]["seconds"] for name in ("run", "serve")) < 30
    assert told["before"] == 0
    assert told["freed"]["code"] == 0
    assert len(kept("run", "slow")) == 80


def test_a_node_that_joins_late_gets_a_replica(place):
    """As many replicas as fit are as many as fit now, not when the run began."""
    model = {**SCRIPT, "delay": 0.4, "dialogues_per_replica": 8}
    told = session("late_node", inputs=write_dialogues(place, 200), entry=model, out=place / "r", turns=800)
    check_silent(told)
    assert told["code"] == 0, told["err"]
    assert len(kept("r", "slow")) == 800
    replicas = json.loads((place / "r/manifest.json").read_text())["starts"][0]["replicas"]["slow"]
    assert [each["replica"] for each in replicas] == [1, 2]
    assert replicas[1]["answered"] > 50


def test_pictures_are_read_and_kept(place):
    """Paths in dialogues hold on nodes that were started elsewhere; records and kept pictures are a plain run's."""
    pytest.importorskip("PIL", reason="needs the extra `vision`")
    from support.vision.checkpoint import entry_of, save_tiny

    model = {**entry_of(save_tiny("llava", place / "model")), "model_name": "eyes", "max_tokens": 4}
    for name, size in (("a.png", 40), ("b.png", 24)):
        (place / name).write_bytes(tiny_png(size, size))
    given = [
        {"id": f"d{i}", "messages": [{"role": "user", "content": f"What is it, {i}?", "image": "ab"[i % 2] + ".png"}]}
        for i in range(8)
    ]
    (place / "in.jsonl").write_text("".join(json.dumps(each) + "\n" for each in given))
    run("in.jsonl", model, out="whole")
    told = session("pictures", inputs="in.jsonl", entry=model, out=place / "r", cwd=place)
    check_silent(told)
    assert told["code"] == 0, told["err"]
    assert kept("r", "eyes") == kept("whole", "eyes")
    described = [
        json.loads((place / folder / "manifest.json").read_text())["models"]["eyes"] for folder in ("r", "whole")
    ]
    assert described[0]["pictures"] == described[1]["pictures"]
    names = sorted(path.name for path in (place / "whole/pictures").iterdir())
    assert len(names) == 2
    assert sorted(path.name for path in (place / "r/pictures").iterdir()) == names
