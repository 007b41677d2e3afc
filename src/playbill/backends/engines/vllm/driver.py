"""Drive vLLM: start it, add requests, step, and read what each step made. No other module imports vLLM.

All calls come from one thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.engines.machine.memory import free_memory
from playbill.backends.engines.machine.process_state import BATCH_INVARIANT, give_memory_back
from playbill.backends.engines.vllm.adapter import Adapter
from playbill.backends.engines.vllm.pictures import RENDERED, SHOWN

__all__ = ["Driver", "StepOutput", "start_vllm"]

_ONE_HERE = threading.Lock()


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step made of one request: new tokens, and why it ended, if it did."""

    name: str
    token_ids: Sequence[int]
    logprobs: Sequence[Mapping[int, Any]] = ()
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    cached_tokens: int | None = None
    prompt_ids: Sequence[int] | None = None


class Driver(Protocol):
    """An engine that computes all its requests together, one step at a time."""

    seats: int
    cached_tokens: int
    context_size: int
    facts: Mapping[str, Any]

    def add(
        self,
        name: str,
        prompt_ids: Sequence[int],
        arguments: Mapping[str, Any],
        features: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a request in, with ``features`` where it has pictures. Raises ValueError where it can't be completed,
        which harms no other."""
        ...

    def step(self) -> list[StepOutput]:
        """Compute the next token of each request."""
        ...

    def drop(self, names: Sequence[str]) -> None:
        """Forget requests; unknown ones are no fault."""
        ...

    def close(self) -> None: ...


def start_vllm(
    entry: Mapping[str, Any],
    source: Source,
    context_size: int | None,
    adapter: Adapter | None,
    *,
    trust: bool,
    progress: bool,
) -> Driver:
    """Load the weights into an engine of this process, computed by the calling thread.

    vLLM keeps so much in module variables that one process holds one engine: a second gets a process of its own.
    """
    from vllm.platforms import current_platform

    from playbill.backends.engines.vllm.arguments import engine_arguments

    arguments = engine_arguments(
        entry,
        source,
        context_size,
        adapter,
        trust=trust,
        progress=progress,
        cpu_memory=free_memory() or 0 if current_platform.is_cpu() else None,
    )
    here = _ONE_HERE.acquire(blocking=False)
    try:
        engine = _start(arguments, here=here)
        return _VllmDriver(engine, adapter, _ONE_HERE.release if here else None)
    except BaseException:
        if here:
            _clear_half_started()
            _ONE_HERE.release()
        raise


def _start(arguments: Mapping[str, Any], *, here: bool) -> Any:
    import torch
    from vllm import EngineArgs, LLMEngine

    set_threads = torch.set_num_threads
    try:
        return LLMEngine.from_engine_args(EngineArgs(**arguments), enable_multiprocessing=not here)
    finally:
        torch.set_num_threads = set_threads  # vLLM's CPU worker takes it away from the whole process


def _clear_half_started() -> None:
    """Take down what an engine that failed to start left in module variables, which would fail the next."""
    from vllm.distributed import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()


@dataclass(slots=True)
class _VllmDriver:
    """An LLMEngine of vLLM, whose requests go by our own names."""

    engine: Any
    adapter: Adapter | None
    at_end: Callable[[], None] | None
    seats: int = field(init=False)
    cached_tokens: int = field(init=False)
    context_size: int = field(init=False)
    facts: Mapping[str, Any] = field(init=False)
    _lora: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        config = self.engine.vllm_config
        self.seats = int(config.scheduler_config.max_num_seqs)
        self.cached_tokens = int(config.cache_config.num_gpu_blocks or 0) * int(config.cache_config.block_size)
        self.context_size = int(config.model_config.max_model_len)
        self.facts = self._facts(config)
        if self.adapter is not None:
            from vllm.lora.request import LoRARequest

            self._lora = LoRARequest("adapter", 1, str(self.adapter.folder))

    def add(
        self,
        name: str,
        prompt_ids: Sequence[int],
        arguments: Mapping[str, Any],
        features: Mapping[str, Any] | None = None,
    ) -> None:
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        kind = RequestOutputKind[arguments["output_kind"]]
        params = SamplingParams(**{**arguments, "output_kind": kind})
        if features:
            shown = {"image": list(features[SHOWN])}
            prompt = TokensPrompt(prompt_token_ids=list(features[RENDERED]), multi_modal_data=shown)
        else:
            prompt = TokensPrompt(prompt_token_ids=list(prompt_ids))
        self.engine.add_request(name, prompt, params, lora_request=self._lora)

    def step(self) -> list[StepOutput]:
        return [_news(output) for output in self.engine.step()]

    def drop(self, names: Sequence[str]) -> None:
        self.engine.abort_request(list(names))

    def close(self) -> None:
        at_end, self.at_end = self.at_end, None
        try:
            self.engine.engine_core.shutdown()
        finally:
            self.engine = None
            give_memory_back()
            if at_end is not None:
                at_end()

    def _facts(self, config: Any) -> dict[str, Any]:
        import torch

        from playbill.backends.engines.vllm.environment import vllm_distribution

        found = vllm_distribution()
        return {
            found.name if found is not None else "vllm": found.version if found is not None else None,
            "torch": torch.__version__,
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "device": str(config.device_config.device_type),
            "threads": torch.get_num_threads(),
            "n_ctx": self.context_size,
            "block_size": int(config.cache_config.block_size),
            "cached_tokens": self.cached_tokens,
            "quantization": config.model_config.quantization,
            "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
            "pipeline_parallel_size": config.parallel_config.pipeline_parallel_size,
            "batch_invariant": os.environ.get(BATCH_INVARIANT) == "1",
            "enforce_eager": bool(config.model_config.enforce_eager),
        }


def _news(output: Any) -> StepOutput:
    made = output.outputs[0]
    return StepOutput(
        output.request_id,
        made.token_ids,
        made.logprobs or (),
        made.finish_reason,
        made.stop_reason,
        output.num_cached_tokens,
        output.prompt_token_ids,
    )
