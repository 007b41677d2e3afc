"""A KV cache of pages in one pool a layer, taken once and never grown.

A row holds a run of pages side by side, so that the same pool serves kernels that take a table of pages and kernels
that take one piece of memory. Pools begin as zeros, which a system gives without touching them, and lie on their
layer's own device. Knows no model and no request.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import torch

__all__ = ["PAGE", "KVCache", "Run", "pages_for", "pages_within"]

PAGE = 256
"""Tokens of a page, as torch's paged attention wants them."""
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
_PADDING = 1
"""Pages at the beginning of a pool that padding is written to."""


@dataclass(slots=True, eq=False)
class Run:
    """The pages of one row. ``ids`` are those whose keys and values are in it, of which the first ``prefilled`` were
    computed as a prompt; ``busy`` says that a request uses it."""

    first: int
    pages: int
    ids: list[int] = field(default_factory=list)
    prefilled: int = 0
    busy: bool = True
    used: int = 0

    @property
    def start(self) -> int:
        """The place of its first token in the pool."""
        return self.first * PAGE

    @property
    def room(self) -> int:
        """How many tokens it can hold."""
        return self.pages * PAGE


class KVCache:
    """Runs of rows in use, and of earlier turns as long as their pages aren't needed."""

    def __init__(self, pages: int) -> None:
        self.pages = pages + _PADDING
        self.runs: list[Run] = []
        self._pools: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._clock = 0

    @property
    def pools(self) -> Mapping[int, tuple[torch.Tensor, torch.Tensor]]:
        """Each layer's keys and values, of shape (1, heads, tokens of all pages, width)."""
        return self._pools

    @property
    def page_bytes(self) -> Mapping[torch.device, int]:
        """How many bytes a page takes on each device, in all layers that have been written to."""
        found: dict[torch.device, int] = {}
        for t in (tensor for pair in self._pools.values() for tensor in pair):
            found[t.device] = found.get(t.device, 0) + t.shape[1] * PAGE * t.shape[3] * t.element_size()
        return found

    def take(self, tokens: int, spare: Run | None = None) -> Run | None:
        """Return a run for so many tokens, all of the pool at the most; None where busy runs leave no room. Runs that
        are only kept are given up for it, the longest unused first, but not ``spare``."""
        wanted = min(pages_for(tokens), self.pages - _PADDING)
        while (first := self._gap(wanted)) is None:
            idle = [run for run in self.runs if not run.busy and run is not spare]
            if not idle:
                return None
            self.drop(min(idle, key=lambda run: run.used))
        self._clock += 1
        run = Run(first, wanted, used=self._clock)
        self.runs.append(run)
        return run

    def keep(self, run: Run) -> None:
        """The request is done; what was computed for it stays as long as there is room."""
        run.busy = False
        run.pages = pages_for(len(run.ids))

    def drop(self, run: Run) -> None:
        self.runs.remove(run)

    def drop_idle(self) -> bool:
        """Forget all that is only kept; whether there was anything."""
        busy = [run for run in self.runs if run.busy]
        found = len(busy) < len(self.runs)
        self.runs = busy
        return found

    def clean(self, run: Run) -> None:
        """Overwrite what a run holds: numbers that aren't finite would reach its next owner through a mask."""
        end = run.start + min(run.room, len(run.ids) + PAGE)
        for tensor in (tensor for pair in self._pools.values() for tensor in pair):
            tensor[:, :, run.start : end] = 0

    def copy(self, source: Run, target: Run, length: int) -> None:
        """Give a run the first tokens of another."""
        for tensor in (tensor for pair in self._pools.values() for tensor in pair):
            tensor[:, :, target.start : target.start + length] = tensor[:, :, source.start : source.start + length]
        target.ids = source.ids[:length]
        target.prefilled = min(length, source.prefilled)

    def write(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor, places: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store one layer's keys and values, each (1, heads, tokens, width), and return all that the layer holds."""
        pools = self._pools.get(layer)
        if pools is None:
            pools = self._pools[layer] = _zeros(keys, self.pages * PAGE), _zeros(values, self.pages * PAGE)
        pools[0].index_copy_(2, places, keys)
        pools[1].index_copy_(2, places, values)
        return pools

    def _gap(self, wanted: int) -> int | None:
        """Return the first page of a gap between runs that has so many pages."""
        begin = _PADDING
        for run in sorted(self.runs, key=lambda run: run.first):
            if run.first - begin >= wanted:
                return begin
            begin = run.first + run.pages
        return begin if self.pages - begin >= wanted else None


def _zeros(like: torch.Tensor, tokens: int) -> torch.Tensor:
    """Return a pool for keys or values like these. On a CPU its memory is taken as it is written to."""
    shape = (1, like.shape[1], tokens, like.shape[3])
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    memory = mmap.mmap(-1, like.element_size() * prod(shape), **_PRIVATE)
    return torch.frombuffer(memory, dtype=like.dtype).view(shape)


def pages_within(free: Mapping[torch.device, int], page_bytes: Mapping[torch.device, int]) -> int:
    """Return how many pages fit where each takes so many bytes of so many that are free on each device.

    >>> pages_within({torch.device("cuda", 0): 80, torch.device("cuda", 1): 10}, {torch.device("cuda", 1): 3})
    3
    """
    return min(free[device] // size for device, size in page_bytes.items())


def pages_for(tokens: int) -> int:
    """Return how many pages so many tokens take."""
    return max(1, -(-tokens // PAGE))
