"""Other ways to run a model of huggingface_local on the same machine, to measure Playbill's beside."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import Context
from playbill.backends.errors import BackendUnavailable
from playbill.backends.loading import load_spec
from playbill.backends.registry.spec import ModelSpec
from playbill.bench.measure import Complete, completed_by

__all__ = ["PEERS", "running"]


@contextmanager
def running(name: str, spec: ModelSpec, credentials: Credentials, *, trust: bool = False) -> Iterator[Complete]:
    """Load a peer, and give what completes prompts with it; afterwards its memory is free.

    Raises BackendUnavailable where it needs a package that isn't there, or can't run this model.
    """
    with PEERS[name](spec, credentials, trust) as complete:
        yield complete
    gc.collect()


@contextmanager
def _by_playbill(spec: ModelSpec, credentials: Credentials, trust: bool, **keys: Any) -> Iterator[Complete]:
    changed = ModelSpec.from_dict({**spec.to_dict(), **keys})
    with load_spec(changed, credentials=credentials, trust_remote_code=trust) as model:
        yield completed_by(model)


def _way(**keys: Any) -> Callable[[ModelSpec, Credentials, bool], Any]:
    return lambda spec, credentials, trust: _by_playbill(spec, credentials, trust, **keys)


def _weights(spec: ModelSpec, credentials: Credentials, trust: bool) -> Any:
    """Return the model as transformers loads it."""
    from playbill.backends.engines.checkpoint.source import fetch
    from playbill.backends.engines.huggingface_local.weights import check_packages, load_weights

    entry: Mapping[str, Any] = spec
    check_packages(entry)
    context = Context(credentials=credentials, date=datetime.now(), trust_remote_code=trust)
    source = fetch(entry, context, weights=True, code=trust)
    return load_weights(entry, source, trust=trust)


@contextmanager
def _generate(spec: ModelSpec, credentials: Credentials, trust: bool) -> Iterator[Complete]:
    """transformers' `generate` of all prompts as one padded batch."""
    import torch

    model = _weights(spec, credentials, trust)

    def complete(prompts: Sequence[Sequence[int]], new: int) -> int:
        ids = torch.tensor(prompts, device=model.get_input_embeddings().weight.device)
        options = {"do_sample": False, "min_new_tokens": new, "max_new_tokens": new, "pad_token_id": 0}
        with torch.inference_mode():
            found = model.generate(ids, attention_mask=torch.ones_like(ids), eos_token_id=None, **options)
        return int(found[:, ids.shape[1] :].numel())

    yield complete


@contextmanager
def _generate_batch(spec: ModelSpec, credentials: Credentials, trust: bool) -> Iterator[Complete]:
    """transformers' continuous batching."""
    from transformers import GenerationConfig

    settings: Any = GenerationConfig
    model: Any = _weights(spec, credentials, trust)
    if not hasattr(model, "generate_batch"):
        raise BackendUnavailable("this version of transformers has no generate_batch")
    on_cpu = model.get_input_embeddings().weight.device.type == "cpu"

    def complete(prompts: Sequence[Sequence[int]], new: int) -> int:
        from transformers import ContinuousBatchingConfig

        # By itself it takes nine tenths of the memory that is free, which on a CPU is other programs' too.
        pages = len(prompts) * (2 + (len(prompts[0]) + new) // 256) if on_cpu else None
        batching = ContinuousBatchingConfig(num_blocks=pages, auto_switch_to_flash=False)
        config = settings(do_sample=False, max_new_tokens=new, eos_token_id=-1, pad_token_id=0)
        given = [list(prompt) for prompt in prompts]
        found = model.generate_batch(given, generation_config=config, continuous_batching_config=batching)
        return sum(len(output.generated_tokens) for output in found.values())

    yield complete


PEERS: Mapping[str, Callable[[ModelSpec, Credentials, bool], Any]] = {
    "exact": _way(batching="exact"),
    "fast": _way(batching="fast"),
    "generate": _generate,
    "generate_batch": _generate_batch,
    "vllm": _way(backend="vllm"),
}
"""What a model can be measured beside, by name: ways of Playbill, and other people's."""
