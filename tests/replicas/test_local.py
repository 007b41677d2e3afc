"""Replicas as processes of this machine: the records of a run without them, whatever dies in the meantime."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait
from pathlib import Path

import pytest

from playbill.backends import (
    EngineError,
    EntryError,
    MessageError,
    Outcome,
    ParameterError,
    ReplicasLost,
    Request,
    find_spec,
    load_model,
)
from playbill.backends.errors import RunError
from playbill.mock_services import MockServer
from playbill.replicas import LoadOrder, LocalPlaces, ReplicatedModel
from playbill.replicas.local import visible_gpus
from playbill.runs import Silent, read_records, run
from support.gguf_smollm2 import entry as smollm2

pytestmark = [pytest.mark.usefixtures("place"), pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]

SCRIPT = {"model_name": "m", "backend": "programmatic", "answers": ["one", "two", "three"]}
GAME = [{"id": f"d{i}", "turns": ["a", "b", "c"][: 1 + i % 3]} for i in range(40)]
HELLO = [{"role": "user", "content": "Hello!"}]


def kept(path):
    found = {}
    for record in read_records(path):
        key = record["id"], record["turn"], record["sample"]
        assert key not in found, "each item once"
        details = {name: value for name, value in record["details"].items() if name != "replica"}
        found[key] = {**record, "time": None, "seconds": None, "details": details}
    return found


def load(replicas=1, said=None, silence=60.0, **keys):
    spec = find_spec({**SCRIPT, **keys})
    say = said.append if said is not None else lambda text: None
    return ReplicatedModel.load(LocalPlaces(replicas, silence=silence), LoadOrder(spec=spec), say=say)


class Killer(Silent):
    """Kills the process of a replica after so many records."""

    def __init__(self, after, number=signal.SIGKILL):
        self.after, self.number, self.said_, self.folder = after, number, [], None

    def planned(self, plan):
        self.folder = plan.folder

    def said(self, label, text):
        self.said_.append(text)

    def recorded(self, label, tick):
        if tick.recorded == self.after:
            manifest = json.loads((self.folder / "manifest.json").read_text())
            os.kill(manifest["starts"][-1]["replicas"]["m"][0]["pid"], self.number)


def test_a_replica_that_is_killed_costs_no_answer():
    """What was under way is computed again, each item is recorded once, and the records are those of a plain run;
    the manifest says who answered how many."""
    whole = run(GAME, SCRIPT, out="whole", repeat=2, seed=1)
    watch = Killer(after=20)
    slow = {**SCRIPT, "delay": 0.05, "dialogues_per_replica": 4}
    result = run(GAME, slow, out="r", repeat=2, seed=1, places=LocalPlaces(2), observer=watch)
    assert result.ok
    expected = {key: {**record, "label": "m"} for key, record in kept(whole.files["m"]).items()}
    assert kept(result.files["m"]) == expected
    assert any("died, and is started again" in text and "signal 9" in text for text in watch.said_)
    replicas = json.loads(Path("r/manifest.json").read_text())["starts"][0]["replicas"]["m"]
    assert sum(each["answered"] for each in replicas) == len(expected)
    assert {each["replica"] for each in replicas} == {1, 2}
    assert all(each["node"] and each["packages"] and each["device"] == "cpu" for each in replicas)
    answered = {record["details"]["replica"].rpartition("/")[2] for record in result.records()}
    assert answered == {"1", "2"}
    again = run(GAME, SCRIPT | slow, out="r", repeat=2, seed=1)
    assert again.models["m"].new_records == 0, "a run without replicas finds it complete"


@pytest.mark.slow
def test_a_frozen_replica_is_replaced():
    """No sign of life is a death, too."""
    said = []
    with load(2, said, silence=2.5, delay=0.05, dialogues_per_replica=2) as model:
        while len(model.census()) < 2:
            time.sleep(0.05)
        os.kill(model.census()[0]["pid"], signal.SIGSTOP)
        futures = [model.submit(HELLO, dialogue=str(i)) for i in range(12)]
        wait(futures, timeout=60)
        assert {future.result(0).text for future in futures} == {"one"}
    assert any("no sign of life for 2 s" in text for text in said)


def test_a_model_that_cannot_load_says_why():
    """The error is its own, as without replicas; there is no second try for what is plainly wrong."""
    with pytest.raises(EntryError, match="answers"):
        load(2, answers=7)
    with pytest.raises(EntryError):
        run(GAME, {**SCRIPT, "answers": 7}, out="r", places=LocalPlaces(2))


DYING = """
import os, signal, sys
from playbill.backends.engines.base import Loaded
from playbill.backends.engines.programmatic import Programmatic

def load(entry, context):
    print("the last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_replica_that_dies_twice_at_load_is_given_up_with_the_end_of_its_log(monkeypatch, place):
    """Started twice, and no more; its log ends the error."""
    (place / "dying.py").write_text(DYING)
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    (place / "sitecustomize.py").write_text(
        "import playbill.backends.registry.backends as b, dataclasses\n"
        "b._built_in()['programmatic'] = dataclasses.replace(b._built_in()['programmatic'], module='dying')\n"
    )
    said = []
    with pytest.raises(ReplicasLost, match="died twice while it was loading") as e:
        load(1, said)
    assert "the last words" in str(e.value)
    assert "signal 9" in str(e.value)
    assert len([text for text in said if "started again" in text]) == 1


def test_messages_and_parameters_are_judged_as_ever():
    """Parameters at once, messages by the future; a run keeps the refused conversation as an error of its own."""
    with load() as model:
        with pytest.raises(ParameterError, match="warmth"):
            model.submit(HELLO, warmth=1)
        with pytest.raises(MessageError, match=r"messages\[0\]\.role"):
            model.generate([{"role": "nobody", "content": "x"}])
        stream = model.stream(HELLO, max_tokens=5)
        assert "".join(stream) == stream.generation.text == "one"
        completion = model.engine.submit(Request(messages=tuple(HELLO), params={})).result(30)
        assert (completion.text, completion.finish_reason, completion.usage.output_tokens) == ("one", "stop", 1)
        closed = model
    with pytest.raises(EngineError, match="closed"):
        closed.submit(HELLO)


def test_a_cancelled_turn_ends_where_it_is():
    """The replica stops it, and has room again."""
    with load(dialogues_per_replica=1, delay=30) as model:
        future = model.submit(HELLO)
        time.sleep(0.3)
        assert future.cancel()
        deadline = time.monotonic() + 20
        while model.statuses()[0].in_flight and time.monotonic() < deadline:
            time.sleep(0.05)
        assert model.statuses()[0].in_flight == 0


def test_closing_leaves_no_process_and_nobody_waiting():
    """Whoever still waits gets an error; the processes are gone soon."""
    model = load(2, delay=60)
    while len(model.census()) < 2:
        time.sleep(0.02)
    pids = [each["pid"] for each in model.census()]
    future = model.submit(HELLO)
    model.close()
    assert future.result(10).outcome is Outcome.ERROR if future.exception(10) is None else True
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/stat").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.slow
def test_replicas_end_with_their_parent(place):
    """A caller that is killed leaves no process behind."""
    code = (
        "import sys, time; from playbill.replicas import *; from playbill.backends import find_spec\n"
        f"m = ReplicatedModel.load(LocalPlaces(1), LoadOrder(spec=find_spec({SCRIPT!r})))\n"
        "print(m.census()[0]['pid'], flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_gpus_are_given_out_and_never_shared(monkeypatch):
    """Each replica sees its own; more than there are is refused with both numbers."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5")
    assert visible_gpus() == ["3", "GPU-5"]
    with load(2, num_gpus=1) as model:
        while len(model.census()) < 2:
            time.sleep(0.02)
        assert sorted(each["gpus"] for each in model.census()) == ["3", "GPU-5"]
    with pytest.raises(RunError, match="2 replicas of 2 GPUs each need 4, and this machine shows 2"):
        load(2, num_gpus=2)
    with pytest.raises(RunError, match="whole GPUs"):
        load(2, num_gpus=0.5)


def test_replicas_of_other_weights_or_versions_are_not_mixed(monkeypatch, place):
    """The second is given up, with what differs; the first answers alone."""
    (place / "sitecustomize.py").write_text(
        "import os, playbill.replicas.worker as w\n"
        "try:\n    os.close(os.open('second', os.O_CREAT | os.O_EXCL))\n"
        "except FileExistsError:\n    w.package_versions = lambda: {'torch': '9.9'}\n"
        "else:\n    w.package_versions = lambda: {'torch': '9.8'}\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    said = []
    with load(2, said) as model:
        deadline = time.monotonic() + 30
        while not any("given up" in text for text in said) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(model.census()) == 1
        assert model.generate(HELLO).text == "one"
    assert any("packages.torch: 9." in text and "answers of two kinds" in text for text in said)


@pytest.mark.slow
def test_progress_can_ask_at_any_time():
    """States, turns and rates of each replica, from another thread than the run's."""
    seen = []

    class Watch(Silent):
        def started(self, label, work):
            def look():
                for _ in range(20):
                    seen.append(work.replicas())
                    time.sleep(0.05)

            threading.Thread(target=look, daemon=True).start()

    run(GAME, {**SCRIPT, "delay": 0.05, "dialogues_per_replica": 4}, out="r", places=LocalPlaces(2), observer=Watch())
    states = {status.state for statuses in seen for status in statuses}
    assert "ready" in states
    assert max(sum(status.turns for status in statuses) for statuses in seen) > 10


def test_what_a_caller_raises_over_a_piece_ends_that_turn_alone():
    """A stream's reader that breaks gets its own error; the replica and everybody else go on."""

    def broken(text):
        raise ZeroDivisionError("the caller's own")

    with load(1) as model:
        with pytest.raises(ZeroDivisionError, match="the caller's own"):
            model.generate(HELLO, on_text=broken)
        assert model.generate(HELLO).text == "one"


def test_a_load_that_nobody_waits_for_any_more_ends():
    """As when a run is stopped while another job has what a replica needs."""
    with pytest.raises(EngineError, match="stopped before a replica was ready"):
        ReplicatedModel.load(LocalPlaces(1), LoadOrder(spec=find_spec(SCRIPT)), stopped=lambda: True)


def test_a_budget_for_thinking_is_refused_as_without_replicas():
    """At once, where nobody knows how the model's thinking would end."""
    pytest.importorskip("xllamacpp", reason='needs "playbill[llamacpp]"')
    spec = find_spec(smollm2(n_ctx=256, threads=1))
    with ReplicatedModel.load(LocalPlaces(1), LoadOrder(spec=spec)) as model, load_model(spec) as plain:
        said = []
        for each in (model, plain):
            with pytest.raises(ParameterError, match="max_thinking_tokens") as e:
                each.submit(HELLO, max_thinking_tokens=5)
            said.append(str(e.value))
    assert said[0] == said[1]


def test_models_that_have_no_replicas_are_named():
    """A service beside a local model: it works as ever, and that is said."""
    pytest.importorskip("openai", reason="needs the extra `openai`")
    watch = Killer(after=-1)
    with MockServer() as server:
        hosted = {"model_name": "h", "backend": "openai_compatible", "model_id": "x", "base_url": server.openai_url}
        result = run(GAME[:3], [SCRIPT, hosted], out="r", places=LocalPlaces(1), observer=watch)
    assert result.ok
    (said,) = [text for text in watch.said_ if "without replicas" in text]
    assert "those are for huggingface_local, llamacpp, programmatic and vllm" in said
    assert said.endswith("its backend is openai_compatible")


@pytest.mark.slow
def test_a_caller_that_was_stopped_takes_nobody_for_dead(place):
    """As by Ctrl-Z: for longer than replicas may be silent, and then it goes on."""
    code = (
        "import sys; from playbill.replicas import *; from playbill.runs import Silent, run\n"
        "class Watch(Silent):\n"
        "    def recorded(self, label, tick): print(tick.recorded, flush=True)\n"
        "    def said(self, label, text): print(text, file=sys.stderr, flush=True)\n"
        f"game = {GAME!r}; entry = { ({**SCRIPT, 'delay': 0.3, 'dialogues_per_replica': 4})!r}\n"
        "run(game, entry, out='r', places=LocalPlaces(2, silence=2.5), observer=Watch())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as caller:
        assert caller.stdout.readline().strip() == "1"
        caller.send_signal(signal.SIGSTOP)
        time.sleep(7)
        caller.send_signal(signal.SIGCONT)
        _, err = caller.communicate(timeout=60)
    assert caller.returncode == 0, err
    assert "died" not in err
    assert len(kept("r/m/records.jsonl")) == 79


OPENED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n<t>"
)
THINKING = {
    "premade_chat_template": False,
    "custom_chat_template": OPENED,
    "cot_start_tag": "<t>",
    "cot_end_tag": ".",
}


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["exact", "single", "fast"])
def test_a_model_that_thinks_keeps_its_budgets(batching):
    """A replica's answer is the plain model's, in each way of batching: thinking, text, ids, and what was effective."""
    pytest.importorskip("xllamacpp", reason='needs "playbill[llamacpp]"')
    spec = find_spec(smollm2(n_ctx=512, threads=1, batching=batching, **THINKING))
    story = [{"role": "user", "content": "Tell me a long story about a lighthouse."}]
    budgets = [{"max_thinking_tokens": 3, "max_tokens": 20}, {"max_thinking_tokens": 60, "max_tokens": 4}]
    with ReplicatedModel.load(LocalPlaces(1), LoadOrder(spec=spec)) as model, load_model(spec) as plain:
        for budget in budgets:
            one, other = model.generate(story, **budget), plain.generate(story, **budget)
            for name in ("outcome", "thinking", "text", "raw", "output_ids", "prompt", "params", "changes"):
                assert getattr(one, name) == getattr(other, name), name
            pieces = model.stream(story, **budget)
            assert "".join(pieces) == pieces.generation.text
