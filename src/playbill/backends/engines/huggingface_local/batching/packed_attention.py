"""Packed attention: one forward pass over pieces of many rows laid end to end, without padding.

It is registered with transformers as an attention function, as its continuous batching does. Each row attends to its
own past alone, by the same kernel and with the same numbers as `generate` uses for it alone. Tried with transformers
5.24.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from playbill.backends.engines.huggingface_local.batching.kv_cache import KVCache, Slot
from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads

__all__ = ["ATTENTION", "Piece", "forward", "register"]

ATTENTION = "playbill_rows"
_HALF = (torch.bfloat16, torch.float16)
_CHANGES_SCORES = ("softcap", "s_aux", "position_bias", "indices", "topk_indices")


@dataclass(frozen=True, slots=True)
class Piece:
    """The next tokens of one row, to follow what is in its slot."""

    slot: Slot
    ids: Sequence[int]


class _Pass:
    """What the attention of one forward pass has to know."""

    def __init__(
        self,
        kv_cache: KVCache,
        pieces: Sequence[Piece],
        device: torch.device,
        row_threads: RowThreads,
        fold: bool,
        windows: Sequence[int | None] | None,
    ) -> None:
        self.kv_cache = kv_cache
        self.windows = windows
        self.row_threads = row_threads
        self.fold = fold
        self.spans: list[tuple[int, int, int, int]] = []  # slot, first and last token in the pass, length with them
        begin = 0
        slots: list[int] = []
        places: list[int] = []
        for piece in pieces:
            done, new = len(piece.slot.ids), len(piece.ids)
            self.spans.append((piece.slot.index, begin, begin + new, done + new))
            slots += [piece.slot.index] * new
            places += range(done, done + new)
            begin += new
        self.prompts = sum(end - begin > 1 for _, begin, end, _ in self.spans)
        self.slots = torch.tensor(slots, device=device)
        self.places = torch.tensor(places, device=device)
        self._masks: dict[tuple[int, int, int | None], torch.Tensor] = {}

    def mask(self, new: int, length: int, window: int | None, device: torch.device) -> torch.Tensor:
        """Return which of ``length`` keys each of the last ``new`` tokens sees."""
        key = (new, length, window)
        if key not in self._masks:
            seen = torch.ones(new, length, dtype=torch.bool, device=device).tril(length - new)
            self._masks[key] = seen if window is None else seen.triu(length - new - window + 1)
        return self._masks[key]


def forward(
    model: Any,
    kv_cache: KVCache,
    pieces: Sequence[Piece],
    row_threads: RowThreads,
    *,
    fold: bool = False,
    windows: Sequence[int | None] | None = None,
) -> torch.Tensor:
    """Compute the pieces, store their keys and values, and give the logits after each piece's last token.

    Pieces of several tokens come before those of one. ``fold`` computes a single token's attention in a faster way on
    CPUs, which may change its last bit. ``windows`` are those of the layers' sliding attention, None for a whole past;
    where they are given and a layer's attention isn't told its own, NotImplementedError is raised.
    """
    device = model.get_input_embeddings().weight.device
    fold = fold and device.type == "cpu" and model.dtype in _HALF
    this = _Pass(kv_cache, pieces, device, row_threads, fold, windows)
    last = torch.tensor([span[2] - 1 for span in this.spans], device=device)
    output = model(
        input_ids=torch.tensor([[i for piece in pieces for i in piece.ids]], device=device),
        position_ids=this.places[None],
        use_cache=False,
        logits_to_keep=last,
        playbill_pass=this,
    )
    for piece in pieces:
        piece.slot.ids.extend(piece.ids)
    logits: torch.Tensor = output.logits[0]
    return logits


def register() -> None:
    """Make the attention known to transformers, under the name `ATTENTION`."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attend)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    playbill_pass: _Pass,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    if strange := [name for name in _CHANGES_SCORES if others.get(name) is not None]:
        raise NotImplementedError(f"attention with {', '.join(strange)}")
    if attention_mask is not None and attention_mask.is_floating_point():
        raise NotImplementedError("attention with a mask that the model computes")
    this = playbill_pass
    if this.windows is not None and this.windows[module.layer_idx] != sliding_window:
        raise NotImplementedError("sliding attention by a mask")
    keys, values = this.kv_cache.write(module.layer_idx, key, value, this.slots, this.places)

    def attend(span: tuple[int, int, int, int]) -> torch.Tensor:
        slot, begin, end, length = span
        new, start = end - begin, 0
        if new == 1 and sliding_window is not None:
            start = max(0, length - sliding_window)
        asking = query[:, :, begin:end]
        known = keys[slot : slot + 1, :, start:length], values[slot : slot + 1, :, start:length]
        if new == 1:
            return (_attend_folded if this.fold else _attend_one)(asking, *known, scaling)
        whole = new == length and (sliding_window is None or length <= sliding_window)
        return scaled_dot_product_attention(
            asking,
            *known,
            attn_mask=None if whole else this.mask(new, length, sliding_window, query.device),
            is_causal=whole,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )

    prompts = [attend(span) for span in this.spans[: this.prompts]]
    results = prompts + this.row_threads.map(attend, this.spans[this.prompts :])
    return torch.cat(results, dim=2).transpose(1, 2).contiguous(), None


def _attend_one(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """Return the attention of a row's one new token, of shape (1, heads, 1, width), as transformers computes it."""
    grouped = query.shape[1] != keys.shape[1]
    return scaled_dot_product_attention(query, keys, values, scale=scaling, enable_gqa=grouped)


def _attend_folded(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Return the same, 2 to 13 times as fast on a CPU in half precision, where the kernel is slow for one query a head.

    Queries that share a head of keys are laid side by side; where none do, the one stands twice.
    """
    heads, shared = query.shape[1], keys.shape[1]
    if heads == shared:
        return scaled_dot_product_attention(query.expand(-1, -1, 2, -1), keys, values, scale=scaling)[:, :, :1]
    together = query.reshape(1, shared, heads // shared, query.shape[3])
    return scaled_dot_product_attention(together, keys, values, scale=scaling).reshape(1, heads, 1, -1)
