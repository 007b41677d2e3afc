"""Attention for the rows of one forward pass, each over its own past alone, in one of three ways.

It is registered with transformers as an attention function, as its continuous batching does. `VARLEN` is torch's own
attention over pages, one call a layer; `MASKED` is one call of scaled_dot_product_attention under a mask; `ROWS` is a
call a row, which is fastest on a CPU. Tried with torch 2.13 and transformers 5.24.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from playbill.backends.engines.huggingface_local.batching.kv_cache import PAGE, KVCache
from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads

__all__ = ["ATTENTION", "MASKED", "ROWS", "VARLEN", "Pass", "Span", "attend_prompts", "register"]

ATTENTION = "playbill_rows"
VARLEN, MASKED, ROWS = "varlen", "masked", "rows"
_CHANGES_SCORES = ("softcap", "s_aux", "position_bias", "indices", "topk_indices")


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of one row in a pass: from ``begin`` to ``end``; the row has ``length`` tokens with them, from the place
    ``start`` of the pool on."""

    start: int
    begin: int
    end: int
    length: int


@dataclass(slots=True, kw_only=True)
class Pass:
    """What attention has to know of one forward pass of ``size`` tokens, of which those after the spans are padding.

    The tensors say the same as the spans: each token's place in the pool, where each row's tokens begin in the pass,
    how long each row is, and its first page; padding is rows as well. No row has more than ``widest`` tokens in the
    pass, nor more than ``longest`` in all. ``joins``: whole pieces of a prompt that follow each other share a call.
    """

    kv_cache: KVCache
    way: str
    size: int
    widest: int
    longest: int
    row_threads: RowThreads
    windows: Sequence[int | None] | None = None
    joins: bool = False
    spans: Sequence[Span] = ()
    numbers: Mapping[str, torch.Tensor] = field(default_factory=dict)
    _elsewhere: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    @property
    def one_each(self) -> bool:
        """Whether each row has one token: the next of an answer."""
        return self.widest == 1

    def on(self, device: torch.device) -> Mapping[str, torch.Tensor]:
        """Return the numbers on a layer's device, where they are copied once a pass, and what follows from them."""
        key = ("numbers", device)
        if key not in self._elsewhere:
            found = {name: tensor.to(device, non_blocking=True) for name, tensor in self.numbers.items()}
            found["places"] = found["places"].long()
            if self.way != ROWS:
                reach = torch.arange(-(-self.longest // PAGE), dtype=torch.int32, device=device)
                found["pages"] = (found["first"][:, None] + reach).clamp_(max=self.kv_cache.pages - 1)
            self._elsewhere[key] = found
        return self._elsewhere[key]  # type: ignore[no-any-return]

    def mask(self, new: int, length: int, window: int | None, device: torch.device) -> torch.Tensor:
        """Return which of ``length`` keys each of the last ``new`` tokens sees."""
        key = (new, length, window, device)
        if key not in self._elsewhere:
            seen = torch.ones(new, length, dtype=torch.bool, device=device).tril(length - new)
            self._elsewhere[key] = seen if window is None else seen.triu(length - new - window + 1)
        return self._elsewhere[key]  # type: ignore[no-any-return]

    def masks(self, width: int, window: int | None, device: torch.device) -> torch.Tensor:
        """Return for each row which keys of its pages each of its ``width`` tokens sees."""
        key = ("masks", window, device)
        if key not in self._elsewhere:
            numbers = self.on(device)
            begin, length = numbers["begin"], numbers["length"]
            new = (begin[1:] - begin[:-1])[:, None, None]
            here = torch.arange(width, device=device)[None, :, None] + length[:, None, None] - new
            keys = torch.arange(numbers["pages"].shape[1] * PAGE, device=device)[None, None]
            seen = (keys <= here) if window is None else (keys <= here) & (keys > here - window)
            self._elsewhere[key] = seen[:, None]
        return self._elsewhere[key]  # type: ignore[no-any-return]


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
    playbill_pass: Pass,
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
    numbers = this.on(key.device)
    keys, values = this.kv_cache.write(module.layer_idx, key, value, numbers["places"])
    if this.way == VARLEN:
        return _varlen(this, numbers, query, keys, values, sliding_window, scaling)[None], None
    if this.way == MASKED:
        return _masked(this, numbers, query, keys, values, sliding_window, scaling)[None], None
    compute = _one_each if this.one_each else attend_prompts
    return compute(this, query, keys, values, sliding_window, scaling)[None], None


def _varlen(
    this: Pass,
    numbers: Mapping[str, torch.Tensor],
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    window: int | None,
    scaling: float | None,
) -> torch.Tensor:
    """Return the attention of all tokens, of shape (tokens, heads, width). One split of a row's keys, always: more of
    them would be chosen by the longest row."""
    from torch.nn.attention.varlen import varlen_attn

    found: Any = varlen_attn(
        query[0].transpose(0, 1),
        _paged(keys),
        _paged(values),
        numbers["begin"],
        None,
        this.widest,
        numbers["pages"].shape[1] * PAGE,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != keys.shape[1],
        seqused_k=numbers["length"],
        block_table=numbers["pages"],
        num_splits=1,
    )
    whole: torch.Tensor = found
    return whole


def _paged(pool: torch.Tensor) -> torch.Tensor:
    """Return a pool seen as (pages, tokens of a page, heads, width)."""
    return pool.view(pool.shape[1], -1, PAGE, pool.shape[3]).permute(1, 2, 0, 3)


def _masked(
    this: Pass,
    numbers: Mapping[str, torch.Tensor],
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    window: int | None,
    scaling: float | None,
) -> torch.Tensor:
    """Return the attention of all tokens, of shape (tokens, heads, width), by one call over the longest row's pages."""
    heads, shared, size = query.shape[1], keys.shape[1], this.size
    pages, begin = numbers["pages"], numbers["begin"]
    known, said = (_paged(pool)[pages].flatten(1, 2).transpose(1, 2) for pool in (keys, values))
    if this.one_each:
        asking = query[0].transpose(0, 1)[:, :, None]
    else:  # each row's tokens from its own first one on; what lies beyond them is another's, and isn't taken back
        places = (begin[:-1, None] + torch.arange(this.widest, device=query.device)).clamp_(max=size - 1)
        asking = query[0].transpose(0, 1)[places].transpose(1, 2)
    seen = this.masks(asking.shape[2], window, query.device)
    found = scaled_dot_product_attention(asking, known, said, attn_mask=seen, scale=scaling, enable_gqa=heads != shared)
    if this.one_each:
        return found[:, :, 0]
    row = torch.bucketize(torch.arange(size, dtype=torch.int32, device=query.device), begin[1:], right=True)
    return found[row, :, torch.arange(size, device=query.device) - begin[row]]


def attend_prompts(
    this: Pass,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    window: int | None,
    scaling: float | None,
) -> torch.Tensor:
    """Return the attention of pieces of prompts, row by row or piece by piece, of shape (tokens, heads, width)."""
    results = []
    for span in _joined(this.spans, this.widest) if this.joins else this.spans:
        new = span.end - span.begin
        whole = new == span.length and (window is None or new <= window)
        known, said = (pool[:, :, span.start : span.start + span.length] for pool in (keys, values))
        found = scaled_dot_product_attention(
            query[:, :, span.begin : span.end],
            known,
            said,
            attn_mask=None if whole else this.mask(new, span.length, window, query.device),
            is_causal=whole,
            scale=scaling,
            enable_gqa=query.shape[1] != keys.shape[1],
        )
        results.append(found[0].transpose(0, 1))
    return torch.cat([*results, *_padding(this, results[0])])


def _joined(spans: Sequence[Span], border: int) -> Iterator[Span]:
    """Yield spans, with whole pieces of a row that follow each other as one."""
    begun: Span | None = None
    for span in spans:
        follows = begun is not None and span.start == begun.start and span.begin == begun.end
        if begun is not None and follows and begun.length % border == span.length % border == 0:
            begun = Span(begun.start, begun.begin, span.end, span.length)
            continue
        if begun is not None:
            yield begun
        begun = span
    if begun is not None:
        yield begun


def _one_each(
    this: Pass,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    window: int | None,
    scaling: float | None,
) -> torch.Tensor:
    """Return the attention of rows of one token each, row by row, of shape (rows, heads, width).

    Queries that share a head of keys are laid side by side, 2 to 4 times as fast on a CPU, but not in bfloat16.
    """
    heads, shared, width = query.shape[1], keys.shape[1], query.shape[3]
    together = heads != shared and query.dtype != torch.bfloat16
    laid = (shared, heads // shared) if together else (heads, 1)
    asking = query[0].reshape(*laid, this.size, width).permute(2, 0, 1, 3)

    def attend(span: Span) -> torch.Tensor:
        past = span.length if window is None else min(window, span.length)
        known, said = (pool.narrow(2, span.start + span.length - past, past) for pool in (keys, values))
        row = asking[span.begin : span.end]
        return scaled_dot_product_attention(row, known, said, scale=scaling, enable_gqa=laid[0] != shared)

    results = this.row_threads.map(attend, this.spans)
    return torch.cat([*results, *_padding(this, results[0])]).reshape(this.size, heads, width)


def _padding(this: Pass, like: torch.Tensor) -> list[torch.Tensor]:
    """Return what stands for the attention of padding, which nobody reads: zeros."""
    rest = this.size - this.spans[-1].end
    return [like.new_zeros((rest, *like.shape[1:]))] if rest else []
