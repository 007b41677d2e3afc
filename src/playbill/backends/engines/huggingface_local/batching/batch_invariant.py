"""Batch-invariant linear layers: a row's output is bitwise the same alone and in a batch.

A kernel may sum in another order when it multiplies more rows at once. In half precision the last bits differ then,
and a greedy answer changes at a near tie. PyTorch promises no batch invariance, so each shape of a model's layers is
tried on this machine when the model loads. Knows no dialogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import linear, scaled_dot_product_attention

from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads

__all__ = ["RowWise"]

_HALF = (torch.bfloat16, torch.float16)
_SIZES = (64, 32, 16, 8, 4, 2)
_BEGINNINGS = (512, 256, 128, 64)
_LEAST_REST = 32
_HEADS = 8


class RowWise:
    """Make a model's linear layers in half precision compute each row as if it were alone; float32 stays as it is.

    ``beginnings`` are prefix lengths, in tokens, at which prefix caching changes no bit: of the prefix, or of what
    follows.
    """

    def __init__(self, model: Any, row_threads: RowThreads) -> None:
        self._row_threads = row_threads
        self._active = False
        self._changed: list[tuple[torch.nn.Linear, Any]] = []
        # Weights that are not here but when they are needed can't be tried.
        pieces = model.dtype in _HALF and not any(p.is_meta for p in model.parameters())
        tried: dict[tuple[Any, ...], int] = {}
        for module in model.modules():
            if type(module) is not torch.nn.Linear or module.weight.dtype not in _HALF or module.weight.is_meta:
                continue
            key = (module.weight.shape, module.weight.dtype, module.weight.device)
            if key not in tried:
                tried[key] = _most_alike(module.weight)
                pieces = pieces and _has_pieces(module.weight)
            if tried[key] < _SIZES[0]:
                self._changed.append((module, module.__dict__.get("forward")))
                module.forward = self._in_groups(module, tried[key])  # type: ignore[method-assign]
        self.beginnings = tuple(b for b in _BEGINNINGS if pieces and _keeps_beginning(model, b))

    def sure_beginning(self, most: int, length: int) -> int:
        """Return how many of ``most`` known tokens needn't be computed again for a prompt of this length."""
        return next((b for b in self.beginnings if b <= min(most, length - _LEAST_REST)), 0)

    @contextmanager
    def one_each(self) -> Iterator[None]:
        """While the next token of several rows is computed; a prompt's tokens are computed as they come."""
        self._active = True
        try:
            yield
        finally:
            self._active = False

    def close(self) -> None:
        """Leave the model as it was, so that nothing of it refers to itself and its memory is free at once."""
        for module, before in self._changed:
            del module.forward
            if before is not None:
                module.forward = before  # type: ignore[method-assign]
        self._changed.clear()

    def _in_groups(self, module: torch.nn.Linear, size: int) -> Any:
        compute: Callable[[torch.Tensor], torch.Tensor] = module.forward  # with the hooks of those who spread a model

        def forward(x: torch.Tensor) -> torch.Tensor:
            if not self._active or x.shape[-2] <= size:
                return compute(x)
            return torch.cat(self._row_threads.map(compute, torch.split(x, size, dim=-2)), dim=-2)

        return forward


def _draw(weight: torch.Tensor, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(weight)


def _most_alike(weight: torch.Tensor) -> int:
    """Return how many rows a layer with these weights takes at once with the bits that each gets alone."""
    rows = _draw(weight, _SIZES[0], weight.shape[1])
    alone = torch.cat([linear(row, weight) for row in torch.split(rows, 1)])
    parted = ((size, [linear(part, weight) for part in torch.split(rows, size)]) for size in _SIZES)
    return next((size for size, parts in parted if torch.equal(torch.cat(parts), alone)), 1)


def _has_pieces(weight: torch.Tensor) -> bool:
    """Tell whether a layer gives some of a prompt's tokens the bits that they have within the whole."""
    rows = _draw(weight, 300, weight.shape[1])
    whole = linear(rows, weight)
    cuts = ((0, 64), (64, 192), (128, 300), (300 - _LEAST_REST, 300))
    return all(torch.equal(linear(rows[a:b], weight), whole[a:b]) for a, b in cuts)


def _keeps_beginning(model: Any, beginning: int) -> bool:
    """Tell whether attention gives so many first tokens, and those after them, the bits of a whole prompt of any
    length."""
    config = model.config.get_text_config()
    if getattr(config, "sliding_window", None):
        return False
    group = config.num_attention_heads // (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    weight = model.get_input_embeddings().weight
    known = None
    for length in (beginning, beginning + _LEAST_REST + 3, 2 * beginning + 41, 3 * beginning + 7):
        query = _draw(weight, 1, _HEADS * group, 3 * beginning + 7, width)[:, :, :length]
        keys, values = _draw(weight, 2, 1, _HEADS, 3 * beginning + 7, width)[..., :length, :]
        whole = scaled_dot_product_attention(query, keys, values, is_causal=True, enable_gqa=group > 1)
        known = whole if known is None else known
        seen = torch.ones(length - beginning, length, dtype=torch.bool, device=weight.device).tril(beginning)
        rest = scaled_dot_product_attention(query[:, :, beginning:], keys, values, attn_mask=seen, enable_gqa=group > 1)
        if not torch.equal(torch.cat([known, rest], dim=2), whole):
            return False
    return True
