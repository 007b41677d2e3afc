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
from support.nvidia import show_cards
from support.smollm2 import tiny_folder

ENTRY = {"model_name": "m", "backend": "huggingface_local", "premade_chat_template": True, "eos_to_cull": "<|im_end|>"}
INDEX = "model.safetensors.index.json"
FP8, MXFP4, AWQ = ({"quantization_config": {"quant_method": method}} for method in ("fp8", "mxfp4", "awq"))


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


@pytest.mark.parametrize(
    ("config", "keys", "capability", "said"),
    [
        (
            {"quantization_config": {"quant_method": "fp8"}},
            {},
            "8.0",
            "stored as fp8, which a card of compute capability 8.0 can't",
        ),
        ({"quantization_config": {"quant_method": "fp8"}}, {}, None, "which a machine without a card can't compute"),
        ({"quantization_config": {"quant_method": "fp8"}}, {}, "9.0", None),
        ({"quantization_config": {"quant_method": "mxfp4"}}, {}, "7.0", "bfloat16 of them, 4 times as large"),
        ({"quantization_config": {"quant_method": "awq"}}, {}, "8.0", None),
        ({}, {"dtype": "float16"}, "8.0", "the entry asks for float16, whose largest number is 65,504"),
        ({"dtype": "float32"}, {"dtype": "float16"}, "8.0", None),
        ({}, {}, "7.5", "bfloat16 is asked for, which a card of compute capability 7.5 only emulates"),
        ({}, {"dtype": "float32"}, "7.5", None),
        ({}, {}, None, None),
    ],
)
def test_numbers_that_are_converted_on_load_are_said_before(
    folder, tmp_path, monkeypatch, config, keys, capability, said
):
    """By the cards that this process may use; the format decides how much memory is needed, too."""
    show_cards(monkeypatch, tmp_path, [] if capability is None else [(80 << 30, capability)])
    place = folder(1_000_000, **config)
    verdict = check_model({**ENTRY, "huggingface_id": str(place), **keys}, ModelRegistry.load(), Options(fetch=False))
    found = [f.message for f in verdict.findings if f.code == "PB242"]
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
    if "quantization_config" in config:
        factors = {"fp8": 2, "mxfp4": 4}
        larger = factors[config["quantization_config"]["quant_method"]] if said else 1
        assert measured(place, **keys).weights == 1_000_000 * larger


@pytest.mark.parametrize(("keys", "wanted"), [({}, 32), ({"batch_size": 8}, 8), ({"batching": "single"}, None)])
def test_a_batch_that_has_no_room_is_said_before(folder, tmp_path, monkeypatch, keys, wanted):
    """Keys and values of as many dialogues as are computed together, beside the weights."""
    config = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
    place = folder(16_000_000_000, **config, head_dim=128)
    dialogue = 2 * 32 * 8 * 128 * 2 * 2048
    show_cards(monkeypatch, tmp_path, [(16_000_000_000 + 5 * dialogue + (1 << 20), "9.0")])
    verdict = check_model({**ENTRY, "huggingface_id": str(place), **keys}, ModelRegistry.load(), Options(fetch=False))
    found = [f.message for f in verdict.findings if f.code == "PB241"]
    said = f"there is room for 5 dialogues of 2048 tokens at once, of the {wanted} that are computed together"
    assert found == ([f"beside the weights {said}"] if wanted else [])
