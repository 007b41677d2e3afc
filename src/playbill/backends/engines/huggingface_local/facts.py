"""Describe how a loaded model computes, for the manifest: versions, number format, devices, attention."""

from __future__ import annotations

from typing import Any

import torch

from playbill.backends.common.packages import installed_version
from playbill.backends.common.warn import warn_once

__all__ = ["computation_facts"]

_4BIT = ("bnb_4bit_quant_type", "bnb_4bit_compute_dtype")


def computation_facts(model: Any, threads: int | None) -> dict[str, Any]:
    """Versions, number format, devices and the kind of attention. Keeps no hold of the model."""
    devices = sorted({str(p.device) for p in model.parameters()})
    return {
        "transformers": installed_version("transformers"),
        "torch": torch.__version__,
        "class": type(model).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": ", ".join(devices),
        "threads": threads if threads is not None else torch.get_num_threads(),
        "attention": getattr(model.config, "_attn_implementation", None),
        **_quantization(model),
    }


def _quantization(model: Any) -> dict[str, Any]:
    """Return how the weights are quantized; nothing where they aren't, and that they no longer are where transformers
    made plain numbers of them, which it does where a card or a package can't compute them."""
    own = getattr(getattr(model, "hf_quantizer", None), "quantization_config", None)
    plain = own.to_dict() if own is not None and getattr(own, "dequantize", False) else {}
    found: dict[str, Any] = plain or model.config.to_dict().get("quantization_config") or {}
    method = getattr(found.get("quant_method"), "value", found.get("quant_method"))
    if not found or (plain and method == "gguf"):  # which the entry asks for
        return {}
    bits = next((bits for bits in (8, 4) if found.get(f"load_in_{bits}bit")), found.get("bits"))
    if plain:
        warn_once(
            f"{type(model).__name__}: the weights are stored as {method} and computed as {model.dtype}, since they "
            "can't be computed as they are here: two to four times the memory, and other last bits"
        )
        return {"quantization": {"method": method, "bits": bits, "dequantized": True}}
    kinds = {key: str(found[key]) for key in _4BIT if bits == 4 and key in found}
    return {"quantization": {"method": method, "bits": bits, **kinds}}
