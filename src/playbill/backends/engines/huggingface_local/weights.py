"""Load weights in the asked number format, on the asked devices, completely or not at all."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.common.words import counted
from playbill.backends.engines.checkpoint.config import own_config
from playbill.backends.engines.checkpoint.conversion import bytes_loaded
from playbill.backends.engines.checkpoint.footprint import weights_size
from playbill.backends.engines.checkpoint.model_class import auto_class
from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.engines.huggingface_local.placement import (
    Placement,
    need_accelerate,
    place,
    torch_cards,
)
from playbill.backends.errors import BackendUnavailable, EntryError, WeightsError
from playbill.backends.registry.fields.local import dtype_of
from playbill.backends.registry.fields.table import setting
from playbill.backends.weights.adapter import ADAPTER_CONFIG, adapter_config

__all__ = ["LoadedWeights", "check_adapter", "check_packages", "load_weights"]

_IN_LAYERS = ("LORA", "ADALORA", "LOHA", "LOKR", "IA3", "OFT", "BOFT", "VERA", "FOURIERFT", "HRA", "LN_TUNING")
"""Kinds of adapters that are wholly in the model's layers. Others put keys before the prompt, which transformers 5.24
takes no notice of, or choose by the prompt."""


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """A model of transformers, ready to compute. ``stored`` is how its checkpoint says that it is quantized, which the
    loaded model may no longer be."""

    model: Any
    stored: Mapping[str, Any]


def load_weights(
    entry: Mapping[str, Any], source: Source, *, trust: bool, adapter: Path | None = None
) -> LoadedWeights:
    """Return the model with its adapter. Raises WeightsError where a part of the weights is missing."""
    import transformers

    config = own_config(entry, source, trust=trust)
    stored = {} if entry.get("gguf_file") else config.to_dict().get("quantization_config") or {}
    quantization = _quantized(entry, getattr(config, "dtype", None))
    placement = _placement(entry, source, stored, quantized=bool(stored or quantization))
    options: dict[str, Any] = {
        **source.options,
        "config": config,
        "dtype": dtype_of(entry),
        "trust_remote_code": trust,
        "output_loading_info": True,
        **_gguf_options(entry),
        **quantization,
        **({"device_map": placement.device_map} if placement.device_map is not None else {}),
        **({"max_memory": dict(placement.max_memory)} if placement.max_memory else {}),
        **(entry.get("engine_args") or {}),
    }
    loader: Any = getattr(transformers, auto_class(entry, config.to_dict()))
    model, info = loader.from_pretrained(source.name, **options)
    missing = sorted(info.get("missing_keys") or ())
    if missing:
        raise WeightsError(
            f"{entry.get('model_name')}: the weights of {source.name} lack {len(missing)} of the model's tensors "
            f"({', '.join(missing[:3])} …), which would be random; the checkpoint is incomplete, or not of this model"
        )
    if unused := sorted(info.get("unexpected_keys") or ()):
        warn_once(
            f"{entry.get('model_name')}: {counted(len(unused), 'tensor')} of {source.name} can't be used by the model "
            f"that its configuration describes ({', '.join(unused[:3])} …)"
        )
    if placement.move_to is not None and not (stored or quantization):
        model.to(placement.move_to)
    return LoadedWeights(_with_adapter(entry, model, adapter).eval(), stored)


def check_packages(entry: Mapping[str, Any]) -> None:
    """Raise where an entry needs a package that isn't there, or says two things at once; before any download."""
    name = entry.get("model_name")
    bits = [key for key in ("load_in_8bit", "load_in_4bit") if entry.get(key)]
    if len(bits) == 2 or (bits and entry.get("gguf_file")):
        raise EntryError(f"{name}: {' and '.join([*bits, 'gguf_file'][:2])} exclude each other; take one out")
    for key, package in (*((bit, "bitsandbytes") for bit in bits), ("peft_model", "peft")):
        if entry.get(key) and find_spec(package) is None:
            raise BackendUnavailable(
                f"{name}: {key} needs {package}, which is not installed here; install with: pip install {package}"
            )
    if entry.get("attn_implementation") == "flash_attention_2" and not any(map(find_spec, ("flash_attn", "kernels"))):
        raise BackendUnavailable(
            f"{name}: attn_implementation is 'flash_attention_2', and the package for it is not installed here; on a "
            "GPU install with: pip install flash-attn; or take the key out, and sdpa is used"
        )


def check_adapter(entry: Mapping[str, Any], adapter: Path) -> None:
    """Raise WeightsError for an adapter of a kind that isn't applied here."""
    config = adapter_config(adapter)
    kind = str(config.get("peft_type", "LORA"))
    if kind in _IN_LAYERS and not config.get("alora_invocation_tokens"):
        return
    named = "LoRA that begins at certain tokens" if kind in _IN_LAYERS else kind
    raise WeightsError(
        f"{entry.get('model_name')}: {adapter / ADAPTER_CONFIG} is of the kind {named}, which isn't in the model's "
        f"layers alone and isn't applied here; take one of {', '.join(_IN_LAYERS)}, or merge it into the weights"
    )


def _quantized(entry: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Return the argument by which bitsandbytes quantizes on load; ``dtype`` is the checkpoint's own."""
    bits = {key: True for key in ("load_in_8bit", "load_in_4bit") if entry.get(key)}
    if not bits:
        return {}
    from transformers import BitsAndBytesConfig

    need_accelerate(entry, next(iter(bits)))
    # It says at every layer of every step that it rounds, which is what it was asked for.
    logging.getLogger("bitsandbytes.autograd").setLevel(logging.ERROR)
    kinds = _four_bits(entry, dtype) if "load_in_4bit" in bits else {}
    configuration: Any = BitsAndBytesConfig
    return {"quantization_config": configuration(**bits, **kinds)}


def _four_bits(entry: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Return the number formats of 4 bits. The library's own, fp4 and computing in float32, are not what people mean
    by it."""
    import torch

    asked = entry.get("bnb_4bit_compute_dtype") or dtype_of(entry)
    computed = getattr(torch, asked) if asked != "auto" else dtype
    return {
        "bnb_4bit_quant_type": setting(entry, "bnb_4bit_quant_type"),
        "bnb_4bit_compute_dtype": computed if isinstance(computed, torch.dtype) else torch.bfloat16,
    }


def _with_adapter(entry: Mapping[str, Any], model: Any, adapter: Path | None) -> Any:
    """Return the model with an adapter in its layers, where it stays apart: merged into weights of few bits it would be
    rounded."""
    if adapter is None:
        return model
    from peft import PeftModel

    adapted: Any = PeftModel.from_pretrained(model, str(adapter))
    return adapted.get_base_model()


def _gguf_options(entry: Mapping[str, Any]) -> dict[str, Any]:
    file = entry.get("gguf_file")
    if not file:
        return {}
    from transformers import GgufConfig

    need_accelerate(entry, "gguf_file")
    return {"gguf_file": file, "quantization_config": GgufConfig(gguf_file=file, dequantize=True)}


def _placement(entry: Mapping[str, Any], source: Source, stored: Mapping[str, Any], *, quantized: bool) -> Placement:
    import torch

    cards, size = torch_cards(torch.cuda), weights_size(entry, source)
    method = getattr(stored.get("quant_method"), "value", stored.get("quant_method"))
    return place(
        entry,
        setting(entry, "device_map"),
        size=None if size is None else bytes_loaded(size, method, cards.capability),
        cards=cards,
        elsewhere="mps" if torch.backends.mps.is_available() else "cpu",
        quantized=quantized,
    )
