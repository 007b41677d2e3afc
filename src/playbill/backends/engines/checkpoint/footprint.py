"""How much memory a checkpoint takes, told before any of its weights are downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbill.backends.engines.base import Context, Footprint
from playbill.backends.engines.checkpoint.conversion import bytes_loaded, said_of_conversion
from playbill.backends.engines.checkpoint.source import INDICES, SINGLE, Source, fetch, files_here
from playbill.backends.engines.machine.hardware import nvidia_cards
from playbill.backends.registry.fields.local import dtype_of
from playbill.backends.registry.fields.table import setting
from playbill.backends.weights.hub import hub_errors, hub_token, only_cached

__all__ = ["checkpoint_footprint", "footprint_here"]

_WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
_QUANTIZED = {"load_in_8bit": 1.0, "load_in_4bit": 0.5}
"""By key: bytes a parameter, without the scales."""


def checkpoint_footprint(entry: Mapping[str, Any], context: Context) -> Footprint | None:
    """Return the memory that an entry's weights, keys and values take; None where the files don't tell.

    Reads the index of the weights, or asks for the size of their one file; downloads no weights.
    """
    source = files_here(entry) or fetch(entry, context, weights=False, code=False)
    config = _object(source.folder / "config.json")
    stored = None if entry.get("gguf_file") else _stored(source) or _on_hub(entry, context, source)
    if stored is None:
        return None
    computed = _WIDTH.get(dtype_of(entry), _width(config))
    return Footprint(int(stored * _share(entry, config)), _kv_per_token(config, computed))


def footprint_here(entry: Mapping[str, Any], context: Context) -> Footprint | None:
    """Return what `checkpoint_footprint` does, as transformers loads the weights on this machine's cards or without
    any: weights in a format that can't be computed here are larger then."""
    found = checkpoint_footprint(entry, context)
    if found is None:
        return None
    config = _object((files_here(entry) or fetch(entry, context, weights=False, code=False)).folder / "config.json")
    cards = () if setting(entry, "device_map") == "cpu" else nvidia_cards(visible=True)
    capability = min((card.compute_capability for card in cards), default=None)
    stored = config.get("quantization_config")
    method = str(stored.get("quant_method")) if isinstance(stored, dict) else None
    size = bytes_loaded(found.weights, method, capability)
    return Footprint(size, found.kv_per_token, said_of_conversion(entry, config, capability))


def weights_size(entry: Mapping[str, Any], source: Source) -> int | None:
    """Return the bytes that weights take once they are loaded; None where the files, which are here, don't tell."""
    stored = None if entry.get("gguf_file") else _stored(source)
    return None if stored is None else int(stored * _share(entry, _object(source.folder / "config.json")))


def _share(entry: Mapping[str, Any], config: Mapping[str, Any]) -> float:
    """Return the bytes in memory for each byte that is stored."""
    width = _width(config)
    share = 1.0 if config.get("quantization_config") else _WIDTH.get(dtype_of(entry), width) / width
    for key, size in _QUANTIZED.items():
        share = size / width if entry.get(key) else share
    return share


def _width(config: Mapping[str, Any]) -> int:
    nested = config.get("text_config")
    places = (config, nested if isinstance(nested, dict) else {})
    stated = [place.get(key) for place in places for key in ("dtype", "torch_dtype")]
    return next((_WIDTH[name] for name in stated if isinstance(name, str) and name in _WIDTH), 2)


def _stored(source: Source) -> int | None:
    """Return the bytes of the weights as they are stored."""
    for index in INDICES:
        metadata = _object(source.folder / index).get("metadata")
        total = metadata.get("total_size") if isinstance(metadata, dict) else None
        if isinstance(total, (int, float)) and not isinstance(total, bool) and 0 < total < 1 << 60:
            return int(total)
    for name in SINGLE:
        if (source.folder / name).is_file():
            return (source.folder / name).stat().st_size
    return None


def _on_hub(entry: Mapping[str, Any], context: Context, source: Source) -> int | None:
    """Ask for the size of the weights' one file."""
    commit = source.commit
    if commit is None:
        return None
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    repo, token = str(entry["huggingface_id"]), hub_token(entry, context.credentials)
    with hub_errors(repo, revision=commit, token=token):
        if only_cached():
            return None
        for name in SINGLE:
            try:
                return get_hf_file_metadata(hf_hub_url(repo, name, revision=commit), token=token).size
            except errors.EntryNotFoundError:
                continue
    return None


def _kv_per_token(config: Mapping[str, Any], width: int) -> int | None:
    """Return the bytes of keys and values for one token of context, as attention over heads keeps them; None for
    configurations that say too little."""
    nested = config.get("text_config")
    text = {**config, **nested} if isinstance(nested, dict) else config
    layers, heads, hidden = (_count(text, key) for key in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    if not layers or not heads:
        return None
    head = _count(text, "head_dim") or hidden // heads
    return 2 * layers * (_count(text, "num_key_value_heads") or heads) * head * width or None


def _count(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and value > 0 else 0


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
