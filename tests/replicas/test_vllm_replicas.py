"""Two replicas of one model under real vLLM, in its own environment: they answer as one process does, greedily."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from support.assets import ROOT
from support.on_ray import kept
from support.smollm2 import smollm2_folder
from support.vllm_environment import vllm_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000), pytest.mark.usefixtures("place")]


def answered(out, *more):
    """What a run by vLLM's Python kept, and how it ended."""
    model = {"model_name": "v", "backend": "vllm", "huggingface_id": str(smollm2_folder()), "dtype": "float32"}
    model |= {"premade_chat_template": True, "eos_to_cull": "<|im_end|>", "n_ctx": 512, "max_tokens": 6, "threads": 1}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [vllm_python(), "-m", "playbill", "run", "in.jsonl", "-m", json.dumps(model), "-o", out, "--json", *more]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_replicas_answer_as_one_process_does():
    """All turns once, the same ids, and both replicas had a part in it."""
    given = [{"id": f"d{i}", "turns": [f"What is {i} plus {i}?", "And twice that?"]} for i in range(16)]
    Path("in.jsonl").write_text("".join(json.dumps(each) + "\n" for each in given))
    for out, more in (("one", ()), ("two", ("--replicas", "2"))):
        done = answered(out, *more)
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads(done.stdout)["models"]["v"]["records"] == 32
    assert kept("two", "v") == kept("one", "v")
    replicas = json.loads(Path("two/manifest.json").read_text())["starts"][0]["replicas"]["v"]
    assert len(replicas) == 2
    assert min(each["answered"] for each in replicas) > 0


def test_exact_is_refused_on_a_cpu_by_every_replica():
    """With the reason that one process gives, once, and exit code 2."""
    Path("in.jsonl").write_text('{"id": "d", "turns": ["Hello!"]}\n')
    done = answered("exact", "--replicas", "2", "-p", "batching=exact")
    assert done.returncode == 2, done.stderr
    assert "computes on a CPU" in done.stderr
    assert done.stdout == ""
