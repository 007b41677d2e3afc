"""Linear layers that give several rows, bit by bit, what each gets alone. Tried on this machine, for each shape.

A kernel may add in another order when it multiplies more rows at once; the last bits of a number in half precision show
it, and a greedy answer turns over at a near tie. Knows nothing of dialogues.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import linear

__all__ = ["RowWise"]

_HALF = (torch.bfloat16, torch.float16)
_SIZES = (64, 32, 16, 8, 4, 2)


class RowWise:
    """Makes a model's linear layers compute rows as if each were alone, in half precision; float32 stays as it is.

    ``layers`` is how many of them compute the rows of a `one_each` in groups, or one by one.
    """

    def __init__(self, model: Any) -> None:
        self._active = False
        self.layers = 0
        tried: dict[tuple[Any, ...], int] = {}
        for module in model.modules():
            if type(module) is not torch.nn.Linear or module.weight.dtype not in _HALF:
                continue
            key = (module.weight.shape, module.weight.dtype, module.weight.device)
            if key not in tried:
                tried[key] = _most_alike(module.weight)
            if tried[key] < _SIZES[0]:
                self.layers += 1
                module.forward = self._in_groups(module, tried[key])  # type: ignore[method-assign]

    @contextmanager
    def one_each(self) -> Iterator[None]:
        """While the next token of several rows is computed; a prompt's tokens are computed as they come."""
        self._active = True
        try:
            yield
        finally:
            self._active = False

    def _in_groups(self, module: torch.nn.Linear, size: int) -> Any:
        def forward(x: torch.Tensor) -> torch.Tensor:
            if not self._active or x.shape[-2] <= size:
                return linear(x, module.weight, module.bias)
            return torch.cat(
                [linear(part, module.weight, module.bias) for part in torch.split(x, size, dim=-2)], dim=-2
            )

        return forward


def _most_alike(weight: torch.Tensor) -> int:
    """How many rows a layer with these weights takes at once with the bits that each gets alone."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(_SIZES[0], weight.shape[1], generator=draw).to(weight)
    alone = torch.cat([linear(row, weight) for row in torch.split(rows, 1)])
    alike = (
        s for s in _SIZES if torch.equal(torch.cat([linear(part, weight) for part in torch.split(rows, s)]), alone)
    )
    return next(alike, 1)
