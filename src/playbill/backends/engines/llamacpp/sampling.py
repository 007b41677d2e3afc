"""Translate generation parameters for llama.cpp. Every sampler is sent, so that none of its defaults acts.

The order of samplers is that of transformers: penalties, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from playbill.backends.registry.fields.parameters import OFF

__all__ = ["SUPPORTED_PARAMETERS", "effective_parameters", "sampling_body"]

SUPPORTED_PARAMETERS = frozenset([*OFF, "temperature", "max_tokens", "max_thinking_tokens", "seed", "stop", "logprobs"])
_NEVER = {
    "typical_p": 1.0,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "dry_multiplier": 0.0,
    "mirostat": 0,
    "dynatemp_range": 0.0,
    "min_keep": 0,
    "logit_bias": [],
    "ignore_eos": False,
    "n_keep": 0,
    "n_indent": 0,
    "t_max_predict_ms": -1,
    "grammar": "",
}
_LARGEST_SEED = 2**32 - 1  # means "random" to llama.cpp


def effective_parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is in effect beyond what was asked: each sampler's value, and the seed that was drawn if one
    counts."""
    found = {**OFF, **params}
    if found["temperature"] > 0:
        seed = found.get("seed")
        found["seed"] = secrets.randbelow(_LARGEST_SEED) if seed is None else seed % _LARGEST_SEED
    return found


def sampling_body(effective: Mapping[str, Any], prompt_length: int, limit: int) -> dict[str, Any]:
    """Return the part of a request that says how tokens are chosen, and how many new ones at the most.

    Penalties look at all of prompt and answer.
    """
    greedy = effective["temperature"] == 0
    return {
        **_NEVER,
        "n_predict": limit,
        "temperature": effective["temperature"],
        "samplers": ["penalties", "top_k"] if greedy else ["penalties", "temperature", "top_k", "top_p", "min_p"],
        "top_k": 1 if greedy else effective["top_k"],
        "top_p": effective["top_p"],
        "min_p": effective["min_p"],
        "repeat_penalty": effective["repetition_penalty"],
        "presence_penalty": effective["presence_penalty"],
        "frequency_penalty": effective["frequency_penalty"],
        "repeat_last_n": prompt_length + limit,
        "seed": (effective.get("seed") or 0) % _LARGEST_SEED,
        "n_probs": effective.get("logprobs") or 0,
    }
