"""Where weights go on machines that aren't here: one card where they fit, quantized ones where the entry says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from playbill.backends import WeightsError
from playbill.backends.engines.huggingface_local.placement import Placement, place

pytest.importorskip("accelerate")
GIB = 1 << 30
EIGHT = (70 * GIB, *[79 * GIB] * 7)


def placed(wish: Any, *, size: int | None = 16 * GIB, cards: Any = EIGHT, quantized: bool = False) -> Placement:
    return place({"model_name": "m"}, wish, size=size, cards=cards, elsewhere="cpu", quantized=quantized)


@pytest.mark.parametrize(
    ("size", "cards", "device_map"),
    [
        (16 * GIB, EIGHT, {"": "cuda:1"}),
        (2 * GIB, (3 * GIB,), {"": "cuda:0"}),
        (70 * GIB, EIGHT, "auto"),
        (140 * GIB, EIGHT, "auto"),
        (None, EIGHT, "auto"),
    ],
)
def test_a_model_goes_to_the_one_card_with_the_most_memory_where_it_fits(size, cards, device_map):
    """Whole, with room for keys and values; else, or where its size isn't known, over all cards."""
    assert placed("auto", size=size, cards=cards) == placed(None, size=size, cards=cards) == Placement(device_map)


def test_without_a_card_nothing_is_mapped():
    """Weights are loaded into the computer's memory and stay there, or go to where torch computes."""
    assert placed("auto", cards=()) == Placement(move_to="cpu")
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


def test_weights_that_were_dequantized_are_recorded_and_said(caplog):
    """As transformers does with fp8 and mxfp4 where the card or a package can't compute them."""
    torch = pytest.importorskip("torch")
    from transformers import FineGrainedFP8Config

    from playbill.backends.engines.huggingface_local.facts import computation_facts
    from support.tiny_models import tiny_model

    model = tiny_model("llama").to(torch.bfloat16)
    model.hf_quantizer = SimpleNamespace(quantization_config=FineGrainedFP8Config(dequantize=True))
    assert computation_facts(model, 1)["quantization"] == {"method": "fp8", "bits": None, "dequantized": True}
    assert "the weights are stored as fp8 and computed as torch.bfloat16" in caplog.text


def test_four_bits_are_nf4_and_computed_in_bfloat16():
    """What the field means by it, unless the entry says otherwise; the library's own defaults are others."""
    pytest.importorskip("torch")
    from playbill.backends.engines.huggingface_local.weights import _quantized

    def kinds(**keys: Any) -> tuple[str, str]:
        made = _quantized({"model_name": "m", "load_in_4bit": True, **keys})["quantization_config"]
        return made.bnb_4bit_quant_type, str(made.bnb_4bit_compute_dtype)

    assert kinds() == ("nf4", "torch.bfloat16")
    assert kinds(bnb_4bit_quant_type="fp4", bnb_4bit_compute_dtype="float16") == ("fp4", "torch.float16")
