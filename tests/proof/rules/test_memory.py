"""Whether a model fits into this machine, told before its weights are there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from playbill.backends.engines.base import Footprint
from playbill.backends.loading import find_spec, measure_model
from playbill.backends.registry.lookup import ModelRegistry
from playbill.proof.check import Options, check_model
from support.smollm2 import tiny_folder

ENTRY = {"model_name": "m", "backend": "huggingface_local", "premade_chat_template": True, "eos_to_cull": "<|im_end|>"}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    """A model's folder without its weights, and with an index that says how large they are."""
    found = Path(shutil.copytree(tiny_folder(), tmp_path / "model"))
    (found / "model.safetensors").unlink()

    def sized(total: object, **config: object) -> Path:
        (found / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": {}}))
        content = json.loads((tiny_folder() / "config.json").read_text())
        (found / "config.json").write_text(json.dumps({**content, "dtype": "bfloat16", **config}))
        return found

    return sized


def measured(folder: Path, **keys: object) -> Footprint | None:
    return measure_model(find_spec({**ENTRY, "huggingface_id": str(folder), **keys}))


def test_the_memory_of_a_checkpoint_follows_the_format_that_it_is_computed_in(folder):
    """Bytes of the index, by the entry's number format; keys and values by layers, heads and their width."""
    config = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
    place = folder(16_000_000_000, **config, head_dim=128)
    assert measured(place) == Footprint(16_000_000_000, 2 * 32 * 8 * 128 * 2)
    assert measured(place, dtype="float32") == Footprint(32_000_000_000, 2 * 32 * 8 * 128 * 4)
    assert measured(place, load_in_4bit=True).weights == 4_000_000_000
    folder(16_000_000_000, quantization_config={"quant_method": "awq"})
    assert measured(place, dtype="float32").weights == 16_000_000_000


def test_the_text_model_of_a_nested_configuration_counts(folder):
    outer = dict.fromkeys(
        ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "head_dim")
    )
    nested = {"text_config": {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}}
    assert measured(folder(1_000, **outer, **nested)) == Footprint(1_000, 2 * 2 * 4 * 16 * 2)
    assert measured(folder(1_000, **outer)) == Footprint(1_000, None)


def test_the_size_of_weights_in_one_file_is_the_files():
    assert measured(tiny_folder()).weights == (tiny_folder() / "model.safetensors").stat().st_size


def test_a_model_that_does_not_fit_is_said_before_its_weights_are_there(folder):
    """What fits is not mentioned; what can't be measured is no finding either."""

    def said(place: Path) -> list[str]:
        verdict = check_model({**ENTRY, "huggingface_id": str(place)}, ModelRegistry.load(), Options(fetch=False))
        return [str(f) for f in verdict.findings if f.code == "PB240"]

    (found,) = said(folder(800_000_000_000))
    assert "the weights take 745.1 GiB" in found
    assert "GiB free" in found
    assert [said(folder(total)) for total in (1_000_000, -1, "many", True, None)] == [[]] * 5
