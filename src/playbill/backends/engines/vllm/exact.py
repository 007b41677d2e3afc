"""Try on load that vLLM's batch-invariant mode holds for this model, on this hardware.

The mode is vLLM's own (``VLLM_BATCH_INVARIANT``, https://docs.vllm.ai/en/latest/features/batch_invariance.html): on
GPUs it replaces the kernels of matrix products, norms and attention whose order of sums depends on the batch. Whether
every kernel that a model needs is among them can't be asked, so it is tried: prompts alone, and together. Imports no
vLLM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from playbill.backends.engines.vllm.driver import Driver
from playbill.backends.engines.vllm.sampling import effective_parameters, sampling_arguments
from playbill.backends.errors import EngineError

__all__ = ["asks_for_exact", "try_exact"]

_LENGTHS = (5, 17, 33, 64, 129, 200)  # in tokens: below, at and above the sizes of blocks and tiles
_NEW = 6
_FIRST_ID = 40  # ids that every vocabulary has
_Answer = list[tuple[int, float]]


def asks_for_exact(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry asks for batch invariance. Unlike the other engines, vLLM has it only where it is asked
    for: it costs speed, and there is none on a CPU."""
    return entry.get("batching") == "exact"


def try_exact(driver: Driver, model_name: str) -> None:
    """Raise EngineError where prompts get other ids, or other log probabilities, together than alone."""
    prompts = [tuple(_FIRST_ID + (7 * i + length) % 50 for i in range(length)) for length in _LENGTHS]
    prompts = [prompt for prompt in prompts if len(prompt) + _NEW < driver.context_size]
    alone = [_answers(driver, [prompt], f"alone-{i}")[0] for i, prompt in enumerate(prompts)]
    # A second round finds the prompts' KV cache, which the first one filled.
    for number in (1, 2):
        together = _answers(driver, prompts, f"together-{number}")
        if differing := [len(p) for p, one, other in zip(prompts, alone, together, strict=True) if one != other]:
            raise EngineError(
                f"{model_name}: batching 'exact' can't be kept here: tried on load, vLLM's batch-invariant mode gave "
                f"prompts of {', '.join(map(str, differing))} tokens other numbers beside {len(prompts) - 1} others "
                "than alone; take another attention or quantization, `batching: fast`, or the backend huggingface_local"
            )


def _answers(driver: Driver, prompts: Sequence[Sequence[int]], name: str) -> list[_Answer]:
    """Complete prompts together; return for each its new ids with their log probabilities."""
    wanted = effective_parameters({"temperature": 0.0, "max_tokens": _NEW, "logprobs": 1})
    arguments = sampling_arguments(wanted, (), most=_NEW, watched=False)
    names = [f"playbill-{name}-{i}" for i in range(len(prompts))]
    for each, prompt in zip(names, prompts, strict=True):
        driver.add(each, prompt, arguments)
    found: dict[str, _Answer] = {each: [] for each in names}
    left = set(names)
    while left:
        for output in driver.step():
            places = zip(output.token_ids, output.logprobs, strict=True)
            found[output.name].extend((token, float(reported[token].logprob)) for token, reported in places)
            if output.finish_reason is not None:
                left.discard(output.name)
    return [found[each] for each in names]
