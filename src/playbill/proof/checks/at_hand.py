"""Tell whether what an entry names is on this machine already. Fetches nothing, imports no engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.errors import WeightsError
from playbill.backends.registry.fields.table import LOCAL
from playbill.backends.registry.spec import path_in
from playbill.backends.weights.identity import hub_cache
from playbill.backends.weights.wheel import PREFIX, cached_wheel_file, parse_wheel_file

__all__ = ["is_path", "why_not_at_hand"]

_ELSEWHERE = "its tokenizer is not on this machine; the option --fetch gets it"


def is_path(source: str) -> bool:
    """Tell whether a ``huggingface_id`` can only mean a file or folder of this machine."""
    return source.startswith(("/", "./", "../", "~")) or source.endswith(".gguf")


def why_not_at_hand(entry: Mapping[str, Any]) -> str | None:
    """Why a prompt path can't be had without a download; None where it can."""
    source = entry.get("huggingface_id")
    if entry.get("backend") not in LOCAL or not isinstance(source, str):
        return None
    if source.startswith(PREFIX):
        try:
            cached = cached_wheel_file(parse_wheel_file(source))
        except WeightsError as e:
            return str(e)
        return None if cached is not None else _ELSEWHERE
    if path_in(entry, "huggingface_id").exists() or (hub_cache() / f"models--{source.replace('/', '--')}").is_dir():
        return None
    return _ELSEWHERE
