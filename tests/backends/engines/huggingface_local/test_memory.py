"""A model that can't be loaded leaves no weights behind, whatever library its error came through."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from support.smollm2 import tiny_folder  # noqa: E402 - after what it needs is known to be here

PROGRAM = """
import gc, json, sys
import torch
from playbill.backends.engines.huggingface_local.batching import choice
from playbill.runs import Silent, run

folders, fault, out = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
real = choice.choose_decoder

def choose(entry, model, threads):
    if fault == "memory" and entry["model_name"] == "broken":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return real(entry, model, threads)

class Weighing(Silent):
    def loading(self, label):
        gc.collect()
        alive = (thing for thing in gc.get_objects() if isinstance(thing, torch.nn.Parameter))
        print(label, sum(thing.numel() > 100_000 for thing in alive))

choice.choose_decoder = choose
entry = {"backend": "huggingface_local", "premade_chat_template": True, "eos_to_cull": "<|im_end|>", "max_tokens": 2}
models = [{"model_name": name, "huggingface_id": folder, **entry} for name, folder in folders.items()]
result = run([{"id": "a", "turns": ["Hi"]}], models, out=out, observer=Weighing())
print(json.dumps({label: [summary.problem, summary.records] for label, summary in result.models.items()}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["tensor", "memory"])
def test_the_weights_of_a_failed_model_are_gone_before_the_next_loads(fault, tmp_path):
    """A tensor is missing, or memory runs out behind the weights: the next two models find all the room."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny_folder(), broken)
    if fault == "tensor":
        tensors = safetensors.load_file(broken / "model.safetensors")
        tensors.pop(next(name for name in sorted(tensors) if "mlp" in name))
        safetensors.save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    good = str(tiny_folder())
    folders = json.dumps({"broken": str(broken), "good": good, "good2": good})
    command = [sys.executable, "-c", PROGRAM, folders, fault, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    *alive, summaries = done.stdout.splitlines()
    assert alive == ["broken 0", "good 0", "good2 0"], done.stderr
    found = json.loads(summaries)
    assert found["broken"][0]
    assert found["good"] == found["good2"] == [None, 1]
