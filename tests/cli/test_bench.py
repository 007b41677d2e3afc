"""`playbill bench`: what computes, how fast, and beside other ways; a table, and a JSON to keep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from playbill.backends import ModelSpec
from playbill.bench.device import describe_machine
from playbill.bench.measure import Completed, Rate, Work, measure
from playbill.bench.report import describe_load, describe_machine_line, missed, table
from playbill.bench.ways import Job
from playbill.bench.worker import measure_way
from playbill.cli import main
from support.smollm2 import GGUF, gguf_folder, tiny_folder

pytest.importorskip("torch")
SMALL = ("--rows", "1,3,33", "--prompt", "9", "--tokens", "2", "--repeats", "1")


def entry(**keys):
    return {
        "model_name": "tiny",
        "backend": "huggingface_local",
        "huggingface_id": str(tiny_folder()),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "threads": 1,
        **keys,
    }


def job(way, *rows, clem_python=None, **keys):
    spec = ModelSpec.from_dict(entry(**keys))
    return Job(way, spec, Work(rows, prompt=9, tokens=2, repeats=1), clem_python=clem_python)


@pytest.fixture
def playbill(tmp_path, monkeypatch, capfd):
    """Run a command beside a registry that has the tiny model: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    other = {"model_name": "scripted", "backend": "programmatic", "answers": ["yes"]}
    (tmp_path / "model_registry.json").write_text(json.dumps([entry(), other]))

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([*args, "--registry", "model_registry.json"])
        out, err = capfd.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


def test_bench_measures_a_model_in_a_process_of_its_own(playbill, tmp_path):
    """What computes and the self-test's result are printed, a table, and what can't run here with what to install;
    more requests than the entry computes together are measured with a larger batch_size."""
    code, out, err = playbill("bench", "tiny", *SMALL, "--against", "vllm", "--json", "kept.json")
    assert code == 0
    assert "device: " in out
    assert "self-test: passed" in out
    assert [line.split()[:2] for line in out.splitlines()[-3:]] == [
        ["1", "playbill"],
        ["3", "playbill"],
        ["33", "playbill"],
    ]
    assert "vllm: not measured: the backend vllm needs vllm" in err
    assert "install with: pip install" in err
    kept = json.loads((tmp_path / "kept.json").read_text())
    own, vllm = kept["ways"]
    assert [[rate["rows"] for rate in load["rates"]] for load in own["loads"]] == [[1, 3], [33]]
    assert [(load["batch_size"], load["concurrency"]) for load in own["loads"]] == [(None, 32), (33, 33)]
    assert all(rate["new_tokens"] == rate["asked_tokens"] == 3 * rate["rows"] for rate in own["loads"][0]["rates"])
    assert own["loads"][0]["facts"]["batching"]["company_independent"] is True
    assert own["loads"][0]["memory"]["computer"] > 1 << 20
    assert (vllm["loads"], vllm["left"]) == ([], [1, 3, 33])
    assert kept["command"][0] == "playbill"
    assert kept["machine"]["packages"]["torch"]


@pytest.mark.parametrize("way", ["generate", "fast", pytest.param("generate_batch", marks=pytest.mark.slow)])
def test_other_ways_answer_the_same_work(way):
    """As many tokens of as many prompts, whatever runs the model."""
    found = measure_way(job(way, 2, 3))
    assert (found["error"], found["left"]) == (None, [])
    (load,) = found["loads"]
    assert [(rate["rows"], rate["together"], rate["new_tokens"]) for rate in load["rates"]] == [(2, 2, 6), (3, 3, 9)]
    assert load["facts"]["class"] == "LlamaForCausalLM"


def test_what_is_computed_one_at_a_time_is_not_measured_together():
    """Nor with a larger batch_size, where the entry says otherwise."""
    found = measure_way(job("playbill", 1, 2, batching="single"))
    assert [rate["rows"] for rate in found["loads"][0]["rates"]] == [1]
    assert list(missed([found])) == ["playbill: not measured with 2 requests; it computes one at a time"]
    limited = measure_way(job("playbill", 2, 4, batch_size=2))
    assert limited["left"] == [4]


@pytest.mark.slow
def test_a_gguf_file_is_measured():
    """By the same interface; its slots are as many as the requests need, and its context as long."""
    pytest.importorskip("xllamacpp")
    spec = {"huggingface_id": str(gguf_folder()), "filename": GGUF, "backend": "llamacpp"}
    found = measure_way(job("playbill", 1, 9, **spec))
    assert (found["error"], found["left"]) == (None, [])
    assert [rate["rows"] for load in found["loads"] for rate in load["rates"]] == [1, 9]
    assert {load["facts"]["n_ctx"] for load in found["loads"]} == {256}
    assert "checkpoints of transformers, and tiny is a GGUF file" in measure_way(job("generate", 2, **spec))["error"]


@pytest.mark.skipif(os.name == "nt", reason="its programs aren't scripts")
def test_clemcore_answers_in_its_own_environment(tmp_path):
    """Asked by lines of JSON; an environment without its HuggingFace backend is said, with what to type."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    found = measure_way(job("clemcore", 2, clem_python=bare))
    assert found["error"] == (
        f'clemcore\'s environment has no torch; install with: {bare} -m pip install "clemcore[huggingface]"'
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("tiny", "--rows", "0"), "--rows 0: say numbers of requests"),
        (
            ("tiny", "--against", "nothing"),
            "--against nothing: there is no such way; known are generate, generate_batch",
        ),
        (("scripted",), "scripted runs elsewhere; bench measures models that run here"),
    ],
)
def test_what_cannot_be_measured_is_said(playbill, args, words):
    """Before anything is loaded."""
    code, _, err = playbill("bench", *args)
    assert code == 2
    assert words in err


def test_a_model_that_cannot_be_loaded_is_no_success(playbill, tmp_path):
    """The reason is said once, and kept."""
    code, out, err = playbill("bench", "tiny", "-p", f"huggingface_id={tmp_path}/nowhere", "--json", "kept.json")
    assert code == 2
    assert (
        err.strip()
        == f"playbill: not measured: tiny: there is no folder {tmp_path}/nowhere; huggingface_id says there is"
    )
    assert "there is no folder" in json.loads((tmp_path / "kept.json").read_text())["ways"][0]["error"]
    assert "REQUESTS" not in out


class Clock:
    """Completes nothing, and takes a second a prompt token and ten a step."""

    def __init__(self, ends_early=0):
        self.now, self.early = 0.0, ends_early

    def measured(self, work, **options):
        return measure(self, 4, work, clock=lambda: self.now, **options)

    def __call__(self, prompts, new):
        sent = sum(map(len, prompts))
        self.now += sent + 10 * new
        return Completed(sent, len(prompts) * new - (self.early if new > 3 else 0))


def test_steps_are_told_from_prompts():
    """What a step takes is the difference of two measurements; a second wave of requests has steps of its own."""
    work = Work((4,), prompt=5, tokens=8, repeats=2)
    rate = Clock().measured(work)
    assert (rate.step_ms, rate.rate) == (10_000, 4 * 8 / 80)
    assert rate.prompt_rate == 20 / 30
    assert (rate.prompt_seconds, rate.total_seconds) == ((30, 30), (110, 110))
    assert (rate.new_tokens, rate.asked_tokens) == (72, 72)
    assert Clock().measured(work, together=2).step_ms == 5_000


def test_a_model_that_ends_early_is_counted_by_what_came():
    """And one that hardly answers isn't measured."""
    work = Work((4,), prompt=5, tokens=8, repeats=2)
    rate = Clock(ends_early=8).measured(work)
    assert (rate.rate, rate.new_tokens, rate.asked_tokens) == (4 * 6 / 80, 56, 72)
    with pytest.raises(Exception, match="72 tokens were asked for, and 20 came"):
        Clock(ends_early=26).measured(work)


def found(rows, rate, **keys):
    return {
        **dict.fromkeys(Rate.__slots__),
        **{"rows": rows, "together": rows, "rate": rate, "step_ms": None if rate is None else 1000 * rows / rate},
        **{"prompt_rate": 1.0, "new_tokens": 1, "asked_tokens": 1, **keys},
    }


def way(name, *rates, **load):
    memory = {"computer": 3 << 30}
    loads = [{"rates": rates, "memory": memory, "cards_taken": [], "seconds": 1.0, "facts": {}, **load}]
    return {"way": name, "loads": loads, "left": [], "error": None}


def test_the_table_sets_ways_beside_each_other():
    """By the number of requests; memory is that of the GPUs where there are any."""
    own = way("playbill", found(1, 10.0), found(64, None), memory={"computer": 1 << 30, "cuda:0": 5 << 30})
    other = way("generate", found(1, 25.0, new_tokens=0), found(64, 7.0, together=32))
    assert table([own, other]) == [
        ("1", "playbill", "100.0", "10.0", "1.00", "1", "5.0 GiB", "1.0"),
        ("1", "generate", "40.0", "25.0*", "2.50", "1", "3.0 GiB", "1.0"),
        ("64", "playbill", "-", "-", "-", "1", "5.0 GiB", "1.0"),
        ("64 (32 at once)", "generate", "9,142.9", "7.0", "-", "1", "3.0 GiB", "1.0"),
    ]
    assert [line[:2] for line in missed([own, other])] == ["-:", "*:"]


@pytest.mark.parametrize(
    ("batching", "said"),
    [
        ({"kind": "exact", "company_independent": True}, "passed: answers don't depend"),
        ({"kind": "exact", "company_independent": False, "differs": "layer 3"}, "failed: answers may depend on their"),
        ({"kind": "fast"}, "not made with 'fast', which promises nothing"),
        ({"kind": "single", "company_independent": True}, "not needed, since requests are answered one at a time"),
    ],
)
def test_the_self_test_is_told_in_words(batching, said):
    lines = list(describe_load({"facts": {"dtype": "bfloat16", "batching": batching}}))
    assert lines[0] == "dtype: bfloat16"
    assert f"self-test: {said}" in lines[-1]


@pytest.mark.skipif(os.name == "nt", reason="its programs aren't scripts")
def test_cards_are_told_by_the_drivers_own_tool(tmp_path, monkeypatch):
    """Name, memory and driver; without it the processor is told."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_machine()["cards"] == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-8f1c, NVIDIA H100 80GB HBM3, 570.86.15, 81559, 81000, 9.0'\n")
    tool.chmod(0o755)
    machine = describe_machine()
    assert machine["cards"][0]["capability"] == "9.0"
    assert describe_machine_line(machine) == "device: NVIDIA H100 80GB HBM3 (79.6 GiB, driver 570.86.15)"
    assert "no GPU" in describe_machine_line({**machine, "cards": []})


def test_what_runs_beside_clemcore_knows_the_standard_library_only():
    """Its environment has no Playbill."""
    file = Path(sys.modules["playbill.bench.ways"].__file__).parent / "side" / "clemcore_batch.py"
    asked = {"input": '{"spec": {}}\n', "text": True, "capture_output": True, "check": True}
    done = subprocess.run([sys.executable, "-I", "-S", str(file)], **asked)
    assert json.loads(done.stdout) == {"missing": "torch"}
