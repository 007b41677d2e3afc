"""Which arguments an entry may hand through to an engine, by ``engine_args``. Data, and what is said of others.

An engine has more settings than Playbill has keys for. Those that can name code, a file or an address are not handed
through, since an entry is data that strangers write; those that Playbill sets itself are named with the key that sets
them. vLLM's names are those of ``EngineArgs`` in vLLM 0.32, transformers' those of ``from_pretrained`` in 5.24.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from playbill.backends.registry.fields import types as v

__all__ = ["ENGINE_ARGUMENTS", "argument_faults"]

_SCALING = ("rope_parameters", "rope_scaling", "rope_theta", "max_position_embeddings", "sliding_window")
_OVERRIDES = v.ValueType(
    "an object of " + ", ".join(_SCALING),
    {"type": "object"},
    lambda value: isinstance(value, dict) and set(value) <= set(_SCALING),
)
_LEVEL = v.ValueType("an integer from 0 to 3", {"type": "integer"}, lambda value: value in (0, 1, 2, 3))
_MEMORY = v.ValueType(
    'an object of devices and sizes, as {"0": "20GiB", "cpu": "60GiB"}',
    {"type": "object"},
    lambda value: (
        isinstance(value, dict)
        and all(isinstance(k, str) and isinstance(size, (str, int)) and size for k, size in value.items())
    ),
)

_VLLM: dict[str, v.ValueType] = {
    **dict.fromkeys(
        [
            "block_size",
            "data_parallel_size",
            "decode_context_parallel_size",
            "kv_cache_memory_bytes",
            "long_prefill_token_threshold",
            "max_num_batched_tokens",
            "max_num_scheduled_tokens",
            "max_parallel_loading_workers",
            "num_gpu_blocks_override",
            "prefill_context_parallel_size",
        ],
        v.POSITIVE,
    ),
    **dict.fromkeys(
        [
            "async_scheduling",
            "disable_cascade_attn",
            "disable_custom_all_reduce",
            "disable_hybrid_kv_cache_manager",
            "disable_sliding_window",
            "enable_chunked_prefill",
            "enable_dbo",
            "enable_eplb",
            "enable_expert_parallel",
            "enable_flashinfer_autotune",
            "fully_sharded_loras",
            "numa_bind",
            "use_fp64_gumbel",
        ],
        v.BOOLEAN,
    ),
    **dict.fromkeys(["cpu_offload_gb", "kv_offloading_size", "mm_processor_cache_gb"], v.NUMBER),
    **dict.fromkeys(
        [
            "all2all_backend",
            "attention_backend",
            "kv_cache_dtype",
            "linear_backend",
            "mamba_cache_dtype",
            "mamba_ssm_cache_dtype",
            "moe_backend",
        ],
        v.STRING,
    ),
    "distributed_executor_backend": v.choice("mp", "ray", "uni"),
    "data_parallel_backend": v.choice("mp", "ray"),
    "load_format": v.choice("auto", "safetensors", "pt", "npcache", "mistral", "fastsafetensors"),
    "model_impl": v.choice("auto", "vllm", "transformers"),
    "hf_overrides": _OVERRIDES,
    "kv_cache_dtype_skip_layers": v.STRINGS,
    "optimization_level": _LEVEL,
}
_TRANSFORMERS: dict[str, v.ValueType] = {
    "max_memory": _MEMORY,
    "offload_buffers": v.BOOLEAN,
    "use_safetensors": v.BOOLEAN,
}
ENGINE_ARGUMENTS: Mapping[str, Mapping[str, v.ValueType]] = {"vllm": _VLLM, "huggingface_local": _TRANSFORMERS}
"""By backend: an argument's name, and the type of its values."""

_OWN = {
    "attn_implementation": "attn_implementation",
    "device_map": "device_map",
    "dtype": "dtype",
    "enable_lora": "peft_model",
    "enable_prefix_caching": "batch_size",
    "enforce_eager": "enforce_eager",
    "generation_config": "generation_config",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "load_in_4bit": "load_in_4bit",
    "load_in_8bit": "load_in_8bit",
    "max_model_len": "n_ctx",
    "max_num_seqs": "batch_size",
    "model": "huggingface_id",
    "pipeline_parallel_size": "pipeline_parallel_size",
    "quantization": "quantization",
    "revision": "revision",
    "seed": "seed",
    "tensor_parallel_size": "number_gpus",
    "tokenizer_mode": "tokenizer_mode",
    "torch_dtype": "dtype",
    "trust_remote_code": "trust_remote_code",
}


def argument_faults(backend: str, given: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with ``engine_args`` for a backend: the argument's name, what is wrong, and what to do."""
    known = ENGINE_ARGUMENTS.get(backend)
    if known is None:
        return
    for name, value in given.items():
        if name in known:
            if not known[name].accepts(value):
                yield name, f"{value!r} is not {known[name].name}", "mend the value, or take it out"
        elif name in _OWN:
            yield name, "Playbill sets it", f"write {_OWN[name]} in the entry"
        else:
            near = get_close_matches(name, known, n=1)
            fix = f"did you mean '{near[0]}'?" if near else "docs/reference/local-engines.md lists those that are"
            yield name, "it is not handed through, being unknown, or a name of code, files or addresses", fix
