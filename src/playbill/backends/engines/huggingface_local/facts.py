"""Describe how a loaded model computes, for the manifest: versions, number format, devices, attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from playbill.backends.common.packages import installed_version
from playbill.backends.common.warn import warn_once
from playbill.backends.engines.huggingface_local.weights import LoadedWeights

__all__ = ["computation_facts"]

_4BIT = ("bnb_4bit_quant_type", "bnb_4bit_compute_dtype")
_BITS = {"fp8": 8, "mxfp4": 4}
"""Of methods whose configuration doesn't say it."""


def computation_facts(weights: LoadedWeights, threads: int | None, *, name: str) -> dict[str, Any]:
    """Versions, number format, devices and the kind of attention. Keeps no hold of the model.

    Says once where numbers are not computed in the format that the checkpoint or the entry has them in.
    """
    model = weights.model
    devices = sorted({str(p.device) for p in model.parameters()})
    return {
        "transformers": installed_version("transformers"),
        "torch": torch.__version__,
        "class": type(model).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": ", ".join(devices),
        "threads": threads if threads is not None else torch.get_num_threads(),
        "attention": getattr(model.config, "_attn_implementation", None),
        **_quantization(weights, name),
        **emulation(name, model.dtype, native=_has_bfloat16() or not any("cuda" in each for each in devices)),
    }


def emulation(name: str, dtype: torch.dtype, *, native: bool) -> dict[str, Any]:
    """Return that a card only emulates bfloat16, and say it; nothing elsewhere."""
    if dtype != torch.bfloat16 or native:
        return {}
    warn_once(
        f'{name}: this GPU has no bfloat16 of its own and emulates it, which is slow; "dtype": "float16" is fast '
        "there, where the model's numbers fit into it"
    )
    return {"bfloat16": "emulated"}


def _has_bfloat16() -> bool:
    return bool(torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False))


def _quantization(weights: LoadedWeights, name: str) -> dict[str, Any]:
    """Return how weights are quantized, or that they no longer are: transformers makes plain numbers of them where a
    card or a package can't compute them, and its own warning is not shown."""
    found = weights.model.config.to_dict().get("quantization_config") or {}
    if not found and weights.stored:
        method, bits = _method(weights.stored)
        dtype = str(weights.model.dtype).removeprefix("torch.")
        warn_once(
            f"{name}: the weights are stored as {method}, which can't be computed here, so transformers makes {dtype} "
            "of them: two to four times the memory, and other numbers than on a card that can"
        )
        return {"quantization": {"method": method, "bits": bits, "dequantized": dtype}}
    if not found:
        return {}
    method, bits = _method(found)
    kinds = {key: str(found[key]) for key in _4BIT if bits == 4 and key in found}
    return {"quantization": {"method": method, "bits": bits, **kinds}}


def _method(found: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the name of a quantization and its bits, as far as it says them."""
    method = getattr(found.get("quant_method"), "value", found.get("quant_method"))
    bits = next((bits for bits in (8, 4) if found.get(f"load_in_{bits}bit")), found.get("bits"))
    return method, bits if bits is not None else _BITS.get(str(method))
