"""Sample the next tokens of many rows from their logits, on the device where they are.

Penalties, temperature, top-k, top-p and min-p have the order and meaning of transformers' `generate`. A token is drawn
by one uniform number a row and step, which comes from the row's own seed: the first token at which the cumulated shares
exceed it. So a draw doesn't depend on the other rows. Knows no model.
"""

from __future__ import annotations

import random
import secrets
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from playbill.backends.registry.fields.parameters import OFF

__all__ = ["COLUMNS", "SUPPORTED_PARAMETERS", "Pick", "Sampling", "columns_of", "nothing", "pick", "sample"]

SUPPORTED_PARAMETERS = frozenset([*OFF, "temperature", "seed", "logprobs"])
COLUMNS = 8
"""Numbers that a row sends to the device with each step, as int32: temperature, 1 - top_p, min_p, three penalties,
top_k and the uniform number."""
_NOT_FINITE = (-1, -2, -3)


@dataclass(frozen=True, slots=True)
class Pick:
    """The next token of a row, with its log probability and the likeliest ones where they were asked for; or what keeps
    the row from having one."""

    token: int = 0
    logprob: Mapping[str, Any] | None = None
    fault: str | None = None


class Sampling:
    """How one request is sampled, and what it has to remember. ``effective`` is what is in effect beyond what was
    asked: a drawn seed, and the samplers that are off. ``reported`` is how many likeliest tokens are asked for."""

    def __init__(self, params: Mapping[str, Any], prompt_ids: Sequence[int]) -> None:
        given = {**OFF, **params}
        self.temperature = max(0.0, float(given.get("temperature") or 0.0))
        self.top_k, self.top_p, self.min_p = int(given["top_k"]), float(given["top_p"]), float(given["min_p"])
        penalties = [float(given[f"{name}_penalty"]) for name in ("repetition", "presence", "frequency")]
        self.penalised = penalties != [1.0, 0.0, 0.0]
        self.reported = int(given.get("logprobs") or 0)
        self._repeated = sorted(set(prompt_ids)) if penalties[0] != 1.0 else []
        self.counts: torch.Tensor | None = None
        self.effective: dict[str, Any] = {name: off for name, off in OFF.items() if name not in params}
        if self.temperature > 0:
            seed = params.get("seed")
            if seed is None:
                seed = self.effective["seed"] = secrets.randbits(32)
            self._random = random.Random(int(seed))
        floats = struct.pack("6f", self.temperature, 1.0 - self.top_p, self.min_p, *penalties)
        self._fixed = (*struct.unpack("6i", floats), min(self.top_k, 2**31 - 1))

    def columns(self) -> tuple[int, ...]:
        """Return the numbers of the next token: what was asked, and the next uniform number."""
        return (*self._fixed, self._random.getrandbits(32) - 2**31 if self.temperature > 0 else 0)

    def occurrences(self, like: torch.Tensor) -> torch.Tensor:
        """Return twice the number of times that each token is in the answer so far, plus one where it is in the
        prompt."""
        if self.counts is None:
            self.counts = torch.zeros(like.shape[-1], dtype=torch.int32, device=like.device)
            if self._repeated:
                self.counts[torch.tensor(self._repeated, device=like.device)] = 1
        return self.counts


def columns_of(rows: Sequence[Sampling]) -> list[int]:
    """Return what goes to the device for the next token of each row."""
    return [number for row in rows for number in row.columns()]


def nothing() -> None:
    """Do nothing while a step is computed."""


def pick(
    rows: Sequence[Sampling], logits: torch.Tensor, columns: torch.Tensor, meanwhile: Callable[[], None] = nothing
) -> list[Pick]:
    """Return each row's next token, from logits of shape (rows and padding, vocabulary) and what was sent for them, of
    shape (rows and padding, COLUMNS). ``meanwhile`` is called before the device's result is waited for."""
    if logits.device.type == "cpu":  # where nothing is won by a fixed shape
        logits, columns = logits[: len(rows)], columns[: len(rows)]
    found = sample(rows, logits, columns)
    meanwhile()
    return _read(rows, found.cpu(), _most(rows, logits))


def sample(rows: Sequence[Sampling], logits: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return a row of int32 for each row of logits: the token, or what it is instead of a finite number, and where any
    request asked for them the bits of its log probability, the ids of the likeliest tokens and the bits of theirs."""
    best, token = logits.max(-1)  # a NaN counts as the largest
    floats = columns[:, :6].contiguous().view(torch.float32)
    scores = logits.float() if any(row.penalised or row.temperature for row in rows) else logits
    if any(row.penalised for row in rows):
        counts = _occurrences(rows, logits)
        scores = _penalised(scores, counts, floats)
        token = scores.argmax(-1)
    if any(row.temperature for row in rows):
        token = torch.where(floats[:, 0] > 0, _draw(rows, scores, floats, columns), token)
    if any(row.penalised for row in rows):
        _count(rows, counts, token)
    code = torch.where(best - best == 0, token, best.nan_to_num(*_NOT_FINITE).long()).int()[:, None]
    most = _most(rows, logits)
    return torch.cat([code, *_logprobs(logits, token, most)], -1) if most else code


def _most(rows: Sequence[Sampling], logits: torch.Tensor) -> int:
    """Return how many likeliest tokens are reported for each row, for the sake of one of them."""
    return min(max(row.reported for row in rows), logits.shape[-1])


def _occurrences(rows: Sequence[Sampling], logits: torch.Tensor) -> torch.Tensor:
    none = torch.zeros(logits.shape[-1], dtype=torch.int32, device=logits.device)
    found = [row.occurrences(logits) if row.penalised else none for row in rows]
    return torch.stack([*found, *[none] * (logits.shape[0] - len(rows))])


def _count(rows: Sequence[Sampling], counts: torch.Tensor, token: torch.Tensor) -> None:
    """Remember the tokens picked: each row keeps its own part of what was put together."""
    counts.scatter_add_(1, token[:, None], torch.full_like(token[:, None], 2, dtype=torch.int32))
    for row, own in zip(rows, counts.unbind(), strict=False):
        row.counts = own if row.penalised else None


def _penalised(scores: torch.Tensor, counts: torch.Tensor, floats: torch.Tensor) -> torch.Tensor:
    repetition, presence, frequency = floats[:, 3:4], floats[:, 4:5], floats[:, 5:6]
    repeated = torch.where(scores < 0, scores * repetition, scores / repetition)
    times = (counts >> 1).float()
    return torch.where(counts > 0, repeated, scores) - (presence * (times > 0) + frequency * times)


def _draw(rows: Sequence[Sampling], scores: torch.Tensor, floats: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    temperature, rest, min_p = floats[:, 0:1], floats[:, 1:2], floats[:, 2:3]
    scores = scores / torch.where(temperature > 0, temperature, 1.0)
    vocabulary = scores.shape[-1]
    if most := max((row.top_k for row in rows if row.top_k < vocabulary), default=0):
        top_k = columns[:, 6:7].long()
        last = scores.topk(most).values.gather(-1, (top_k - 1).clamp(0, most - 1))
        scores = scores.masked_fill((scores < last) & (top_k > 0) & (top_k < vocabulary), -torch.inf)
    if any(row.top_p < 1.0 for row in rows):
        ordered, places = scores.sort(dim=-1, stable=True)
        cut = (ordered.softmax(-1).cumsum(-1) <= rest) & (rest > 0)
        cut[:, -1] = False
        scores = scores.masked_fill(torch.zeros_like(cut).scatter(-1, places, cut), -torch.inf)
    if any(row.min_p > 0.0 for row in rows):
        shares = scores.softmax(-1)
        scores = scores.masked_fill(shares < min_p * shares.amax(-1, keepdim=True), -torch.inf)
    shares = scores.softmax(-1).cumsum(-1, dtype=torch.float64)
    wanted = (columns[:, 7:8].double() + 2.0**31) / 2.0**32 * shares[:, -1:]
    return torch.searchsorted(shares, wanted, right=True).clamp_(max=vocabulary - 1)[:, 0]


def _logprobs(logits: torch.Tensor, token: torch.Tensor, most: int) -> list[torch.Tensor]:
    """Return the log probability of each token, and ids and log probabilities of the likeliest ones, best first, of the
    model's own distribution. Of equally likely ones the lower id comes first, however many are asked for."""
    shares = logits.float().log_softmax(-1)
    ids = torch.arange(shares.shape[-1], device=shares.device)
    order = (shares.abs().view(torch.int32).long() << 32) + ids
    top = order.topk(most, largest=False).values & (2**32 - 1)
    return [shares.gather(-1, token[:, None]).view(torch.int32), top.int(), shares.gather(-1, top).view(torch.int32)]


def _read(rows: Sequence[Sampling], found: torch.Tensor, most: int) -> list[Pick]:
    numbers = found.tolist()
    shares = found[:, 1:].contiguous().view(torch.float32).tolist()
    picks = []
    for row, own, logprobs in zip(rows, numbers, shares, strict=False):
        if own[0] < 0:
            picks.append(Pick(fault=_fault(own[0])))
        elif not row.reported:
            picks.append(Pick(own[0]))
        else:
            reported = slice(0, row.reported)
            pairs = zip(own[2 : 2 + most][reported], logprobs[1 + most :][reported], strict=True)
            top = [{"id": i, "logprob": value} for i, value in pairs]
            picks.append(Pick(own[0], {"id": own[0], "logprob": logprobs[0], "top": top}))
    return picks


def _fault(code: int) -> str:
    value = ("nan", "inf", "-inf")[_NOT_FINITE.index(code)]
    return (
        f"the model's logits are not finite ({value}), as when a number overflows in float16; set dtype to "
        '"bfloat16" or "float32" in the entry'
    )
