"""Measure what completes prompts: milliseconds a step, tokens a second, and prompt tokens a second.

Knows no engine. Prompts are random token ids, so that nothing of them is known from before.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from playbill.backends.errors import PlaybillError

__all__ = ["Complete", "Completed", "Rate", "Work", "measure"]

_LEAST_ID, _MOST_ID = 10, 1000
"""Ids of prompts: those that nearly every vocabulary has, without the special tokens at its beginning."""


@dataclass(frozen=True, slots=True)
class Completed:
    """How many tokens the prompts had in all, and how many new ones came."""

    prompt_tokens: int
    new_tokens: int


Complete = Callable[[Sequence[Sequence[int]], int], Completed]
"""Completes prompts with so many new tokens each, greedily and all together."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is measured: for each number of requests, prompts and new tokens of so many tokens, several times."""

    rows: tuple[int, ...]
    prompt: int
    tokens: int
    repeats: int = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """What was measured with so many requests, of which ``together`` are computed at once: medians.

    A step is one new token for each of them. ``rate`` is in new tokens a second without the time for prompts,
    ``prompt_rate`` in prompt tokens a second. ``step_ms`` and ``rate`` are None where steps were too fast to be told
    from the prompts. The seconds are the clock's, repeat by repeat: of prompts with one new token, and of other prompts
    with all new tokens. ``new_tokens`` came in all of these; fewer than asked for where a model ended early.
    """

    rows: int
    together: int
    step_ms: float | None
    rate: float | None
    prompt_rate: float
    prompt_seconds: tuple[float, ...]
    total_seconds: tuple[float, ...]
    new_tokens: int
    asked_tokens: int


def measure(
    complete: Complete,
    rows: int,
    work: Work,
    *,
    together: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Rate:
    """Time prompts with one new token, and others with ``work.tokens`` more: the difference is what steps take.

    ``together`` is how many requests are computed at once at the most (None: all). Raises PlaybillError where hardly
    any of the asked tokens come.
    """
    at_once = min(rows, together or rows)
    steps = work.tokens * -(-rows // at_once)
    complete(_prompts(rows, work.prompt, 0), 3)  # kernels are prepared, memory is taken
    firsts, totals, shares, came, sent = list[float](), list[float](), list[float](), 0, 0
    for repeat in range(work.repeats):
        seconds, done = _timed(clock, complete, _prompts(rows, work.prompt, 2 * repeat + 1), 1)
        firsts.append(seconds)
        sent = done.prompt_tokens
        seconds, done = _timed(clock, complete, _prompts(rows, work.prompt, 2 * repeat + 2), work.tokens + 1)
        totals.append(seconds)
        came += done.new_tokens
        shares.append((done.new_tokens - rows) / (rows * work.tokens))
    asked = work.repeats * rows * (work.tokens + 1)
    if came < asked / 2:
        raise PlaybillError(f"{asked} tokens were asked for, and {came} came: such a rate says nothing")
    spent = statistics.median(total - first for first, total in zip(firsts, totals, strict=True))
    told = spent > 0
    return Rate(
        rows=rows,
        together=at_once,
        step_ms=1000 * spent / steps if told else None,
        rate=statistics.median(shares) * rows * work.tokens / spent if told else None,
        prompt_rate=sent / statistics.median(firsts),
        prompt_seconds=tuple(firsts),
        total_seconds=tuple(totals),
        new_tokens=came,
        asked_tokens=asked,
    )


def _timed(
    clock: Callable[[], float], complete: Complete, prompts: Sequence[Sequence[int]], new: int
) -> tuple[float, Completed]:
    begin = clock()
    done = complete(prompts, new)
    return clock() - begin, done


def _prompts(rows: int, length: int, seed: int) -> list[list[int]]:
    draw = random.Random(1000 * rows + seed)
    return [[draw.randrange(_LEAST_ID, _MOST_ID) for _ in range(length)] for _ in range(rows)]
