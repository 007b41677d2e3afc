"""How a run ends before its end: by a scheduler's signal, a failed load, a full disk, a dead device."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from playbill.backends.errors import EngineError, WeightsError
from playbill.backends.loading import model_from_function
from playbill.runs import RunInterrupted, Silent, run
from playbill.runs.audit import find_sources
from playbill.runs.release import release
from playbill.runs.report.collect import collect

DIALOGUES = [{"id": str(n), "turns": ["Hi", "Ho", "He"]} for n in range(40)]
SLOW = {"model_name": "slow", "backend": "programmatic", "delay": 0.2}


class Signalling(Silent):
    """Sends a signal to this process at a certain number of records."""

    def __init__(self, number: int, *, at: tuple[int, ...] = (1,)) -> None:
        self.number, self.at = number, at

    def recorded(self, label, tick) -> None:
        if tick.recorded in self.at:
            os.kill(os.getpid(), self.number)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_schedulers_signal_lets_running_answers_finish(name, tmp_path):
    """Nothing new starts, all that was under way is recorded, and the same call goes on to the end."""
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(RunInterrupted) as e:
        run(DIALOGUES, SLOW, out=tmp_path / "out", observer=Signalling(number))
    assert signal.getsignal(number) is before
    assert e.value.drained
    summary = e.value.result.models["slow"]
    # The first turns of all dialogues were under way together; the next of the first was asked before the signal.
    assert summary.outcomes == {"answered": 41}
    assert summary.missing == 79
    assert run(DIALOGUES, SLOW, out=tmp_path / "out").ok


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_second_signal_ends_at_once(tmp_path):
    """What is under way then is asked again at the next start."""
    with pytest.raises(RunInterrupted) as e:
        run(DIALOGUES, SLOW, out=tmp_path / "out", observer=Signalling(signal.SIGTERM, at=(1, 2)))
    assert 2 <= e.value.result.models["slow"].records < 120


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_the_command_asks_for_a_requeue(place):
    """After SIGTERM the exit code is 75; a run that was complete by then ends as always."""
    (place / "in.jsonl").write_text("\n".join(map(json.dumps, DIALOGUES)))
    (place / "r.json").write_text(json.dumps([{**SLOW, "delay": 0.5}]))
    command = [sys.executable, "-m", "playbill", "run", "in.jsonl", "--registry", "r.json", "-m", "slow", "-o", "out"]
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    records = place / "out" / "slow" / "records.jsonl"
    while process.poll() is None and not (records.exists() and records.stat().st_size):
        threading.Event().wait(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "running answers were finished, and the same call goes on" in err
    done = re.search(r"slow +(\d+) of 120", out)
    assert done is not None
    assert 40 <= int(done[1]) < 120


class Big:
    """Stands for a model's weights."""


def test_an_error_holds_nothing_of_what_failed_once_it_is_released():
    """Neither its own frames nor those of its causes, nor a function in one of them, as when memory runs out."""

    def load():
        weights = Big()
        weights.itself = weights  # a cycle, as modules have them
        alive.append(weakref.ref(weights))
        try:
            (lambda: 1 // (weights is None))()
        except ZeroDivisionError as e:
            raise WeightsError("it doesn't fit") from e

    alive: list[weakref.ref[Big]] = []
    kept: list[WeightsError] = []
    try:
        load()
    except WeightsError as e:
        kept.append(e)
        release(e)
    assert alive[0]() is None
    assert str(kept[0]) == "it doesn't fit"


def test_why_a_model_failed_is_in_the_manifest_and_in_the_report(tmp_path, playbill):
    """And in the audit; a start that runs it to its end takes it out again."""
    models = [{"model_name": "nokey", "backend": "openai"}, {"model_name": "mock", "backend": "programmatic"}]
    folder = tmp_path / "out"
    assert not run(DIALOGUES[:2], models, out=folder).ok
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "no API key for openai" in manifest["models"]["nokey"]["problem"]
    assert "problem" not in manifest["models"]["mock"]
    (failed,) = collect(folder).summary["failed"]
    assert failed["label"] == "nokey"
    assert "no API key for openai" in failed["problem"]
    assert find_sources([folder])
    code, out, _ = playbill("audit", str(folder))
    assert code == 1
    assert "nokey was not run to its end: no API key for openai" in out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on files")
def test_a_full_disk_loads_no_further_model(place):
    """What can't be written for one can't be for the next, which says so and isn't begun."""
    long = [{"id": str(n), "turns": ["word " * 400]} for n in range(40)]
    (place / "in.jsonl").write_text("\n".join(map(json.dumps, long)))
    (place / "r.json").write_text(json.dumps([{**SLOW, "delay": 0, "model_name": name} for name in ("one", "two")]))
    program = (
        "import resource, signal\n"
        "from playbill.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "main('run in.jsonl --registry r.json -m one -m two -p max_tokens=2000 -o out'.split())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True)
    assert done.returncode == 2
    assert "one: can't write out/one/records.jsonl: File too large" in done.stderr
    assert "two: not begun, since it would fail as well" in done.stderr
    assert "two: 40 turns" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dead_device_ends_the_model_and_spares_the_next(tmp_path):
    """After a device-side assert nothing can be computed in this process: not all dialogues are written as errors."""
    asked = threading.Semaphore(0)

    def dead(messages):
        asked.release()
        raise EngineError("CUDA error: device-side assert triggered")

    models = [("dead", model_from_function(dead)), ("next", model_from_function(lambda messages: "fine"))]
    result = run([{"id": str(n), "turns": ["Hi"]} for n in range(500)], models, out=tmp_path / "out")
    assert result.models["dead"].missing > 300
    assert "the device is dead" in (result.models["dead"].problem or "")
    assert (result.models["next"].problem or "").startswith("not begun, since it would fail as well")


def test_hardware_and_load_time_are_in_the_manifest_and_another_machine_is_said(tmp_path, monkeypatch):
    """Host, processor, job and visible devices; resuming elsewhere says so, and keeps the first start's facts."""
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    folder = tmp_path / "out"
    model = {"model_name": "m", "backend": "programmatic"}
    run(DIALOGUES[:1], model, out=folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    hardware = manifest["starts"][0]["hardware"]
    assert hardware["job"] == {"SLURM_JOB_ID": "4711", "CUDA_VISIBLE_DEVICES": "2,3"}
    assert hardware["host"]
    assert hardware["processor"]
    assert manifest["starts"][0]["loaded"]["m"]["load_seconds"] >= 0

    said_so: list[str] = []
    observer = Silent()
    observer.said = lambda label, text: said_so.append(text)  # type: ignore[method-assign]
    manifest["starts"][0]["hardware"]["gpus"] = [{"name": "NVIDIA H100", "memory.total": "81559 MiB"}] * 2
    manifest["models"]["m"]["engine"] = {"device": "cuda:0", "dtype": "bfloat16"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    run(DIALOGUES[:2], model, out=folder, observer=observer)
    said = " ".join(said_so)
    assert "the hardware is another: " in said
    assert "2 x NVIDIA H100 81559 MiB before" in said
    assert "it computes otherwise than before: device: 'cuda:0' at the first start" in said
    kept = json.loads((folder / "manifest.json").read_text())
    assert kept["models"]["m"]["engine"] == {"device": "cuda:0", "dtype": "bfloat16"}
    assert kept["starts"][1]["loaded"]["m"]["engine"] == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_one_ctrl_c_during_a_load_does_not_wait_for_it(place):
    """The load goes on in a thread that keeps nobody; the process is gone before the load would be over."""
    (place / "in.jsonl").write_text(json.dumps(DIALOGUES[0]))
    (place / "go.py").write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from playbill.backends.engines import programmatic\n"
        "from playbill.backends.engines.threads import call_apart\n"
        "from playbill.cli import main\n"
        "def slow():\n"
        "    Path('loading').touch()\n"
        "    time.sleep(120)\n"
        "    Path('loaded').touch()\n"
        "programmatic.load = lambda entry, context: call_apart(slow)\n"
        "main(['run', 'in.jsonl', '-m', 'mock', '-o', 'out'])\n"
    )
    process = subprocess.Popen([sys.executable, "go.py"], cwd=place, stderr=subprocess.PIPE, text=True)
    while not Path(place, "loading").exists() and process.poll() is None:
        threading.Event().wait(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (place / "loaded").exists()
    assert "Traceback" not in err
    assert "interrupted before anything was recorded" in err
    assert not (place / "out").exists()
