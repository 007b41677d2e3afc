"""Tiny random models of any architecture that transformers knows, and what its own `generate` gives for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

VOCABULARY = 256
_SIZES: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "n_embd": 64,
    "d_model": 64,
    "intermediate_size": 96,
    "ffn_dim": 96,
    "n_inner": 96,
    "dim_ff": 96,
    "num_hidden_layers": 2,
    "n_layer": 2,
    "num_layers": 2,
    "decoder_layers": 2,
    "encoder_layers": 2,
    "num_attention_heads": 4,
    "n_head": 4,
    "num_heads": 4,
    "decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "dim_head": 16,
    "sliding_window": 16,
    "attention_window_size": 16,
    "max_position_embeddings": 512,
    "n_positions": 512,
    "n_ctx": 512,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LINEAR = {
    "num_hidden_layers": 4,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
"""Of kinds of which every fourth layer has attention."""
_OF_KIND: Mapping[str, Mapping[str, Any]] = {
    "codegen": {"rotary_dim": 16},
    "gptj": {"rotary_dim": 16},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"],
        "mamba_n_heads": 4,
        "mamba_d_head": 32,
        "mamba_n_groups": 1,
        "mamba_d_state": 16,
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1, "state_size": 16},
    "qwen3_5_moe_text": _LINEAR,
    "qwen3_5_text": _LINEAR,
    "bamba": {
        "attn_layer_indices": [1],
        "mamba_n_heads": 4,
        "mamba_d_head": 32,
        "mamba_n_groups": 1,
        "mamba_d_state": 16,
        "attn_rotary_emb": 8,
    },
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 64},
    "rwkv": {"attention_hidden_size": 64, "context_length": 512},
    "qwen3_next": _LINEAR,
}
_SWITCH = 60
_MOST_NUMBERS = 10_000_000
ROPES: Mapping[str, Mapping[str, Any]] = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
    "yarn": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": _SWITCH,
    },
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": _SWITCH,
    },
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "short_factor": [1.0] * 8,
        "long_factor": [8.0] * 8,
        "original_max_position_embeddings": _SWITCH,
    },
}
"""Rotary scalings whose factors change, where they do, at `_SWITCH` tokens; for heads of width 16."""


def _small(known: Any) -> dict[str, Any]:
    """Return the sizes of a tiny model by the names that its configuration has for them, parts within parts."""
    given = {name: value for name, value in _SIZES.items() if hasattr(known, name)}
    if hasattr(known, "qk_rope_head_dim"):  # the width of a head follows from its parts
        given = {name: value for name, value in given.items() if name != "head_dim"}
        given |= {"num_key_value_heads": 4}
    parts = {name: getattr(known, name, None) for name in known.sub_configs}
    return given | {name: _small(part) for name, part in parts.items() if part is not None}


def _scaled(known: Any, rope: str) -> dict[str, Any]:
    given: dict[str, Any] = {"rope_parameters": dict(ROPES[rope])}
    if rope in ("dynamic", "longrope"):
        given["max_position_embeddings"] = _SWITCH if rope == "dynamic" else 4 * _SWITCH
    if hasattr(known, "original_max_position_embeddings") or rope == "longrope":
        given["original_max_position_embeddings"] = _SWITCH
    return given


def tiny_model(kind: str, *, rope: str | None = None, **more: Any) -> Any:
    """Return a tiny model of a model type, in float32, with weights that are the same each time.

    Raises whatever transformers raises for a configuration that it can't make so small.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    given = _small(AutoConfig.for_model(kind)) | _OF_KIND.get(kind, {})
    if rope is not None:
        given |= _scaled(AutoConfig.for_model(kind), rope)
    config = AutoConfig.for_model(kind, **{**given, **more})
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > _MOST_NUMBERS:
        raise ValueError(f"{kind} has {size} numbers with the sizes that are known here")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.12)
    return model


def generated(model: Any, prompt: Sequence[int], tokens: int) -> tuple[int, ...]:
    """Return the ids that transformers' own `generate` gives, greedily and past end tokens."""
    import torch
    from transformers import GenerationConfig

    ids = torch.tensor([list(prompt)])
    model.generation_config = GenerationConfig()  # of its own it may force or forbid tokens
    options = {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens, "eos_token_id": None}
    whole = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **options)
    return tuple(whole[0, len(prompt) :].tolist())
