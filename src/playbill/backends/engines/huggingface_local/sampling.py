"""Sample the next token from logits: penalties, temperature, top-k, top-p, min-p, with a random generator for each
request.

Order and meaning are those of transformers' `generate`. Knows no model and no other request.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from playbill.backends.errors import EngineError
from playbill.backends.registry.fields.parameters import OFF

__all__ = ["SUPPORTED_PARAMETERS", "Sampler"]

SUPPORTED_PARAMETERS = frozenset([*OFF, "temperature", "seed", "logprobs"])


class Sampler:
    """Picks the tokens of one request. ``effective`` is what is in effect beyond what was asked: a drawn seed, and
    the samplers that are off.

    ``logprobs`` has for each token picked its log probability and the likeliest ones, where they were asked for: of
    the model's own distribution, before penalties, temperature and cuts.
    """

    def __init__(self, params: Mapping[str, Any], prompt_ids: Sequence[int]) -> None:
        given = {**OFF, **params}
        self.temperature = float(given.get("temperature") or 0.0)
        self._top_p = float(given["top_p"])
        self._top_k = int(given["top_k"])
        self._min_p = float(given["min_p"])
        self._repetition = float(given["repetition_penalty"])
        self._presence = float(given["presence_penalty"])
        self._frequency = float(given["frequency_penalty"])
        self._reported = int(given.get("logprobs") or 0)
        self.logprobs: list[dict[str, Any]] = []
        self._occurred = set(prompt_ids) if self._repetition != 1.0 else set()
        self._counts: dict[int, int] = {}
        self.effective: dict[str, Any] = {name: off for name, off in OFF.items() if name not in params}
        if self.temperature > 0:
            seed = params.get("seed")
            if seed is None:
                seed = self.effective["seed"] = secrets.randbits(32)
            self._random = torch.Generator().manual_seed(int(seed) % 2**63)

    @property
    def is_plain(self) -> bool:
        """Whether the likeliest token is picked, whatever came before."""
        return self.temperature <= 0 and not self._has_penalties

    @property
    def _has_penalties(self) -> bool:
        return self._repetition != 1.0 or self._presence != 0.0 or self._frequency != 0.0

    def pick(self, logits: torch.Tensor) -> int:
        """Return the next token's id, from the logits of the vocabulary, of one dimension.

        Raises EngineError where they are no numbers, as after an overflow in float16.
        """
        index = logits.argmax()  # a NaN counts as the largest
        found, place = torch.stack([logits.gather(0, index[None])[0].float(), index.float()]).tolist()  # one copy
        best = int(place)
        if not math.isfinite(found):
            raise EngineError(
                f"the model's logits are not finite ({found}), as when a number overflows in float16; set dtype to "
                '"bfloat16" or "float32" in the entry'
            )
        token = best if self.is_plain else self._picked(logits)
        if self._reported:
            self.logprobs.append(_logprob(logits, token, self._reported))
        return token

    def _picked(self, logits: torch.Tensor) -> int:
        scores = logits.float().cpu()
        if self._has_penalties:
            scores = self._penalised(scores)
        token = int(scores.argmax()) if self.temperature <= 0 else self._draw(scores / self.temperature)
        self._occurred.add(token)
        self._counts[token] = self._counts.get(token, 0) + 1
        return token

    def _penalised(self, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        if self._repetition != 1.0 and self._occurred:
            ids = torch.tensor(sorted(self._occurred))
            found = scores[ids]
            scores[ids] = torch.where(found < 0, found * self._repetition, found / self._repetition)
        if self._counts and (self._presence or self._frequency):
            ids = torch.tensor(list(self._counts))
            counts = torch.tensor(list(self._counts.values()), dtype=scores.dtype)
            scores[ids] -= self._presence + self._frequency * counts
        return scores

    def _draw(self, scores: torch.Tensor) -> int:
        if 0 < self._top_k < scores.numel():
            scores = scores.masked_fill(scores < scores.topk(self._top_k).values[-1], -torch.inf)
        if self._top_p < 1.0:
            scores = _cut_top_p(scores, self._top_p)
        if self._min_p > 0.0:
            shares = scores.softmax(-1)
            scores = scores.masked_fill(shares < self._min_p * shares.max(), -torch.inf)
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self._random))


def _cut_top_p(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Only the likeliest tokens that together reach the share ``top_p``; the likeliest one always."""
    ordered, places = scores.sort(descending=False)
    cut = ordered.softmax(-1).cumsum(-1) <= 1.0 - top_p
    cut[-1] = False
    return scores.masked_fill(torch.zeros_like(cut).scatter(0, places, cut), -torch.inf)


def _logprob(logits: torch.Tensor, token: int, most: int) -> dict[str, Any]:
    """Return the log probability of a token, and those of the likeliest ones, best first."""
    shares = logits.float().log_softmax(-1)
    values, ids = shares.topk(min(most, shares.numel()))
    top = [{"id": i, "logprob": value} for i, value in zip(ids.tolist(), values.tolist(), strict=True)]
    return {"id": token, "logprob": float(shares[token]), "top": top}
