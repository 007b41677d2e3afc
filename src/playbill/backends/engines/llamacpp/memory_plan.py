"""Plan an engine's memory: slots, context and GPU layers. Pure arithmetic; loads nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from playbill.backends.engines.base import Extent
from playbill.backends.engines.llamacpp.gguf_header import GgufHeader
from playbill.backends.engines.machine.cpu_threads import usable_cores
from playbill.backends.engines.machine.memory import free_memory, gibibytes
from playbill.backends.errors import EngineError
from playbill.backends.registry.fields.local import batch_limit
from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.fields.types import parse_token_count

__all__ = [
    "MemoryPlan",
    "Room",
    "context_limit",
    "gpu_layers",
    "kv_bytes_per_token",
    "longest_dialogue",
    "make_plan",
    "memory_room",
]

_log = logging.getLogger(__name__)
_SLOTS_OF_A_THREAD = 4  # more make a CPU no faster, and fewer prompts find their beginning in memory
_SLOTS_OF_A_GPU = 32
_MOST_KEPT = 64
_ROUNDING = 256
_LONG_FACTORS = frozenset(["rope_factors_long.weight", "blk.0.rope_factors_long.weight"])
_LEAST_CONTEXT = 512
_UNSTATED_CONTEXT = 4096
_UNSTATED_MEMORY = 4 << 30
_F16 = 2
_ALL_LAYERS = 9999
_MIB = 1 << 20
_MOST_CACHE_MIB = 8192


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that a plan may fill: with keys and values of dialogues that have a slot, wherever their layers are, and
    in the computer's memory with those of dialogues that have none. ``shared`` tells whether that is one memory."""

    slots: int
    kept: int
    shared: bool = True


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """``n_ctx`` is for each slot; llama.cpp is given the product. ``cache_mib`` keeps dialogues that have no slot.

    ``limit`` is the most that prompt and answer may have; ``n_ctx`` is less where no dialogue gets that long.
    """

    slots: int
    n_ctx: int
    limit: int
    threads: int
    cache_mib: int

    @property
    def concurrency(self) -> int:
        """How many requests to keep under way. Callers have some more waiting; those find a slot of their own too,
        so that no dialogue loses its slot between two turns."""
        return self.slots if self.slots <= 2 else self.slots - max(1, (self.slots + 1) // 5)


def context_limit(entry: Mapping[str, Any], header: GgufHeader) -> int | None:
    """Return the most tokens that prompt and answer may have: the least of what the entry and the file say."""
    own = header.of_model("context_length")
    stated = (setting(entry, "n_ctx"), parse_token_count(setting(entry, "context_size")), own)
    return min((int(value) for value in stated if value), default=None)


def longest_dialogue(
    entry: Mapping[str, Any], extent: Extent, template_bytes: tuple[int, int], *, thinks: bool = False
) -> int | None:
    """Return the most tokens that a dialogue can come to; None where it ``thinks``, and that has no bound.

    A token stands for a byte at least, so bytes bound tokens. ``template_bytes`` is what the template adds to a
    conversation, and to a message of it at the most. What an answer has is `max_tokens` at the most, and a quarter
    more here: encoded anew, a text may have other tokens than those that it was made of.
    """
    thinking = setting(entry, "max_thinking_tokens")
    if thinking is None and (thinks or setting(entry, "cot_end_tag")):
        return None
    answer = int(setting(entry, "max_tokens") or PARAMETERS["max_tokens"].default)
    whole, each = template_bytes
    given = extent.text_bytes + whole + each * extent.messages
    return given + answer * extent.answers * 5 // 4 + int(thinking or 0)


def make_plan(
    entry: Mapping[str, Any], header: GgufHeader, *, dialogues: int | None, room: Room, longest: int | None = None
) -> MemoryPlan:
    """Lay out an engine for so many dialogues at once, in the room beside the weights.

    The context's length comes first; slots only make it faster. None of the dialogues comes to more than ``longest``
    tokens (None: not known). How long they get never reaches an answer: see `_least_context`. Raises EngineError where
    memory doesn't hold the context that answers depend on.
    """
    per_token = kv_bytes_per_token(header)
    affordable = room.slots // per_token
    limit = context_limit(entry, header) or _UNSTATED_CONTEXT
    threads = setting(entry, "threads") or usable_cores()
    most = batch_limit(entry) or _most_slots(entry, threads)
    wanted = min(dialogues or most, most)
    least = _least_context(header, limit)
    needed = limit if longest is None else min(limit, max(longest, least))
    length = _length(entry, needed, affordable)
    if length < least:
        raise EngineError(
            f"{entry.get('model_name')}: memory holds a context of {length} tokens, with which this model (LongRoPE) "
            f"computes otherwise than with its {limit}; set n_ctx to {least - 1} or less to have it so, or free memory"
        )
    limit = length if length < needed else limit
    n_ctx = _rounded(length)
    slots = max(1, min(wanted, affordable // n_ctx))
    if slots < wanted:
        _log.warning(
            "%s: memory holds %d of %d dialogues at once with %d tokens of context each; for more, set n_ctx to "
            "what the dialogues need",
            entry.get("model_name"),
            slots,
            wanted,
            n_ctx,
        )
    taken = slots * n_ctx * per_token
    left = max(0, room.kept - taken) if room.shared else room.kept
    kept = 0 if dialogues is not None and dialogues <= slots else min(dialogues or 4 * slots, _MOST_KEPT)
    cache = min(left, kept * n_ctx * per_token) // _MIB
    return MemoryPlan(slots, n_ctx, limit, threads, min(cache, _MOST_CACHE_MIB))


def _least_context(header: GgufHeader, limit: int) -> int:
    """Return the context that a slot must have, in tokens, so that answers depend on the entry and the file alone.

    llama.cpp chooses LongRoPE's factors by the context that is allocated and not by a dialogue's length: the long ones
    beyond the length of the first training. So the choice follows ``limit``, whatever the dialogues need.
    """
    switch = header.of_model("rope.scaling.original_context_length") or header.of_model("context_length")
    if not switch or _LONG_FACTORS.isdisjoint(header.tensors):
        return 0
    return int(switch) + 1 if _rounded(limit) > int(switch) else 0


def _most_slots(entry: Mapping[str, Any], threads: int) -> int:
    return _SLOTS_OF_A_GPU if _on_gpu(entry) else max(8, _SLOTS_OF_A_THREAD * threads)


def _length(entry: Mapping[str, Any], needed: int, affordable: int) -> int:
    """Return the context of one dialogue; cut, with a warning, where not even one fits and the entry leaves it open."""
    if needed <= affordable or setting(entry, "n_ctx") is not None:
        return needed
    cut = max(_LEAST_CONTEXT, affordable - affordable % _ROUNDING)
    _log.warning(
        "%s: a context of %d tokens does not fit into memory, so it is cut to %d; set n_ctx to choose it",
        entry.get("model_name"),
        needed,
        cut,
    )
    return min(needed, cut)


def kv_bytes_per_token(header: GgufHeader) -> int:
    """Return what llama.cpp keeps for each token of context, in half precision."""
    layers = int(header.of_model("block_count") or 1)
    width = int(header.of_model("embedding_length") or 4096)
    heads = _per_layer(header.of_model("attention.head_count") or 1, layers)
    kv_heads = _per_layer(header.of_model("attention.head_count_kv") or heads, layers)
    usual = width // max(1, *heads)
    key = int(header.of_model("attention.key_length") or usual)
    value = int(header.of_model("attention.value_length") or usual)
    return max(1, sum(kv_heads) * (key + value) * _F16)


def _per_layer(value: Any, layers: int) -> list[int]:
    return [int(v) for v in value] if isinstance(value, list) else [int(value)] * layers


def _rounded(n_ctx: int) -> int:
    return -(-n_ctx // _ROUNDING) * _ROUNDING


def gpu_layers(entry: Mapping[str, Any], devices: Sequence[Mapping[str, Any]]) -> int:
    """Return how many layers go to a GPU. Raises EngineError where one is asked for and there is none."""
    if not _on_gpu(entry):
        return 0
    if all(device["name"] == "CPU" for device in devices):
        raise EngineError(
            f"{entry.get('model_name')}: layers should go to a GPU (execute_on, gpu_layers_offloaded), but this build "
            "of xllamacpp finds none; set execute_on to cpu, and take gpu_layers_offloaded out, or install a build of "
            "xllamacpp for your GPU"
        )
    layers = setting(entry, "gpu_layers_offloaded")
    return _ALL_LAYERS if layers is None else int(layers)


def _on_gpu(entry: Mapping[str, Any]) -> bool:
    """Tell whether the entry asks for a GPU: it says so, or says nothing, and how many layers go there."""
    asked = entry.get("execute_on")
    return asked == "gpu" or (asked is None and bool(setting(entry, "gpu_layers_offloaded")))


def memory_room(
    entry: Mapping[str, Any], header: GgufHeader, devices: Sequence[Mapping[str, Any]], *, weights: int, layers: int
) -> Room:
    """Return the room that is left beside weights of so many bytes, of which ``layers`` go to a GPU.

    Keys and values lie where their layer does. Of the computer's memory half of what is free is left to others; a card
    is there for the model, and a tenth of it is left for what is computed.
    """
    host = free_memory()
    if host is None:
        host = next((int(d["memory_free"]) for d in devices if d["name"] == "CPU"), _UNSTATED_MEMORY)
    share = min(1.0, layers / max(1, int(header.of_model("block_count") or 1)))
    on_host = max(0, host - int(weights * (1 - share))) // 2
    if share == 0:
        return Room(on_host, on_host)
    cards = sum(int(d["memory_free"]) for d in devices if d["name"] != "CPU")
    on_cards = cards * 9 // 10 - int(weights * share)
    if on_cards <= 0:
        raise EngineError(
            f"{entry.get('model_name')}: {gibibytes(int(weights * share))} of weights should go to a GPU, which has "
            f"{gibibytes(cards)} free; set gpu_layers_offloaded to fewer layers, or execute_on to cpu"
        )
    tokens = [on_cards / share, *([on_host / (1 - share)] if share < 1 else [])]
    return Room(int(min(tokens)), on_host, shared=False)
