"""Where weights go on machines that aren't here, and what is said of their number formats."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from playbill.backends import ModelSpec, WeightsError
from playbill.backends.common.findings import Severity
from playbill.backends.engines.checkpoint.conversion import bytes_loaded
from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.loading import judge_spec
from support.nvidia import show_cards
from support.smollm2 import tiny_folder
from support.tiny_models import tiny_model

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
from playbill.backends.engines.huggingface_local.facts import computation_facts, emulation  # noqa: E402
from playbill.backends.engines.huggingface_local.placement import (  # noqa: E402
    Cards,
    Placement,
    choose_cards,
    place,
    torch_cards,
)
from playbill.backends.engines.huggingface_local.weights import _quantized, load_weights  # noqa: E402

GIB = 1 << 30
EIGHT = (70 * GIB, *[79 * GIB] * 7)


def placed(
    wish: Any, *, size: int | None = 16 * GIB, free: Any = EIGHT, quantized: bool = False, **entry: Any
) -> Placement:
    cards = Cards(free, (8, 0))
    return place({"model_name": "m", **entry}, wish, size=size, cards=cards, elsewhere="cpu", quantized=quantized)


@pytest.mark.parametrize(
    ("free", "size", "cards"),
    [
        (EIGHT, 16 * GIB, (1,)),
        ((20 * GIB,), 18 * GIB, (0,)),
        (EIGHT, 71 * GIB, (1,)),
        (EIGHT, 72 * GIB, (1, 2)),
        (EIGHT, 140 * GIB, (1, 2)),
        (EIGHT, 500 * GIB, (0, 1, 2, 3, 4, 5, 6, 7)),
        (EIGHT, 900 * GIB, (0, 1, 2, 3, 4, 5, 6, 7)),
        ((2 * GIB, 80 * GIB, 3 * GIB, 80 * GIB), 100 * GIB, (1, 3)),
        (EIGHT, None, (0, 1, 2, 3, 4, 5, 6, 7)),
        ((), 16 * GIB, ()),
    ],
)
def test_the_fewest_cards_are_chosen_that_hold_the_weights(free, size, cards):
    """In nine tenths of what is free, and those with the most free memory first; all where nothing else is known."""
    assert choose_cards(free, size) == cards


def test_a_model_goes_to_one_card_where_it_fits():
    """Whole; else over the fewest that hold it, and all where its size isn't known, or max_memory says which."""
    assert placed("auto") == placed(None) == placed("auto", quantized=True) == Placement({"": "cuda:1"})
    several = placed("auto", size=140 * GIB)
    assert several.device_map == "auto"
    assert several.max_memory is not None
    assert list(several.max_memory) == [1, 2, "cpu"]
    assert placed("auto", size=900 * GIB) == placed("auto", size=None) == Placement("auto")
    assert placed("auto", size=90 * GIB, free=(80 * GIB,)) == Placement("auto")
    assert placed("auto", engine_args={"max_memory": {"0": "9GiB"}}) == Placement("auto")


def test_transformers_takes_the_room_of_the_chosen_cards():
    """accelerate plans with it: nothing goes to other cards, none to the disk."""
    from accelerate import infer_auto_device_map, init_empty_weights
    from accelerate.utils import get_balanced_memory
    from transformers import LlamaConfig, LlamaForCausalLM

    with init_empty_weights():
        model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=16, hidden_size=2048, intermediate_size=7168))
    room = placed("auto", size=4 * model.num_parameters(), free=(2 * GIB,) * 8).max_memory
    assert list(room) == [0, 1, 2, "cpu"]
    planned = infer_auto_device_map(
        model, get_balanced_memory(model, dict(room)), no_split_module_classes=["LlamaDecoderLayer"]
    )
    assert set(planned.values()) == set(room) - {"cpu"}


@pytest.mark.parametrize(
    ("method", "capability", "factor"),
    [
        (None, (8, 0), 1),
        ("awq", (8, 0), 1),
        ("fp8", (8, 9), 1),
        ("fp8", (8, 0), 2),
        ("fp8", None, 2),
        ("mxfp4", (7, 0), 4),
    ],
)
def test_weights_that_a_card_cannot_compute_are_counted_as_they_will_be(method, capability, factor):
    """transformers makes bfloat16 of them."""
    assert bytes_loaded(1000, method, capability) == 1000 * factor


@pytest.mark.skipif(os.name == "nt", reason="its programs aren't scripts")
def test_other_cards_are_not_opened_to_learn_what_is_free(tmp_path, monkeypatch):
    """By the driver's tool, in torch's order, which may be another; only a part of a card is asked itself."""
    asked, uuids = [], ["bbb", "aaa", "part"]

    def ask(card: int) -> tuple[int, int]:
        asked.append(card)
        return 7 * GIB, 80 * GIB

    cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 3,
        get_device_properties=lambda card: SimpleNamespace(uuid=uuids[card]),
        get_device_capability=lambda card: (9, card),
        mem_get_info=ask,
    )
    show_cards(monkeypatch, tmp_path, [(60 * GIB, "9.0"), (20 * GIB, "9.0")], uuids=["aaa", "bbb"])
    assert torch_cards(cuda) == Cards((20 * GIB, 60 * GIB, 7 * GIB), (9, 0))
    assert asked == [2]


def test_without_a_card_nothing_is_mapped():
    """Weights are loaded into the computer's memory and stay there, or go to where torch computes."""
    assert placed("auto", free=()) == Placement(move_to="cpu")
    assert placed("cpu") == placed({"": "cpu"}) == Placement(move_to="cpu")


@pytest.mark.parametrize("wish", ["cuda:3", 3, {"": 3}, {"": "cuda:3"}])
def test_a_named_card_is_loaded_to_straight(wish):
    """Not by way of the computer's memory; quantized weights, which can't be moved later, too."""
    assert placed(wish) == placed(wish, quantized=True) == Placement({"": "cuda:3"})
    assert placed("cpu", quantized=True) == Placement({"": "cpu"})


def test_a_distribution_is_handed_through():
    """Other words of transformers, and maps of several parts, are its own affair."""
    parts = {"model.embed_tokens": 0, "lm_head": 1}
    assert placed("balanced") == Placement("balanced")
    assert placed(parts) == Placement(parts)
    with pytest.raises(WeightsError, match="device_map 'gpu0' is no device"):
        placed("gpu0")


@pytest.fixture(scope="module")
def fp8_folder(tmp_path_factory):
    """A real checkpoint in fp8, as DeepSeek and Qwen publish them: blocks of numbers, and a scale for each."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("fp8") / "model"
    tiny_model("llama").save_pretrained(folder)
    shutil.copy(tiny_folder() / "tokenizer.json", folder)
    shutil.copy(tiny_folder() / "tokenizer_config.json", folder)
    weights = load_file(folder / "model.safetensors")
    for name in [name for name in weights if name.endswith("_proj.weight")]:
        scale = weights[name].abs().max() / 448
        weights[name.replace("weight", "weight_scale_inv")] = scale.reshape(1, 1)
        weights[name] = (weights[name] / scale).to(torch.float8_e4m3fn)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    }
    config["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def entry_of(folder: Path, **keys: Any) -> dict[str, Any]:
    return {"model_name": "m", "backend": "huggingface_local", "huggingface_id": str(folder), **keys}


@pytest.mark.parametrize("device_map", ["auto", "cpu"])
def test_weights_that_were_dequantized_are_recorded_and_said(fp8_folder, caplog, device_map):
    """A CPU has no kernels for fp8, an A100 hasn't either; transformers makes bfloat16 of it. A device may be named."""
    entry = entry_of(fp8_folder, device_map=device_map)
    loaded = load_weights(entry, Source(str(fp8_folder), fp8_folder), trust=False)
    facts = computation_facts(loaded, 1, name=f"m, {device_map}")
    assert facts["quantization"] == {"method": "fp8", "bits": 8, "dequantized": "bfloat16"}
    assert (facts["device"], facts["dtype"]) == ("cpu", "bfloat16")
    assert f"m, {device_map}: the weights are stored as fp8, which can't be computed here" in caplog.text


def test_what_is_not_quantized_has_no_such_fact(caplog):
    loaded = load_weights(entry_of(tiny_folder()), Source(str(tiny_folder()), tiny_folder()), trust=False)
    assert {"quantization", "bfloat16"} & computation_facts(loaded, 1, name="m").keys() == set()
    assert caplog.text == ""


def test_bfloat16_that_a_card_only_emulates_is_recorded_and_said(caplog):
    """As a V100 or a T4 does."""
    assert emulation("m", torch.float16, native=False) == emulation("m", torch.bfloat16, native=True) == {}
    assert emulation("m", torch.bfloat16, native=False) == {"bfloat16": "emulated"}
    assert 'm: this GPU has no bfloat16 of its own and emulates it, which is slow; "dtype": "float16"' in caplog.text


@pytest.mark.parametrize(
    ("keys", "dtype", "kinds"),
    [
        ({}, "bfloat16", ("nf4", "bfloat16")),
        ({}, "float16", ("nf4", "float16")),
        ({}, None, ("nf4", "bfloat16")),
        ({"dtype": "float32"}, "bfloat16", ("nf4", "float32")),
        ({"use_bf16": True}, "float16", ("nf4", "bfloat16")),
        ({"bnb_4bit_quant_type": "fp4", "bnb_4bit_compute_dtype": "float16"}, "bfloat16", ("fp4", "float16")),
    ],
)
def test_four_bits_are_nf4_computed_in_the_models_own_format(keys, dtype, kinds):
    """Unless the entry says otherwise; the library's own defaults are fp4 and float32."""
    own = getattr(torch, dtype) if dtype else None
    made = _quantized({"model_name": "m", "load_in_4bit": True, **keys}, own)["quantization_config"]
    assert (made.bnb_4bit_quant_type, str(made.bnb_4bit_compute_dtype).removeprefix("torch.")) == kinds


@pytest.mark.parametrize("key", ["bnb_4bit_quant_type", "bnb_4bit_compute_dtype"])
def test_the_keys_of_four_bits_are_checked(key):
    """They are keys of an entry, no longer refused as another layer's."""
    spec = ModelSpec.from_dict({**entry_of(tiny_folder()), "premade_chat_template": True, "eos_to_cull": "x"})
    good, bad = (judge_spec(spec.override({key: value})) for value in ("float16" if "dtype" in key else "fp4", "int3"))
    assert [str(f) for f in good if f.severity is Severity.ERROR] == []
    assert [f.severity for f in bad if key in str(f)] == [Severity.ERROR]
