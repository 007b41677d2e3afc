"""Translate an entry into the arguments of vLLM's engine. Imports no vLLM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from playbill.backends.common.downloads import download_display
from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.engines.vllm.adapter import Adapter
from playbill.backends.errors import WeightsError
from playbill.backends.registry.fields.local import batch_limit, dtype_of
from playbill.backends.registry.fields.multimodality import pictures_taken
from playbill.backends.registry.fields.table import setting

__all__ = ["engine_arguments", "dialogues_at_once"]

_CPU_BLOCK = 32  # the smallest that vLLM's CPU kernels take: what is shared is found in whole blocks only
_CPU_SHARE = 4
_TYPICAL = 2048
_SEATS = 256


def engine_arguments(
    entry: Mapping[str, Any],
    source: Source,
    context_size: int | None,
    adapter: Adapter | None,
    *,
    trust: bool,
    progress: bool,
    cpu_memory: int | None,
) -> dict[str, Any]:
    """Return the arguments of ``EngineArgs``. ``cpu_memory`` is the free memory in bytes, None where a GPU computes."""
    seats = (batch_limit(entry) if entry.get("batching") == "single" else entry.get("batch_size")) or _SEATS
    arguments: dict[str, Any] = {
        "model": str(source.folder),
        **_media(entry),
        "trust_remote_code": trust,
        "generation_config": "vllm",  # the repository's sampling counts where the entry says so, by our own hand
        "dtype": _dtype(entry, source),
        "max_model_len": _context(entry, context_size),
        "max_num_seqs": seats,
        "max_logprobs": -1,
        "seed": 0,
        "enable_prefix_caching": seats > 1,  # alone, an answer depends on nothing that came before
        "disable_log_stats": True,
        "use_tqdm_on_load": progress and download_display() is None,
        "tensor_parallel_size": setting(entry, "number_gpus"),
        "pipeline_parallel_size": setting(entry, "pipeline_parallel_size"),
        "distributed_executor_backend": _executor(entry),
        "quantization": entry.get("quantization"),
        **_memory(entry, cpu_memory),
    }
    eager = entry.get("enforce_eager")
    arguments["enforce_eager"] = cpu_memory is not None if eager is None else eager
    if adapter is not None:
        # One slot more than adapters: with all slots taken, requests that ask for none get the last one's.
        arguments |= {"enable_lora": True, "max_loras": 2, "max_cpu_loras": 2, "max_lora_rank": adapter.room}
    arguments |= entry.get("engine_args") or {}
    return {name: value for name, value in arguments.items() if value is not None}


def _executor(entry: Mapping[str, Any]) -> str | None:
    """Return what starts the processes of several GPUs: vLLM's own. In an actor of Ray it would choose Ray, and refuse
    a placement group that has all GPUs in one bundle, as a replica's has."""
    several = setting(entry, "number_gpus") * setting(entry, "pipeline_parallel_size") > 1
    return "mp" if several else None


def _media(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what vLLM is told of text and pictures. Ids go in and out, so only pictures need its tokenizer."""
    if not pictures_taken(entry).any:
        return {"skip_tokenizer_init": True, "language_model_only": True}
    return {"limit_mm_per_prompt": {"image": setting(entry, "pictures_per_prompt"), "video": 0, "audio": 0}}


def _context(entry: Mapping[str, Any], context_size: int | None) -> int | None:
    sizes = [size for size in (entry.get("n_ctx"), context_size) if size]
    return min(sizes, default=None)


def _memory(entry: Mapping[str, Any], cpu_memory: int | None) -> dict[str, Any]:
    """Return how much is kept for keys and values.

    vLLM would take nearly all of a machine's memory. A card is there for that; a computer is not, and gives a
    quarter of what is free.
    """
    share = entry.get("gpu_memory_utilization")
    if cpu_memory is None:
        return {"gpu_memory_utilization": share}
    kept = {"gpu_memory_utilization": share} if share else {"kv_cache_memory_bytes": cpu_memory // _CPU_SHARE}
    return {"block_size": _CPU_BLOCK, **kept}


def _dtype(entry: Mapping[str, Any], source: Source) -> str:
    """Return the number format; `auto` is the checkpoint's own, where vLLM's `auto` halves float32."""
    asked = dtype_of(entry)
    if asked != "auto":
        return asked
    path = source.folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise WeightsError(f"{path} can't be read: {e}") from e
    nested = config.get("text_config") or {}
    stated = [c.get(key) for c in (config, nested) for key in ("dtype", "torch_dtype")]
    return "float32" if "float32" in stated else "auto"


def dialogues_at_once(seats: int, cached_tokens: int, context_size: int) -> int:
    """Return how many dialogues to keep under way.

    More than fit into the cache would push each other out of it between two turns, and each turn would compute
    its whole history again. A dialogue is taken to be of 2,048 tokens, or the context where that is less.
    """
    return max(1, min(seats, cached_tokens // max(1, min(context_size, _TYPICAL))))
