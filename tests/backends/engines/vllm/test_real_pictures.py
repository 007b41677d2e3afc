"""Real vLLM with pictures: the same ids and greedy answers as huggingface_local, for the same weights.

PLAYBILL_TEST_VLLM_PYTHON names the Python of an environment that has vLLM, Playbill's dependencies, Pillow and
torchvision; the one that the other tests make has no torchvision, so this is skipped there.
"""

from __future__ import annotations

import json
import os
import subprocess

import pytest

pytest.importorskip("PIL", reason="needs the extra `vision`")
pytest.importorskip("torchvision", reason="needs the extra `vision`")

from safetensors.torch import load_file, save_file

from playbill.backends import load_model
from support.assets import ROOT
from support.vision.checkpoint import entry_of, save_tiny
from support.vision.shapes import SHAPES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
WIDE = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
"""vLLM's CPU attention takes heads of 32 and more."""
MEND = """
from playbill.backends.engines.checkpoint.vision.torchvision import mend_torchvision
mend_torchvision()
"""


@pytest.fixture
def checkpoint(tmp_path):
    """A LLaVA whose tensors have the names of published checkpoints, which vLLM expects."""
    folder = save_tiny("llava", tmp_path / "llava", **WIDE)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    named = {
        name if "vision_model" in name else name.replace("vision_tower.", "vision_tower.vision_model."): tensor
        for name, tensor in tensors.items()
    }
    save_file(named, path, metadata={"format": "pt"})
    return folder


def test_ids_and_answers_are_those_of_huggingface_local(checkpoint, tmp_path):
    """Twelve conversations at once, each with its pictures; vLLM's own expansion is held to the processor's."""
    python = os.environ.get("PLAYBILL_TEST_VLLM_PYTHON")
    if python is None:
        pytest.skip("PLAYBILL_TEST_VLLM_PYTHON names no environment with vLLM and torchvision")
    (tmp_path / "sitecustomize.py").write_text(MEND)  # vLLM looks at models in a process of its own
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    command = [python, str(ROOT / "tests" / "support" / "vllm_pictures.py"), str(checkpoint)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    with load_model(entry_of(checkpoint), max_tokens=8, dtype="float32") as model:
        for name, messages in SHAPES.items():
            made = model.generate(messages)
            assert found[name]["error"] is None, name
            assert tuple(found[name]["prompt_ids"]) == made.prompt_ids, name
            assert tuple(found[name]["ids"]) == made.output_ids, name
