"""The decoder interface, and the decoder for one row at a time, which works for every model of transformers.

It is the reference for exactness: decoders for several rows are tested against it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from playbill.backends.engines.huggingface_local.sequence import SampledSequence

__all__ = ["Decoder", "SingleDecoder"]


class Decoder(Protocol):
    """Computes what comes next in some rows."""

    most_rows: int
    """How many rows are computed together at the most."""

    def advance(self, rows: Sequence[SampledSequence]) -> list[torch.Tensor | None]:
        """Return one step: the logits of each row's next token, or None where more of its ids must be computed
        first."""
        ...

    def finish(self, row: SampledSequence) -> None:
        """The row is complete; what is known of it may be kept for its dialogue's next turn."""
        ...

    def forget(self, row: SampledSequence) -> None:
        """Free what is kept for a row; its ids can be computed anew."""
        ...

    def make_room(self) -> bool:
        """Free what is kept for dialogues that aren't being answered; whether there was anything."""
        ...

    def close(self) -> None:
        """End threads, and leave the model as it was."""
        ...


class SingleDecoder:
    """One row after the other, each with transformers' own cache."""

    most_rows = 1

    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = model.get_input_embeddings().weight.device
        # transformers 5.24 gave the argument and the output another name.
        named = inspect.signature(model.forward).parameters
        self._cache = next((name for name in ("past_key_values", "cache") if name in named), "cache_params")

    def advance(self, rows: Sequence[SampledSequence]) -> list[torch.Tensor | None]:
        return [self._next(row) for row in rows]

    def finish(self, row: SampledSequence) -> None:
        self.forget(row)

    def make_room(self) -> bool:
        return False

    def forget(self, row: SampledSequence) -> None:
        row.kv_cache, row.computed = None, 0

    def close(self) -> None:
        return

    def _next(self, row: SampledSequence) -> torch.Tensor:
        ids = torch.tensor([row.ids[row.computed :]], device=self._device)
        output = self._model(input_ids=ids, **{self._cache: row.kv_cache}, use_cache=True, logits_to_keep=1)
        row.kv_cache, row.computed = output[self._cache], len(row.ids)
        logits: torch.Tensor = output.logits[0, -1]
        return logits
