"""Describe how a loaded model computes, for the manifest: versions, number format, devices, attention."""

from __future__ import annotations

from typing import Any

import torch

from playbill.backends.common.packages import installed_version

__all__ = ["computation_facts"]


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
    """Return how the weights are quantized; nothing where they aren't."""
    found = model.config.to_dict().get("quantization_config") or {}
    if not found:
        return {}
    method = getattr(found.get("quant_method"), "value", found.get("quant_method"))
    bits = next((bits for bits in (8, 4) if found.get(f"load_in_{bits}bit")), found.get("bits"))
    return {"quantization": {"method": method, "bits": bits}}
