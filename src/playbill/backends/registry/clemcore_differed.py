"""Say where clemcore sent something else than its own entry says: what published runs really used.

Read in the code of clemcore 3.7.2's backends, and recorded from it; its azure backend from a public copy. An entry that
has ``model_config`` is one of clemcore's. Judges nothing: what Playbill does with the entry is said elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from playbill.backends.common.findings import Finding
from playbill.backends.registry import rules

__all__ = ["clemcore_differed"]

_ANTHROPIC_BUDGET = 4_000
_GOOGLE_BUDGET = 4_096
_PRESENCE = ("thinking_mode", "reasoning_model")
_LLAMACPP_UNREAD = ("execute_on", "gpu_layers_offloaded", "additional_files")


def clemcore_differed(raw: Mapping[str, Any], where: str) -> Iterator[Finding]:
    """Yield one note with all that clemcore 3.7.2 did otherwise under an entry of its layout; nothing for others."""
    config = raw.get("model_config")
    backend = raw.get("backend")
    if isinstance(config, dict) and isinstance(backend, str) and (said := list(_said(backend, raw, config))):
        yield rules.CLEMCORE_DIFFERED.at(where, f"clemcore 3.7.2 {'; it '.join(said)}")


def _said(backend: str, raw: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    for key in _PRESENCE:
        if key in config and not config[key]:
            yield f"took {key} as set, for it looked only whether the key is there"
    if backend in _BY_BACKEND:
        yield from _BY_BACKEND[backend](raw, config)


def _anthropic(raw: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    if "thinking_mode" in config:
        ignored = _ignored(config, "thinking_budget", "reasoning_budget", "reasoning_effort")
        yield (
            f"asked for a thinking budget of {_ANTHROPIC_BUDGET:,}, with max_tokens {_ANTHROPIC_BUDGET:,} more than "
            f"the run's and temperature 1{ignored}"
        )


def _google(raw: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    if "thinking_mode" in config:
        ignored = _ignored(config, "thinking_budget", "reasoning_budget")
        yield f"asked for a thinking budget of {_GOOGLE_BUDGET:,}, with as many more output tokens{ignored}"
    elif unread := _ignored(config, "reasoning_model", "reasoning_budget", "thinking_budget", "include_thoughts"):
        yield f"left thinking to the service, within the run's maxOutputTokens (300 unless it said more){unread}"
    yield "sent safety settings, BLOCK_MEDIUM_AND_ABOVE for four categories, where Playbill sends none"


def _openai(raw: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    if unread := _ignored(config, "reasoning_effort"):
        yield f"left the effort to the service{unread}"
    if "reasoning_model" in config:
        yield "sent no limit of tokens and refused temperature 0, for reasoning_model is there"


def _openrouter(raw: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    yield from _openai(raw, config)
    if "extra_body" not in config:
        yield 'added {"provider": {"quantizations": ["fp8"]}}, for there is no extra_body; Playbill adds nothing'
    if "model_id" not in raw:
        yield "could not ask for the model, for there is no model_id"


def _azure(raw: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    """The package doesn't have this backend; what is said is read in a public copy of it."""
    if "claude" not in str(raw.get("model_id", "")):
        if "reasoning_model" in config:
            yield "(a public copy of its azure backend) sent no limit of tokens, for reasoning_model is there"
        elif unread := _ignored(config, "reasoning_effort"):
            yield f"(a public copy of its azure backend) left the effort to the service{unread}"
    elif "thinking_mode" in config:
        yield (
            "(a public copy of its azure backend) sent the budget, max_tokens with the budget added, temperature 1, "
            "and the system message among the others"
        )


def _cohere(raw: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    yield "asked Cohere's own /v2/chat, where Playbill asks its endpoint for OpenAI's API"


def _llamacpp(raw: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    if unread := _ignored(config, *_LLAMACPP_UNREAD):
        yield f"put all layers on the GPU and fetched the named file alone{unread}"


def _ignored(config: Mapping[str, Any], *keys: str) -> str:
    """Return the keys among these that are there, as the end of a sentence; empty where none is."""
    there = [f"{key} {config[key]!r}" if not isinstance(config[key], list) else key for key in keys if key in config]
    return f" ({' and '.join(there)} read by nothing)" if there else ""


_BY_BACKEND = {
    "anthropic": _anthropic,
    "google": _google,
    "openai": _openai,
    "openai_compatible": _openai,
    "openrouter": _openrouter,
    "azure": _azure,
    "cohere": _cohere,
    "llamacpp": _llamacpp,
}
