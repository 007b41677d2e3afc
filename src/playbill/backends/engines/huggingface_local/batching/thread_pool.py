"""Share rows among threads, each of which computes its rows alone.

A kernel that takes microseconds loses more by being spread over cores than it wins. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from playbill.backends.engines.machine.process_state import compute_with_threads

__all__ = ["RowThreads"]

_T = TypeVar("_T")
_LEAST = 4


class RowThreads:
    """As many threads as the engine may use on a CPU; with one, or elsewhere than on a CPU, the caller does it all."""

    def __init__(self, threads: int | None) -> None:
        self._size = threads or 1
        self._pool: ThreadPoolExecutor | None = None
        if self._size > 1:
            self._pool = ThreadPoolExecutor(self._size, "playbill-rows", compute_with_threads, (1,))

    def map(self, compute: Callable[[_T], torch.Tensor], items: Sequence[_T]) -> list[torch.Tensor]:
        """Return what ``compute`` makes of each item, in their order, each computed by one thread: with more, a kernel
        may sum in another order."""
        if self._pool is None:
            return [compute(item) for item in items]
        if len(items) < _LEAST:
            compute_with_threads(1)
            try:
                return [compute(item) for item in items]
            finally:
                compute_with_threads(self._size)

        @torch.inference_mode()
        def share(part: Sequence[_T]) -> list[torch.Tensor]:
            return [compute(item) for item in part]

        size = -(-len(items) // self._size)
        parts = [items[i : i + size] for i in range(0, len(items), size)]
        return [made for part in self._pool.map(share, parts) for made in part]

    def close(self) -> None:
        """End the threads. Idempotent."""
        if self._pool is not None:
            self._pool.shutdown()
