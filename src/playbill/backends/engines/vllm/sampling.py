"""Translate generation parameters for vLLM. Every sampler is set, so that none of its defaults acts. Imports no
vLLM."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["SUPPORTED_PARAMETERS", "OFF", "effective_parameters", "sampling_arguments"]

OFF: Mapping[str, Any] = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
SUPPORTED_PARAMETERS = frozenset([*OFF, "temperature", "max_tokens", "max_thinking_tokens", "seed", "stop", "logprobs"])
_SEEDS = 2**63
_LEAST_TEMPERATURE = 0.01  # vLLM raises what is above 0 and below it


def effective_parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is in effect: each sampler's value, the temperature that vLLM will use, and the seed that was drawn.

    Greedy, vLLM leaves top_p, top_k and min_p out.
    """
    found = {**OFF, **params}
    if found["temperature"] == 0:
        return {**found, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
    found["temperature"] = max(found["temperature"], _LEAST_TEMPERATURE)
    seed = found.get("seed")
    found["seed"] = secrets.randbits(32) if seed is None else seed % _SEEDS
    return found


def sampling_arguments(
    effective: Mapping[str, Any], stop_ids: Iterable[int], *, most: int, watched: bool
) -> dict[str, Any]:
    """Return the arguments of ``SamplingParams``. ``most`` is how many new tokens there may be, thinking included.

    A generation ends at the given stop ids and at no other: vLLM's own idea of the end is left out. Stop strings
    and text are Playbill's, so nothing is detokenized. ``watched`` asks for every token as it comes.
    """
    return {
        **{name: effective[name] for name in OFF},
        "n": 1,
        "temperature": effective["temperature"],
        "seed": effective.get("seed") if effective["temperature"] > 0 else None,
        "max_tokens": most,
        "min_tokens": 0,
        "stop_token_ids": sorted(stop_ids),
        "ignore_eos": True,
        "logprobs": effective.get("logprobs") or None,
        "prompt_logprobs": None,
        "detokenize": False,
        "skip_special_tokens": False,
        "output_kind": "DELTA" if watched else "FINAL_ONLY",
    }
