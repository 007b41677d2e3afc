"""Check that a model fits into this machine, before its weights are downloaded."""

from __future__ import annotations

from collections.abc import Iterator

from playbill.backends.common.findings import Finding
from playbill.backends.common.words import counted
from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import Footprint
from playbill.backends.engines.machine.memory import card_memory, free_memory, gibibytes
from playbill.backends.errors import PlaybillError
from playbill.backends.loading import measure_model
from playbill.backends.registry.fields.local import MOST_ROWS
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.spec import ModelSpec
from playbill.proof.rules import path as path_rules

__all__ = ["memory"]

_DIALOGUE = 2048
"""The tokens of a dialogue that is counted with, where the entry doesn't say how long its context is."""


def memory(spec: ModelSpec, where: str, credentials: Credentials | None) -> Iterator[Finding]:
    """Yield what is wrong with the size of an entry's model on this machine."""
    try:
        found = measure_model(spec, credentials=credentials)
    except PlaybillError:  # what can't be had is said by the checks that need it
        return
    free, place = _free(spec)
    if found is None or free is None:
        return
    if found.converted is not None:
        yield path_rules.CONVERTED.at(where, found.converted)
    tokens = setting(spec, "n_ctx") or _DIALOGUE
    dialogue = (found.kv_per_token or 0) * tokens
    if found.weights + dialogue > free:
        yield path_rules.TOO_LARGE.at(where, _said(found, dialogue, tokens, free, place), _way_out(spec))
    elif spec["backend"] == "huggingface_local" and dialogue:
        wanted = 1 if setting(spec, "batching") == "single" else spec.get("batch_size") or MOST_ROWS
        fits = int((free - found.weights) * (spec.get("gpu_memory_share") or 1)) // dialogue
        if fits < wanted:
            said = f"beside the weights there is room for {counted(fits, 'dialogue')} of {tokens} tokens at once"
            yield path_rules.FEW_AT_ONCE.at(where, f"{said}, of the {wanted} that are computed together")


def _said(found: Footprint, dialogue: int, tokens: int, free: int, place: str) -> str:
    message = f"the weights take {gibibytes(found.weights)}"
    if dialogue:
        message += f", a dialogue of {tokens} tokens {gibibytes(dialogue)}"
    return f"{message}; {place} has {gibibytes(free)} free"


def _free(spec: ModelSpec) -> tuple[int | None, str]:
    """Return the free memory of where a model goes, and what that is called."""
    cards = () if _on_cpu(spec) else card_memory()
    if cards:
        named = "the card" if len(cards) == 1 else f"the {len(cards)} cards together"
        return sum(cards), named
    return free_memory(), "the memory of this machine"


def _on_cpu(spec: ModelSpec) -> bool:
    if spec["backend"] == "llamacpp":
        return spec.get("execute_on") != "gpu" and not spec.get("gpu_layers_offloaded")
    return bool(setting(spec, "device_map") == "cpu")


def _way_out(spec: ModelSpec) -> str:
    if spec["backend"] == "llamacpp":
        return "take a smaller quantization of it, or a machine with more memory"
    return "take a machine or cards with more memory, or a quantized checkpoint; for one on this machine only, waive it"
