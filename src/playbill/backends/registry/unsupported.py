"""Say why a local engine doesn't read a key, and what to use instead.

Where answers depend on the key, the entry is refused, so that no run goes on without it. Judges no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from playbill.backends.registry.fields.table import ENTRY_KEYS, LOCAL, PACE

__all__ = ["HARMLESS", "UNSUPPORTED", "Unsupported", "asks_for_nothing", "unsupported"]

_HF, _GGUF, _VLLM = LOCAL


@dataclass(frozen=True, slots=True)
class Unsupported:
    """``reason`` is a sentence without its end. ``refused``: answers depend on the key, so the entry is not used."""

    reason: str
    refused: bool = False

    def refuses(self, key: str, value: Any) -> bool:
        """Tell whether this value asks for what can't be had; off, or the default, asks for nothing."""
        return self.refused and value not in (None, False, ENTRY_KEYS[key].default)


def _no(reason: str) -> Unsupported:
    return Unsupported(reason)


def _refuse(reason: str) -> Unsupported:
    return Unsupported(reason, refused=True)


_FILE_FORMAT = "a GGUF file has the format that it has; name another file in `filename`"
_OF_FILE = "a GGUF file brings its own tokenizer"
_ADAPTER = "llama.cpp takes no PEFT adapter; merge it into the weights, or take another backend"
_SPREAD = "the layers are spread over all GPUs that CUDA_VISIBLE_DEVICES shows"
_NEEDS = "weights and dialogues take the memory that they need"
_ENDS = "`eos_to_cull` names what ends answers"
_MARKER = "the tokenizer says it; what a prompt begins with stands in its template"

UNSUPPORTED: Mapping[str, Mapping[str, Unsupported]] = {
    "engine_args": {_GGUF: _refuse("no argument of llama.cpp is handed through")},
    "generation_config": {_GGUF: _refuse("what a GGUF file recommends is not read; set the parameters of generation")},
    "slow_tokenizer": {_GGUF: _refuse(_OF_FILE)},
    "tokenizer_mode": {_HF: _refuse("`slow_tokenizer` says it"), _GGUF: _refuse(_OF_FILE)},
    "dtype": {_GGUF: _refuse(_FILE_FORMAT)},
    "use_bf16": {_GGUF: _refuse(_FILE_FORMAT)},
    "load_in_8bit": {_GGUF: _refuse(_FILE_FORMAT), _VLLM: _refuse("`quantization` says it, in vLLM's words")},
    "load_in_4bit": {_GGUF: _refuse(_FILE_FORMAT), _VLLM: _refuse("`quantization` says it, in vLLM's words")},
    "bnb_4bit_quant_type": {_GGUF: _refuse(_FILE_FORMAT), _VLLM: _refuse("`quantization` says it, in vLLM's words")},
    "bnb_4bit_compute_dtype": {_GGUF: _refuse(_FILE_FORMAT), _VLLM: _refuse("`dtype` says it")},
    "quantization": {
        _HF: _refuse("a quantized checkpoint says it itself; on load there are `load_in_8bit` and `load_in_4bit`"),
        _GGUF: _refuse(_FILE_FORMAT),
    },
    "peft_model": {_GGUF: _refuse(_ADAPTER)},
    "gguf_file": {_GGUF: _refuse("`filename` names it"), _VLLM: _refuse("a GGUF file runs under llamacpp")},
    "filename": {
        _HF: _refuse("`gguf_file` names a GGUF file; the files of a checkpoint are found by themselves"),
        _VLLM: _refuse("a GGUF file runs under llamacpp; the files of a checkpoint are found by themselves"),
    },
    "pictures_per_prompt": {
        _HF: _no("any number is taken; `context_size` is the limit"),
        _GGUF: _no("a GGUF file reads text here"),
    },
    "additional_files": {
        _HF: _no("the files of a checkpoint are found by its index"),
        _VLLM: _no("the files of a checkpoint are found by its index"),
    },
    "model_class": {_GGUF: _no("the architecture stands in the file")},
    "attn_implementation": {
        _GGUF: _no("llama.cpp has an attention of its own"),
        _VLLM: _no("vLLM chooses its attention itself"),
    },
    "trust_remote_code": {_GGUF: _no("llama.cpp runs no code of a repository")},
    "bos_string": {_HF: _refuse(_MARKER), _VLLM: _refuse(_MARKER)},
    "eos_string": {_HF: _refuse(_ENDS), _VLLM: _refuse(_ENDS)},
    "device_map": {
        _GGUF: _no("`execute_on` and `gpu_layers_offloaded` say it"),
        _VLLM: _no("`number_gpus` and `pipeline_parallel_size` say it"),
    },
    "execute_on": {_HF: _no('`device_map` says it: "cpu", "cuda:0"'), _VLLM: _no("vLLM is built for one of them")},
    "gpu_layers_offloaded": {_HF: _no("`device_map` says it"), _VLLM: _no("vLLM is built for a GPU or for none")},
    "number_gpus": {_HF: _no(f'with `device_map` "auto" {_SPREAD}'), _GGUF: _no(f"with `execute_on` gpu {_SPREAD}")},
    "pipeline_parallel_size": {
        _HF: _no(f'with `device_map` "auto" {_SPREAD}'),
        _GGUF: _no(f"with `execute_on` gpu {_SPREAD}"),
    },
    "prefix_caching": {_HF: _no("`batching` says what may be kept"), _VLLM: _no("it always does, in whole blocks")},
    "n_ctx": {_HF: _no(f"{_NEEDS}; `context_size` is the limit")},
    "gpu_memory_utilization": {
        _HF: _no("`gpu_memory_share` says it, as a share of what is free"),
        _GGUF: _no("`n_ctx` says what a dialogue takes"),
    },
    "gpu_memory_share": {
        _GGUF: _no("`n_ctx` says what a dialogue takes"),
        _VLLM: _no("`gpu_memory_utilization` says it, as a share of the whole"),
    },
    "enforce_eager": {_HF: _no("nothing is compiled"), _GGUF: _no("nothing is compiled")},
}
"""By key and local engine. Keys that all of them read in full aren't there; a test holds that no other is missing."""


HARMLESS = frozenset(
    [
        *("huggingface_id", "model_id", "requires_api_key", "trust_remote_code", "multimodality", "multimodal"),
        *("threads", "batching", "batch_size", "prefix_caching", "n_ctx", "additional_files", "attn_implementation"),
        *("device_map", "execute_on", "gpu_layers_offloaded", "number_gpus", "pipeline_parallel_size", "model_class"),
        *(
            "gpu_memory_utilization",
            "gpu_memory_share",
            "enforce_eager",
            "pictures_per_prompt",
            "key_section",
            "key_header",
            "delay",
        ),
        "require_parameters",
        *PACE,
    ]
)
"""Keys that say where, how fast or for whom a model answers, and never what: out of place they are only named."""


def asks_for_nothing(key: str, value: Any) -> bool:
    """Tell whether a value says what holds without the key as well: off, empty, or the key's default."""
    if isinstance(value, bool):
        return value is (key == "premade_chat_template")
    return value in (None, "", {}, [], ENTRY_KEYS[key].default)


def unsupported(key: str, backend: object) -> Unsupported | None:
    """Return what is to be said of a key in an entry of this backend; None where it reads the key, or is not a local
    one."""
    return UNSUPPORTED.get(key, {}).get(str(backend))
