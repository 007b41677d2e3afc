"""The self-test on load: whether a row's numbers depend on its company, bit by bit, on the path that will run.

The same rows are computed in other places, beside other rows with outliers, on other pages and in passes of other
sizes, with the real weights. Logits, keys and values must have the same bits; where they don't, the first layer that
differs is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from playbill.backends.engines.huggingface_local.batching.attention import ROWS, Pass, Span, attend_prompts
from playbill.backends.engines.huggingface_local.batching.kv_cache import Run
from playbill.backends.engines.huggingface_local.batching.step import MOST_PIECES, Piece, Step

__all__ = ["Difference", "alike_rows", "alike_tokens", "find_difference", "is_wrong", "pieces_join"]

_OUTLIER = 1000.0
_STRETCHES = ((0, 96), (64, 192), (256, 768), (480, 640), (1120, 1504))
"""Parts of a prompt whose attention is tried: short and long, over the edges of what kernels take at once."""
_WINDOW = 100
_LONG = 9
"""Tokens of the one long row beyond the first border."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a row's numbers first depend on its company: ``layer`` is a number, None for the logits alone."""

    layer: int | None

    def __str__(self) -> str:
        if self.layer is None:
            return "the last layer or the head"
        return f"what comes into layer {self.layer}, or is made of it,"


@dataclass(frozen=True, slots=True)
class _Row:
    run: Run
    ids: Sequence[int]


class _Trial:
    """A step of answers after prompts, whose bits are compared with another's."""

    def __init__(self, step: Step, prompts: Sequence[Sequence[int]], *, ahead: int = 0) -> None:
        """Take runs for the prompts, after ``ahead`` others, so that they are on other pages."""
        self._step = step
        for _ in range(ahead):
            step.kv_cache.take(1)
        runs = [step.kv_cache.take(len(ids) + 1) for ids in prompts]
        self.rows = [_Row(run, ids) for run, ids in zip(runs, prompts, strict=True) if run is not None]

    def prompts(self, order: Sequence[int], size: int | None = None) -> torch.Tensor:
        """Return the logits after prompts, of the rows in their order in one pass."""
        border, pieces, ends = self._step.border, list[Piece](), list[int]()
        for row in (self.rows[i] for i in order):
            pieces += [Piece(row.run, at, row.ids[at : at + border]) for at in range(0, len(row.ids), border)]
            ends.append(len(pieces) - 1)
        return self._step.prompts(pieces, ends, size=size).logits.clone()

    def answers(self, order: Sequence[int], size: int | None = None) -> torch.Tensor:
        """Return the logits after one more token of each row."""
        pieces = [Piece(row.run, len(row.ids), [row.ids[0]]) for row in (self.rows[i] for i in order)]
        return self._step.answers(pieces, size=size).logits.clone()

    def stored(self, layer: int, row: int) -> list[torch.Tensor]:
        """Return copies of what a layer has stored of a row, its next token with it."""
        run, length = self.rows[row].run, len(self.rows[row].ids) + 1
        return [pool[:, :, run.start : run.start + length].clone() for pool in self._step.kv_cache.pools[layer]]

    def everything(self, rows: Sequence[int]) -> list[torch.Tensor]:
        """Return copies of what all layers have stored of some rows."""
        return [each for layer in sorted(self._step.kv_cache.pools) for row in rows for each in self.stored(layer, row)]

    def end(self) -> None:
        self._step.kv_cache.runs.clear()


def find_difference(step: Step) -> Difference | None:
    """Compute rows in one company and in another; return where they differ, None where they don't."""
    own, others = _prompts(step, 0), _prompts(step, 1)
    order = list(range(len(own)))
    first = _Trial(step, own)
    logits = first.prompts(order), first.answers(order)
    layers = sorted(step.kv_cache.pools)
    kept = {layer: [first.stored(layer, row) for row in order] for layer in layers}
    first.end()
    # Each second row is another one now, with outliers, and all are in the opposite places.
    mixed = [other if row % 2 else ids for row, (ids, other) in enumerate(zip(own, others, strict=True))]
    second = _Trial(step, mixed, ahead=1)
    same = order[::2]
    turned = order[::-1]
    with _outliers(step, [row % 2 == 1 for row in turned for _ in mixed[row]]):
        after = second.prompts(turned)
    with _outliers(step, [row % 2 == 1 for row in turned]):
        then = second.answers(turned)
    pairs = [(row, turned.index(row)) for row in same]
    alike = all(torch.equal(logits[0][a], after[b]) and torch.equal(logits[1][a], then[b]) for a, b in pairs)
    differing = (n for n in layers if any(not _equal(kept[n][row], second.stored(n, row)) for row in same))
    layer = next(differing, None)
    second.end()
    return None if alike and layer is None else Difference(layer)


def alike_rows(step: Step, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return those numbers of rows at which a step of answers has the bits that it has with the most."""
    own = _prompts(step, 0)
    trial, order = _Trial(step, own), list(range(len(own)))
    trial.prompts(order)
    whole = trial.answers(order, step.most_rows)

    def is_alike(size: int) -> bool:
        rows = order[:size]
        kept = trial.everything(rows)
        some = trial.answers(rows, size)
        return torch.equal(some[: len(rows)], whole[: len(rows)]) and _equal(kept, trial.everything(rows))

    smaller = [size for size in sizes if size < step.most_rows]
    found = [size for size in _alike_linears(step, smaller, step.most_rows, head=True) if is_alike(size)]
    trial.end()
    return (*found, step.most_rows)


def alike_tokens(step: Step, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return those sizes of a pass over prompts that give the bits of the largest."""
    most = step.tokens[-1]
    own = _prompts(step, 0)
    trial = _Trial(step, own)
    whole = trial.prompts(list(range(len(own))))

    def is_alike(size: int) -> bool:
        rows, room = list[int](), size
        for row, ids in enumerate(own):  # the long row where it has room, and short ones beside it
            if len(ids) <= room:
                rows.append(row)
                room -= len(ids)
        kept = trial.everything(rows)
        some = trial.prompts(rows, size)
        return torch.equal(some[: len(rows)], whole[rows]) and _equal(kept, trial.everything(rows))

    smaller = [size for size in sizes if size < most]
    found = [size for size in _alike_linears(step, smaller, most, head=False) if is_alike(size)]
    trial.end()
    return (*found, most)


def pieces_join(step: Step) -> bool:
    """Tell whether attention over whole pieces of a prompt that follow each other has the same bits in one call as in
    one for each, on the kernels that compute it row by row. In bfloat16 it has; in other formats sums go by length."""
    heads = getattr(step.model.config.get_text_config(decoder=True), "num_attention_heads", None)
    if step.way != ROWS or not isinstance(heads, int):
        return False
    pools = step.kv_cache.pools.values()
    shapes = {(keys.shape[1], keys.shape[3], values.shape[3], keys.dtype) for keys, values in pools}
    return all(
        heads % shared == 0 and _joins(step, heads, shared, widths, dtype, begin, end)
        for shared, *widths, dtype in shapes
        for begin, end in _STRETCHES
    )


def _joins(
    step: Step, heads: int, shared: int, widths: Sequence[int], dtype: torch.dtype, begin: int, end: int
) -> bool:
    draw = torch.Generator().manual_seed(end)
    tensors = [(heads, end - begin, widths[0]), *((shared, end, width) for width in widths)]
    query, keys, values = (torch.randn(1, *shape, generator=draw).to(dtype) for shape in tensors)
    spans = [Span(0, at - begin, at - begin + step.border, at + step.border) for at in range(begin, end, step.border)]
    found = []
    for joins in (False, True):
        this = Pass(
            kv_cache=step.kv_cache,
            way=ROWS,
            size=end - begin,
            widest=step.border,
            longest=end,
            row_threads=step.row_threads,
            joins=joins,
            spans=spans,
        )
        found += [attend_prompts(this, query, keys, values, window, None) for window in (None, _WINDOW)]
    return torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])


def _alike_linears(step: Step, sizes: Sequence[int], most: int, *, head: bool) -> list[int]:
    """Return those sizes at which the kernels of the model's linear layers sum as they do at the largest.

    The model's own numbers seldom show a difference, in half precision. So each shape is tried with weights and inputs
    whose sums nearly vanish, where the last bits of what is summed are hundreds of times as often seen.
    """
    output = step.model.get_output_embeddings()
    found, seen = list(sizes), set[Any]()
    for module in step.model.modules():
        weight = getattr(module, "weight", None)
        if type(module) is not torch.nn.Linear or weight is None or weight.is_meta or (module is output and not head):
            continue
        key = (weight.shape, weight.dtype, weight.device, module.bias is None)
        if key in seen:
            continue
        seen.add(key)
        half, width = weight.shape[1] // 2, weight.shape[1]
        twice = torch.cat([weight[:, :half], weight[:, :half], weight[:, 2 * half :]], 1)
        draw = torch.randn(most, width, generator=torch.Generator().manual_seed(width))
        noise = torch.randn(most, width, generator=torch.Generator().manual_seed(most))
        rows = torch.cat([draw[:, :half], -draw[:, :half], draw[:, 2 * half :]], 1) * _OUTLIER + noise
        rows = rows.to(weight.dtype).to(weight.device)
        whole = linear(rows, twice, module.bias)
        found = [size for size in found if _sums_alike(rows, twice, module.bias, whole, size)]
    return found


def _sums_alike(rows: torch.Tensor, weight: torch.Tensor, bias: Any, whole: torch.Tensor, size: int) -> bool:
    begins = {0, (len(rows) - size) // 2, len(rows) - size}
    return all(torch.equal(linear(rows[at : at + size], weight, bias), whole[at : at + size]) for at in begins)


def is_wrong(step: Step, usual: str) -> str | None:
    """Compare two short rows with what the model's usual attention gives for each alone; why the step can't be taken
    where they differ. The step learns by it where the model's last layer is."""
    model, vocabulary = step.model, step.model.get_input_embeddings().weight.shape[0]
    rows = [[(7919 * (i + 1) * (row + 1)) % vocabulary for i in range(11 + row)] for row in (0, 3)]
    ours = model.config._attn_implementation
    model.set_attn_implementation(usual)
    alone = [model(torch.tensor([ids], device=step.device), use_cache=False).logits[0, -1] for ids in rows]
    model.set_attn_implementation(ours)
    trial = _Trial(step, [ids[:-1] for ids in rows])
    with _last_device(step):
        step.answers([Piece(row.run, 0, row.ids[:1]) for row in trial.rows])
    for begin, end in ((0, 4), (4, -1)):
        pieces = [Piece(row.run, begin, ids[begin:end]) for row, ids in zip(trial.rows, rows, strict=True)]
        step.prompts(pieces, [0, 1])
    last = [Piece(row.run, len(row.ids), ids[-1:]) for row, ids in zip(trial.rows, rows, strict=True)]
    together = step.answers(last).logits
    trial.end()
    differs = any((a - b).float().std() > 0.1 * b.float().std() for a, b in zip(together, alone, strict=False))
    return f"{type(model).__name__} computes something else for several rows" if differs else None


def _prompts(step: Step, seed: int) -> list[list[int]]:
    """Return prompts that fill a pass: one that is cut, and short ones."""
    vocabulary = step.model.get_input_embeddings().weight.shape[0]
    count = min(step.most_rows, MOST_PIECES - 1)
    long = step.border + _LONG
    short = max(1, min(_LONG, (step.tokens[-1] - long) // max(1, count - 1)))
    lengths = [long] + [short] * (count - 1)
    return [[(7919 * (i + 1) * (row + 1) + seed) % vocabulary for i in range(n)] for row, n in enumerate(lengths)]


def _equal(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    return all(map(torch.equal, some, others))


@contextmanager
def _last_device(step: Step) -> Iterator[None]:
    """Note on which device the head gets what the layers make."""
    head = step.model.get_output_embeddings()

    def note(module: Any, given: tuple[torch.Tensor, ...]) -> None:
        step.last_device = given[0].device

    hook = head.register_forward_pre_hook(note) if head is not None else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


@contextmanager
def _outliers(step: Step, tokens: Sequence[bool]) -> Iterator[None]:
    """Let some of a pass's tokens have numbers far from the usual in what comes into each layer."""
    names = [name for name, module in step.model.named_modules() if getattr(module, "layer_idx", None) is not None]
    layers = {name.rpartition(".")[0] for name in names}

    def spoil(module: Any, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not given or not isinstance(given[0], torch.Tensor) or given[0].dim() != 3:
            return None
        hidden = given[0].clone()
        chosen = torch.tensor(tokens, device=hidden.device).nonzero()[:, 0]
        hidden[:, chosen, ::89] = _OUTLIER
        return (hidden, *given[1:])

    hooks = [step.model.get_submodule(name).register_forward_pre_hook(spoil) for name in layers if name]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
