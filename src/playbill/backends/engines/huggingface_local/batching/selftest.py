"""Choose a model's decoder by a self-test on load: rows together where that proves right, else one at a time."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from playbill.backends.common.warn import warn_once
from playbill.backends.engines.base import Request
from playbill.backends.engines.huggingface_local.batching.batch_invariant import RowWise
from playbill.backends.engines.huggingface_local.batching.kv_cache import KVCache
from playbill.backends.engines.huggingface_local.batching.packed_attention import ATTENTION, Piece, forward, register
from playbill.backends.engines.huggingface_local.batching.rows import BatchDecoder
from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads
from playbill.backends.engines.huggingface_local.decoder import Decoder, SingleDecoder
from playbill.backends.engines.huggingface_local.sequence import SampledSequence
from playbill.backends.errors import WeightsError
from playbill.backends.registry.fields.local import batch_limit
from playbill.backends.registry.fields.table import setting

__all__ = ["choose_decoder"]

_MOST_ROWS = 32
_KEPT_SHARE = 0.25
_PROBE = 11
_LENGTH_DEPENDENT = ("dynamic", "longrope", "su")
_MEMORY = Path("/proc/meminfo")


@torch.inference_mode()
def choose_decoder(entry: Mapping[str, Any], model: Any, threads: int | None) -> Decoder:
    """Return the decoder that an entry asks for, with so many threads on a CPU.

    A model that can't be batched is warned of, and answers one at a time. Raises WeightsError where it can't even that.
    """
    if (size := batch_limit(entry)) == 1:
        return _single(entry, model)
    if why := _asks_otherwise(entry) or _cannot(model) or _is_wrong(model):
        warn_once(f"{entry.get('model_name')}: requests are answered one at a time, since {why}")
        return _single(entry, model)
    row_threads = RowThreads(threads)
    rowwise = RowWise(model, row_threads) if setting(entry, "batching") == "exact" else None
    rows = size or _MOST_ROWS
    return BatchDecoder(model, most_rows=rows, rowwise=rowwise, row_threads=row_threads, budget=_budget(model.device))


def _single(entry: Mapping[str, Any], model: Any) -> Decoder:
    """Return the decoder for one row at a time, after a prompt of three tokens and one more were computed with it."""
    decoder = SingleDecoder(model)
    row = SampledSequence(Request(messages=(), params={"max_tokens": 1}, prompt_ids=(1, 2, 3)), None, str)
    try:
        for token in (1, 2):
            decoder.advance([row])
            row.ids.append(token)
    except torch.OutOfMemoryError:
        raise
    except Exception as e:
        raise WeightsError(
            f"{entry.get('model_name')}: {type(model).__name__} can't generate token by token with transformers "
            f"{version('transformers')} ({type(e).__name__}: {str(e)[:200]}); take another model, or another backend"
        ) from e
    return decoder


def _asks_otherwise(entry: Mapping[str, Any]) -> str | None:
    attention = entry.get("attn_implementation")
    if attention not in (None, "sdpa"):
        return f"attn_implementation is '{attention}'"
    return "the model has an adapter (peft_model)" if entry.get("peft_model") else None


def _cannot(model: Any) -> str | None:
    """Why the model's kind can't be batched here, as far as it says so itself."""
    if getattr(model, "_is_stateful", False):
        return f"{type(model).__name__} keeps a state instead of keys and values"
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} has an attention of its own"
    if scaling := _length_dependent(model.config.to_dict()):
        return f"its rotary embedding ({scaling}) depends on the length of the longest row computed with it"
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - {
        "full_attention",
        "sliding_attention",
    }
    return f"{type(model).__name__} has layers of the kind {', '.join(sorted(kinds))}" if kinds else None


def _length_dependent(config: Mapping[str, Any]) -> str | None:
    """Return the rotary scaling whose factors follow the longest row of a pass, wherever a configuration states it."""
    for key, value in config.items():
        if key in ("rope_type", "type") and isinstance(value, str) and value in _LENGTH_DEPENDENT:
            return value
        if isinstance(value, Mapping) and (found := _length_dependent(value)):
            return found
    return None


def _is_wrong(model: Any) -> str | None:
    """Compute two short rows together and alone; why the model can't be batched if the results differ."""
    usual = model.config._attn_implementation
    device = model.get_input_embeddings().weight.device
    vocabulary = model.get_input_embeddings().weight.shape[0]
    rows = [[(7919 * (i + 1) * (row + 1)) % vocabulary for i in range(_PROBE + row)] for row in (0, 3)]
    alone = [model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, -1] for ids in rows]
    register()
    try:
        model.set_attn_implementation(ATTENTION)
        together = _together(model, rows)
    except Exception as e:  # noqa: BLE001 - whatever an unknown model raises: it can't be batched
        model.set_attn_implementation(usual)
        return f"its layers can't be computed for several rows ({type(e).__name__}: {str(e)[:120]})"
    differs = any((a - b).float().std() > 0.1 * b.float().std() for a, b in zip(together, alone, strict=True))
    if differs:
        model.set_attn_implementation(usual)
        return f"{type(model).__name__} computes something else for several rows"
    return None


def _together(model: Any, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Return the logits of rows computed in three passes: two pieces of their beginnings, and each one's last token."""
    kv_cache = KVCache(most_kept=0, budget=0)
    slots = [kv_cache.take(None) for _ in rows]
    kv_cache.reserve(max(map(len, rows)))
    cuts = [0, 4, -1, None]
    logits, windows = torch.empty(0), _windows(model)
    for begin, end in itertools.pairwise(cuts):
        pieces = [Piece(slot, ids[begin:end]) for slot, ids in zip(slots, rows, strict=True)]
        logits = forward(model, kv_cache, pieces, RowThreads(None), windows=windows)
    return list(logits)


def _windows(model: Any) -> list[int | None]:
    """Return how many tokens each layer looks back in `generate`, whose cache forgets the others; None for all."""
    layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    return [getattr(layer, "sliding_window", None) for layer in layers]


def _budget(device: torch.device) -> int:
    """Return the bytes that keys and values may take before those of idle dialogues are given up."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    with suppress(OSError, StopIteration, ValueError):
        lines = _MEMORY.read_text().splitlines()
        free = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(int(free.split()[1]) * 1024 * _KEPT_SHARE)
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _KEPT_SHARE)
    return 2 << 30
