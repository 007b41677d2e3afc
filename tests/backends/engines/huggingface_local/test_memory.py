"""A model that can't be loaded leaves no weights behind, whatever library its error came through."""

from __future__ import annotations

import gc
import json
import shutil

import pytest

pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from playbill.runs import Silent, run  # noqa: E402 - after what it needs is known to be here
from support.smollm2 import tiny_folder  # noqa: E402


class Weighing(Silent):
    """Notes at each load how many large tensors are alive."""

    def __init__(self) -> None:
        self.alive: list[int] = []

    def loading(self, label: str) -> None:
        import torch

        gc.collect()
        objects = (thing for thing in gc.get_objects() if isinstance(thing, torch.nn.Parameter))
        self.alive.append(sum(thing.numel() > 100_000 for thing in objects))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", ["missing tensor", "out of memory"])
def test_the_weights_of_a_failed_model_are_gone_before_the_next_loads(fault, tmp_path, monkeypatch):
    """A tensor is missing, or memory runs out behind the weights: the next two models find all the room."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny_folder(), broken)
    if fault == "missing tensor":
        tensors = safetensors.load_file(broken / "model.safetensors")
        tensors.pop(next(name for name in sorted(tensors) if "mlp" in name))
        safetensors.save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    else:
        import playbill.backends.engines.huggingface_local.batching.selftest as selftest

        real = selftest.choose_decoder

        def choose(entry, model, threads):
            if entry["model_name"] == "broken":
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return real(entry, model, threads)

        monkeypatch.setattr(selftest, "choose_decoder", choose)
    entry = {"backend": "huggingface_local", "premade_chat_template": True, "eos_to_cull": "<|im_end|>"}
    models = [
        {"model_name": name, "huggingface_id": str(folder), "max_tokens": 2, **entry}
        for name, folder in (("broken", broken), ("good", tiny_folder()), ("good2", tiny_folder()))
    ]
    observer = Weighing()
    result = run([{"id": "a", "turns": ["Hi"]}], models, out=tmp_path / "out", observer=observer)
    assert observer.alive == [observer.alive[0]] * 3
    assert result.models["broken"].problem
    assert result.models["good2"].outcomes
    assert "problem" not in json.loads((tmp_path / "out" / "manifest.json").read_text())["models"]["good"]
