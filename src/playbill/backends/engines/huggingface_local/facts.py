"""What a stranger needs to repeat the answers of a loaded model: its weights, and what computes them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.weights.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from playbill.backends.weights.cache import file_sha256

__all__ = ["computation_facts", "weights_facts"]

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def computation_facts(model: Any, threads: int | None) -> dict[str, Any]:
    """Versions, number format, devices and the kind of attention. Keeps no hold of the model."""
    devices = sorted({str(p.device) for p in model.parameters()})
    return {
        "transformers": version("transformers"),
        "torch": torch.__version__,
        "class": type(model).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": ", ".join(devices),
        "threads": threads if threads is not None else torch.get_num_threads(),
        "attention": getattr(model.config, "_attn_implementation", None),
        **_quantization(model),
    }


def _quantization(model: Any) -> dict[str, Any]:
    """How the weights are quantized; nothing where they aren't."""
    found = model.config.to_dict().get("quantization_config") or {}
    if not found:
        return {}
    method = getattr(found.get("quant_method"), "value", found.get("quant_method"))
    bits = next((bits for bits in (8, 4) if found.get(f"load_in_{bits}bit")), found.get("bits"))
    return {"quantization": {"method": method, "bits": bits}}


def weights_facts(entry: Mapping[str, Any], source: Source, adapter: Path | None = None) -> dict[str, Any]:
    """Which weights they are: the repository's commit, or the hashes of a folder's files."""
    facts: dict[str, Any] = {"weights": source.name}
    if source.commit is not None:
        facts["revision"] = source.commit
    else:
        patterns = (str(entry["gguf_file"]),) if entry.get("gguf_file") else _WEIGHTS
        files = {p for pattern in patterns for p in source.folder.glob(pattern)}
        config = source.folder / "config.json"
        stated = [*files, *([config] if config.is_file() else [])]
        facts["sha256"] = {p.name: file_sha256(p) for p in sorted(stated)}
    if adapter is not None:
        facts["peft_model"] = {name: file_sha256(adapter / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
    return facts
