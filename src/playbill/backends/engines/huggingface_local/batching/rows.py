"""The decoder for many rows at once, with prefix caching across the turns of a dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from playbill.backends.common.prefixes import shared_length
from playbill.backends.engines.huggingface_local.batching.batch_invariant import RowWise
from playbill.backends.engines.huggingface_local.batching.kv_cache import KVCache, Slot
from playbill.backends.engines.huggingface_local.batching.packed_attention import Piece, forward
from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads
from playbill.backends.engines.huggingface_local.sequence import SampledSequence

__all__ = ["BatchDecoder"]


class BatchDecoder:
    """Advances up to ``most_rows`` rows with each forward pass: one token of those that answer, and up to ``chunk``
    prompt tokens of others, the longest first.

    What is known of a prompt's beginning, from the dialogue's earlier turns or from another dialogue, is not computed
    again. With ``rowwise`` each row gets the bits that it gets alone: each prompt is computed by itself, then the next
    tokens of all rows together, and only such beginnings are taken as known that have the same bits in every prompt.
    """

    def __init__(
        self,
        model: Any,
        *,
        most_rows: int,
        rowwise: RowWise | None,
        row_threads: RowThreads,
        budget: int,
        chunk: int = 512,
    ) -> None:
        self.most_rows = most_rows
        self._model = model
        self._rowwise = rowwise
        self._row_threads = row_threads
        self._chunk = chunk
        keeps = rowwise is None or rowwise.beginnings
        self._kv_cache = KVCache(most_kept=3 * most_rows if keeps else 0, budget=budget)

    def advance(self, rows: Sequence[SampledSequence]) -> list[torch.Tensor | None]:
        for row in sorted(rows, key=lambda r: len(r.ids), reverse=True):
            if row.kv_cache is None:
                self._admit(row)
        work = self._plan(rows)
        self._kv_cache.reserve(max(len(row.kv_cache.ids) + len(piece.ids) for row, piece in work))
        logits = self._forward([piece for _, piece in work])
        found: dict[int, torch.Tensor] = {}
        for (row, piece), scores in zip(work, logits, strict=True):
            row.computed += len(piece.ids)
            if not row.new_ids:
                row.kv_cache.prefilled = row.computed
            if row.computed == len(row.ids):
                found[id(row)] = scores
        return [found.get(id(row)) for row in rows]

    def _forward(self, pieces: Sequence[Piece]) -> torch.Tensor:
        if self._rowwise is None:
            return forward(self._model, self._kv_cache, pieces, self._row_threads, fold=True)
        only_next = all(len(piece.ids) == 1 for piece in pieces)
        with self._rowwise.one_each() if only_next else nullcontext():
            return forward(self._model, self._kv_cache, pieces, self._row_threads)

    def finish(self, row: SampledSequence) -> None:
        """The row is complete; its dialogue may go on."""
        if row.kv_cache is not None:
            self._kv_cache.keep(row.kv_cache)
            row.kv_cache = None

    def forget(self, row: SampledSequence) -> None:
        if row.kv_cache is not None:
            self._kv_cache.drop(row.kv_cache)
        row.kv_cache, row.computed = None, 0

    @property
    def kept_tokens(self) -> int:
        """How many tokens' keys and values are kept for dialogues that aren't being answered."""
        return sum(len(slot.ids) for slot in self._kv_cache.slots if not slot.busy)

    @property
    def beginnings(self) -> Sequence[int]:
        """The lengths in tokens at which the beginning of a prompt is sure to have the same bits in another one."""
        return self._rowwise.beginnings if self._rowwise is not None else ()

    def make_room(self) -> bool:
        return self._kv_cache.drop_idle()

    def close(self) -> None:
        self._row_threads.close()
        if self._rowwise is not None:
            self._rowwise.close()

    def _admit(self, row: SampledSequence) -> None:
        """Give a row its slot, with the longest known beginning of its ids."""
        self._kv_cache.reserve(len(row.ids), more=1)
        usable = [(self._usable(slot, row), not slot.busy, slot.used, slot) for slot in self._kv_cache.slots]
        length, idle, _, best = max(usable, key=lambda u: u[:3], default=(0, False, 0, None))
        if best is None or length == 0:
            slot = self._kv_cache.take(None)
        else:
            # What was kept of another dialogue stays, unless most of it is what this one begins with.
            slot = self._kv_cache.take(best if idle and length >= len(best.ids) // 2 else None)
            self._kv_cache.copy(best, slot, length)
        row.kv_cache, row.computed = slot, length
        row.cached = max(row.cached or 0, length)

    def _usable(self, slot: Slot, row: SampledSequence) -> int:
        """Return how many of a row's ids needn't be computed, since a slot has them."""
        shared = min(shared_length(slot.ids, row.ids), len(row.ids) - 1)  # the last id is always computed
        if self._rowwise is None:
            return shared
        return self._rowwise.sure_beginning(min(shared, slot.prefilled), len(row.ids))

    def _plan(self, rows: Sequence[SampledSequence]) -> list[tuple[SampledSequence, Piece]]:
        """Return what is computed in one pass."""
        waiting = sorted(rows, key=lambda r: len(r.ids) - r.computed, reverse=True)
        if self._rowwise is not None and len(waiting[0].ids) - waiting[0].computed > 1:
            return [_work(waiting[0], None)]
        room = self._chunk
        work = []
        for row in waiting:
            missing = len(row.ids) - row.computed
            if missing == 1 or room > 0:
                work.append(_work(row, room if missing > 1 else None))
                room -= missing if missing > 1 else 0
        return work


def _work(row: SampledSequence, most: int | None) -> tuple[SampledSequence, Piece]:
    end = None if most is None else row.computed + most
    return row, Piece(row.kv_cache, row.ids[row.computed : end])
