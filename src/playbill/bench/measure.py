"""Measure a loaded model: milliseconds a step, tokens a second and the prompt rate, at several numbers of requests.

Prompts are random token ids, so that nothing of them is known; answers are greedy and never end by themselves.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from playbill.backends.engines.base import Request
from playbill.backends.errors import PlaybillError
from playbill.backends.model import Model

__all__ = ["Complete", "Rate", "completed_by", "measure", "peak_memory"]

Complete = Callable[[Sequence[Sequence[int]], int], int]
"""Completes prompts with so many new tokens each, all together; returns how many tokens came."""
_VOCABULARY = 1000


@dataclass(frozen=True, slots=True)
class Rate:
    """What was measured with so many requests together. A step is one new token for each; ``prompt_rate`` is in
    prompt tokens a second, ``rate`` in new tokens a second without the time for prompts."""

    rows: int
    step_ms: float
    rate: float
    prompt_rate: float


def measure(complete: Complete, rows: int, *, prompt: int, new: int, seed: int = 0) -> Rate:
    """Time prompts with one new token, and others with ``new`` more: the difference is what steps take."""
    complete(_prompts(rows, prompt, seed), 2)  # kernels are prepared, memory is taken
    begin = time.perf_counter()
    complete(_prompts(rows, prompt, seed + 1), 1)
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    came = complete(_prompts(rows, prompt, seed + 2), new + 1)
    steps = max(1e-9, time.perf_counter() - begin - first)
    if came != rows * (new + 1):
        raise PlaybillError(f"{rows * (new + 1)} tokens were asked for, and {came} came: such a rate says nothing")
    return Rate(rows, 1000 * steps / new, rows * new / steps, rows * prompt / first)


def completed_by(model: Model) -> Complete:
    """Return what completes prompts by a loaded model's engine."""

    def complete(prompts: Sequence[Sequence[int]], new: int) -> int:
        params = {"temperature": 0.0, "max_tokens": new}
        requests = [Request(messages=(), params=params, prompt_ids=tuple(prompt)) for prompt in prompts]
        futures = [model.engine.submit(request) for request in requests]
        return sum(len(future.result().output_ids or ()) for future in futures)

    return complete


def peak_memory() -> dict[str, int]:
    """Return the most bytes that this process has had in use: of the computer's memory, and of each GPU's."""
    found = {"computer": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            if used := torch.cuda.max_memory_allocated(device):
                found[f"cuda:{device}"] = used
    return found


def _prompts(rows: int, length: int, seed: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(10, _VOCABULARY) for _ in range(length)] for _ in range(rows)]
