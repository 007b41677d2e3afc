"""Choose a model's decoder on load: rows together where that proves right, else one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from transformers import DynamicCache

from playbill.backends.common.warn import warn_once
from playbill.backends.engines.huggingface_local.batching.attention import ATTENTION, MASKED, ROWS, VARLEN, register
from playbill.backends.engines.huggingface_local.batching.kv_cache import KVCache, pages_for, pages_within
from playbill.backends.engines.huggingface_local.batching.rows import BatchDecoder
from playbill.backends.engines.huggingface_local.batching.selftest import (
    Difference,
    alike_rows,
    alike_tokens,
    find_difference,
    is_wrong,
    pieces_join,
)
from playbill.backends.engines.huggingface_local.batching.step import MOST_PIECES, Step
from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads
from playbill.backends.engines.huggingface_local.decoder import Decoder, SingleDecoder, tried
from playbill.backends.engines.machine.memory import free_memory
from playbill.backends.engines.machine.process_state import sum_alike
from playbill.backends.registry.fields.local import MOST_ROWS, batch_limit
from playbill.backends.registry.fields.table import setting

__all__ = ["choose_decoder"]

_ROW_SIZES = (1, 2, 4, 8, 16, 24)
_TOKEN_SIZES = (16, 32, 48, 64, 96, 128, 192, 224, 256, 320, 384)
_KEPT_SHARE = 0.25
_GPU_SHARE = 0.9
_KEPT_TURNS = 4
_LONGEST = 32_768
_LENGTH_DEPENDENT = ("dynamic", "longrope", "su")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_RAGGED = "a layer of experts, each of which gets as many tokens as the company brings,"
_MOST_EXPERT_BYTES = 1 << 28


@torch.inference_mode()
def choose_decoder(entry: Mapping[str, Any], model: Any, threads: int | None) -> Decoder:
    """Return the decoder that an entry asks for, with so many threads on a CPU.

    A model that can't be batched is warned of, and answers one at a time. Raises WeightsError where it can't even that.
    """
    if (size := batch_limit(entry)) == 1:
        return _single(entry, model, None)
    why = _asks_otherwise(entry) or _cannot(model)
    step = None if why else _find_step(entry, model, size or MOST_ROWS, threads)
    if not isinstance(step, Step):
        why = why or step
        warn_once(f"{entry.get('model_name')}: requests are answered one at a time, since {why}")
        return _single(entry, model, why)
    step.kv_cache = KVCache(_pages(entry, model, step))
    exact = setting(entry, "batching") == "exact"
    difference: Difference | str | None = None
    if exact:
        difference = _settle(entry, step)
    else:
        _let_loose(step)
    return BatchDecoder(step, exact=exact, facts=_facts(step, exact=exact, difference=difference))


def _find_step(entry: Mapping[str, Any], model: Any, rows: int, threads: int | None) -> Step | str | None:
    """Return the step with the first way of attention that a trial passes, or why there is none."""
    usual, why = model.config._attn_implementation, None
    windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=_text_config(model)).layers]
    row_threads = RowThreads(threads)
    register()
    sum_alike()
    model.set_attn_implementation(ATTENTION)
    for way in _ways(model):
        step = Step(model, KVCache(MOST_PIECES), way, row_threads, most_rows=rows, windows=windows)
        try:
            failed = is_wrong(step, usual)
        except Exception as e:  # noqa: BLE001 - whatever an unknown model or kernel raises
            failed = f"its layers can't be computed for several rows ({type(e).__name__}: {str(e)[:120]})"
        if failed is None:
            if why is not None:
                warn_once(f"{entry.get('model_name')}: attention is computed by '{way}', a slower way, since {why}")
            step.windows = None
            step.joins = pieces_join(step)
            return step
        why = why or failed
    model.set_attn_implementation(usual)
    row_threads.close()
    return why


def _ways(model: Any) -> tuple[str, ...]:
    """Return the ways of attention to try for a model, the fastest first."""
    kinds = {p.device.type for p in model.parameters()} - {"meta"}
    if kinds <= {"cpu"}:
        return (ROWS,)
    return (VARLEN, MASKED, ROWS) if kinds == {"cuda"} else (MASKED, ROWS)


def _settle(entry: Mapping[str, Any], step: Step) -> Difference | str | None:
    """Prove that rows don't depend on their company, and find the small shapes that have the bits of the large ones.

    Returns where they do depend, which is warned of.
    """
    cuda = step.device.type == "cuda"
    ragged = _has_experts(step.model) and not _pad_experts(step)
    step.rows = (*(n for n in _ROW_SIZES if n < step.most_rows), step.most_rows) if cuda else step.rows
    step.capture()
    candidates, step.rows = step.rows, (step.most_rows,)
    difference = find_difference(step) or (_RAGGED if ragged else None)
    if difference is not None:
        warn_once(
            f"{entry.get('model_name')}: an answer may depend on which others are computed with it: {difference} has "
            'other bits in other company. With "batching": "single" it doesn\'t; the run\'s manifest says it too'
        )
    step.rows = alike_rows(step, candidates if cuda else _ROW_SIZES)
    step.tokens = alike_tokens(step, _TOKEN_SIZES)
    return difference


def _has_experts(model: Any) -> bool:
    """Tell whether each token of a layer goes to some of several experts."""
    config = _text_config(model)
    return any((getattr(config, name, None) or 0) > 1 for name in _EXPERTS)


def _pad_experts(step: Step) -> bool:
    """Let each token be multiplied with its own experts' weights, not each expert with its tokens, whose number depends
    on the company; whether that can be, and needs not too much memory."""
    model, config = step.model, _text_config(step.model)
    stacked = [
        p for module in model.modules() if type(module).__name__.endswith("Experts") for p in module.parameters()
    ]
    chosen = getattr(config, "num_experts_per_tok", None) or getattr(config, "top_k", None)
    if not stacked or not chosen or not hasattr(model, "set_experts_implementation"):
        return False
    if step.tokens[-1] * int(chosen) * max(p[0].numel() * p.element_size() for p in stacked) > _MOST_EXPERT_BYTES:
        return False
    with suppress(ValueError, AttributeError):
        model.set_experts_implementation("batched_mm")
        return True
    return False


def _let_loose(step: Step) -> None:
    """Take the shapes as they come: on a CPU all, elsewhere a few, so that kernels are prepared for them."""
    if step.device.type == "cpu":
        step.rows, step.tokens = (tuple(range(1, n + 1)) for n in (step.most_rows, step.tokens[-1]))
        step.joins = True
        return
    step.rows = (*(n for n in _ROW_SIZES if n < step.most_rows), step.most_rows)
    most = step.tokens[-1]
    step.tokens = (*(n for n in _TOKEN_SIZES if n < most), most)
    step.capture()


def _facts(step: Step, *, exact: bool, difference: Difference | str | None) -> dict[str, Any]:
    """Describe for the manifest how rows are computed: bits hold for that."""
    tried = {"company_independent": difference is None} if exact else {}
    return {
        "kind": "exact" if exact else "fast",
        "attention": step.way,
        "rows": step.most_rows,
        "cuda_graph": step.captured,
        **({"row_sizes": list(step.rows), "prompt_sizes": list(step.tokens)} if exact else {}),
        **tried,
        **({"differs": str(difference)} if difference is not None else {}),
    }


def _pages(entry: Mapping[str, Any], model: Any, step: Step) -> int:
    """Return how many pages of keys and values fit, after a trial has shown how large one is on each device. On a CPU
    no more than rows and their earlier turns can need."""
    sizes, step.kv_cache = step.kv_cache.page_bytes, KVCache(1)
    if any(device.type == "cuda" for device in sizes):
        torch.cuda.empty_cache()
    pages = pages_within({device: _budget(entry, device) for device in sizes}, sizes)
    if step.device.type != "cuda":
        longest = getattr(_text_config(model), "max_position_embeddings", None) or _LONGEST
        pages = min(pages, step.most_rows * _KEPT_TURNS * pages_for(longest))
    return max(MOST_PIECES + 1, pages)


def _text_config(model: Any) -> Any:
    return model.config.get_text_config(decoder=True)


def _single(entry: Mapping[str, Any], model: Any, why: str | None) -> Decoder:
    facts = {"kind": "single", "company_independent": True, **({"reason": why} if why else {})}
    return tried(SingleDecoder(model, facts), entry, model)


def _asks_otherwise(entry: Mapping[str, Any]) -> str | None:
    attention = entry.get("attn_implementation")
    return f"attn_implementation is '{attention}'" if attention not in (None, "sdpa") else None


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


def _budget(entry: Mapping[str, Any], device: torch.device) -> int:
    """Return the bytes of a device's memory that keys and values may take."""
    on_card = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_card else free_memory()
    share: float = entry.get("gpu_memory_share") or (_GPU_SHARE if on_card else _KEPT_SHARE)
    return 2 << 30 if free is None else int(free * share)
