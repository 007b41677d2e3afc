"""The ways to run a model that can be measured: Playbill's own, and other people's on the same machine."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import Context, Request
from playbill.backends.engines.machine.cpu_threads import usable_cores
from playbill.backends.engines.machine.process_state import compute_with_threads, wait_briefly
from playbill.backends.errors import BackendUnavailable, InputError, WeightsError
from playbill.backends.loading import load_spec
from playbill.backends.registry.fields.local import LOCAL
from playbill.backends.registry.spec import ModelSpec, path_in
from playbill.bench.device import peak_memory
from playbill.bench.measure import Complete, Completed, Work

__all__ = ["OWN", "PEERS", "Job", "Running", "open_way"]

_SIDE = Path(__file__).parent / "side" / "clemcore_batch.py"
_CHECKPOINTS = ("huggingface_local", "vllm")
_SPARE = 64
"""Tokens of context beyond prompt and answer."""


@dataclass(frozen=True, slots=True)
class Job:
    """One way to be measured. ``batch_size`` replaces the entry's (None: as it is); ``clem_python`` is a Python that
    has clemcore."""

    way: str
    spec: ModelSpec
    work: Work
    key_files: tuple[Path, ...] = ()
    trust_remote_code: bool = False
    clem_python: Path | None = None
    batch_size: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A way that has been loaded. ``most`` is how many requests it computes together at the most (None: all that it is
    given), ``facts`` gives what it says of itself, which may take long, since files are hashed for it."""

    complete: Complete
    facts: Callable[[], Mapping[str, Any]]
    most: int | None = None
    memory: Callable[[], Mapping[str, int]] = field(default=peak_memory)


def open_way(job: Job) -> AbstractContextManager[Running]:
    """Load a way, and end it afterwards. Raises as `load_spec`, with what to type where a package is missing."""
    return {**OWN, **PEERS}[job.way](job)


@contextmanager
def _by_playbill(job: Job, **keys: Any) -> Iterator[Running]:
    work = job.work
    spec = job.spec.override(keys) if keys else job.spec
    if spec.get("backend") not in LOCAL:
        raise InputError(f"{spec.get('model_name')} runs elsewhere; bench measures models that run here")
    gguf = spec["backend"] == "llamacpp"
    if job.batch_size is not None:
        spec = spec.override({"batch_size": _slots(job.batch_size) if gguf else job.batch_size})
    if gguf and "n_ctx" not in spec:
        spec = spec.override({"n_ctx": work.prompt + work.tokens + _SPARE})
    options: dict[str, Any] = {"trust_remote_code": job.trust_remote_code, "progress": sys.stderr.isatty()}
    credentials = Credentials.load(job.key_files)
    with load_spec(spec, credentials=credentials, dialogues=_slots(max(work.rows)), **options) as model:

        def complete(prompts: Sequence[Sequence[int]], new: int) -> Completed:
            params = {"temperature": 0.0, "max_tokens": new}
            requests = [Request(messages=(), params=params, prompt_ids=tuple(prompt)) for prompt in prompts]
            futures = [model.engine.submit(request) for request in requests]
            came = sum(len(future.result().output_ids or ()) for future in futures)
            return Completed(sum(map(len, prompts)), came)

        yield Running(complete, model.engine.facts, model.concurrency)


def _slots(rows: int) -> int:
    """Return the slots of llama.cpp with which so many requests are computed at once: a fifth is for those waiting."""
    return rows + max(1, (rows + 3) // 4)


def _own(**keys: Any) -> Callable[[Job], AbstractContextManager[Running]]:
    return lambda job: _by_playbill(job, **keys)


def _require_checkpoint(job: Job) -> None:
    if job.spec.get("backend") not in _CHECKPOINTS or job.spec.get("gguf_file"):
        raise InputError(f"{job.way} runs checkpoints of transformers, and {job.spec.get('model_name')} is a GGUF file")


@contextmanager
def _by_vllm(job: Job) -> Iterator[Running]:
    _require_checkpoint(job)
    with _by_playbill(job, backend="vllm") as found:
        yield found


def _transformers_model(job: Job) -> tuple[Any, dict[str, Any]]:
    """Return the model as Playbill loads it, with as many threads on a CPU, and what to say of it."""
    _require_checkpoint(job)
    wait_briefly()
    from playbill.backends.engines.checkpoint.errors import load_failures, quiet
    from playbill.backends.engines.checkpoint.source import fetch
    from playbill.backends.engines.huggingface_local.facts import computation_facts
    from playbill.backends.engines.huggingface_local.weights import check_packages, load_weights
    from playbill.backends.weights.adapter import adapter_folder

    spec, trust = job.spec, job.trust_remote_code and bool(job.spec.get("trust_remote_code"))
    check_packages(spec)
    credentials, name, bars = Credentials.load(job.key_files), str(spec.get("model_name")), sys.stderr.isatty()
    context = Context(credentials=credentials, date=datetime.now(), trust_remote_code=trust, progress=bars)
    adapter = adapter_folder(spec, credentials, progress=bars)
    source = fetch(spec, context, weights=True, code=trust)
    threads = int(spec.get("threads") or usable_cores())
    compute_with_threads(threads)
    with quiet(bars), load_failures(name, "the weights", preview=False):
        weights = load_weights(spec, source, trust=trust, adapter=adapter)
    return weights.model, computation_facts(weights, threads, name=name)


@contextmanager
def _by_generate(job: Job) -> Iterator[Running]:
    """transformers' `generate` of all prompts as one padded batch."""
    model, facts = _transformers_model(job)
    import torch

    def complete(prompts: Sequence[Sequence[int]], new: int) -> Completed:
        ids = torch.tensor(prompts, device=model.get_input_embeddings().weight.device)
        options = {"do_sample": False, "min_new_tokens": new, "max_new_tokens": new, "pad_token_id": 0}
        with torch.inference_mode():
            found = model.generate(ids, attention_mask=torch.ones_like(ids), eos_token_id=None, **options)
        answers = found[:, ids.shape[1] :].tolist()  # which waits for the device
        return Completed(ids.numel(), sum(map(len, answers)))

    yield Running(complete, lambda: facts)


@contextmanager
def _by_generate_batch(job: Job) -> Iterator[Running]:
    """transformers' continuous batching."""
    model, facts = _transformers_model(job)
    from transformers import GenerationConfig

    if not hasattr(model, "generate_batch"):
        raise BackendUnavailable(
            "this version of transformers has no generate_batch; install with: pip install --upgrade transformers"
        )
    on_cpu = model.get_input_embeddings().weight.device.type == "cpu"
    settings: Any = GenerationConfig
    # It says at each call that the manager was made for so much work, which it is.
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    keeps = hasattr(model, "destroy_cached_continuous_batching_manager")
    sized: list[int] = []

    def generate(prompts: Sequence[Sequence[int]], new: int) -> Completed:
        from transformers import ContinuousBatchingConfig

        # By itself it takes nine tenths of the memory that is free, which on a CPU is other programs' too; and it
        # would fetch compiled kernels.
        pages = len(prompts) * (2 + (len(prompts[0]) + new) // 256) if on_cpu else None
        batching = ContinuousBatchingConfig(num_blocks=pages, auto_switch_to_flash=False)
        config = settings(do_sample=False, max_new_tokens=new, eos_token_id=-1, pad_token_id=0)
        given, kept = [list(prompt) for prompt in prompts], {"persistent_manager": True} if keeps else {}
        found = model.generate_batch(given, generation_config=config, continuous_batching_config=batching, **kept)
        return Completed(sum(map(len, given)), sum(len(output.generated_tokens) for output in found.values()))

    def drop() -> None:
        if keeps:
            model.destroy_cached_continuous_batching_manager()

    def complete(prompts: Sequence[Sequence[int]], new: int) -> Completed:
        if sized != [len(prompts)]:  # its manager is made once for so much work, outside of what is measured
            drop()
            sized[:] = [len(prompts)]
            generate(prompts, job.work.tokens + 1)
        return generate(prompts, new)

    try:
        yield Running(complete, lambda: facts)
    finally:
        drop()


@contextmanager
def _by_clemcore(job: Job) -> Iterator[Running]:
    """clemcore's own HuggingFace backend, in its environment: `generate_batch_response` of all dialogues."""
    _require_checkpoint(job)
    if job.clem_python is None:
        raise BackendUnavailable("clemcore is not installed here")
    spec = job.spec
    if spec.get("trust_remote_code"):
        raise InputError("clemcore would run the repository's Python code without asking, so it isn't measured")
    # The side's own folder is not on the path (-I), and what is this process's own reaches it by stdin alone.
    command = [str(job.clem_python), "-I", str(_SIDE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        memory: dict[str, int] = {}

        def ask(what: Mapping[str, Any]) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            print(json.dumps(what), file=process.stdin, flush=True)
            if not (line := process.stdout.readline()):
                raise WeightsError(f"clemcore ended with code {process.wait()}; what it said stands above")
            found: dict[str, Any] = json.loads(line)
            return found

        def complete(prompts: Sequence[Sequence[int]], new: int) -> Completed:
            seed = sum(prompts[0])
            found = ask({"rows": len(prompts), "prompt": len(prompts[0]), "new": new, "seed": seed})
            memory.update(found["memory"])
            return Completed(found["prompt_tokens"], found["new_tokens"])

        loaded = ask({"spec": _clemcore_entry(spec)})
        if missing := loaded.get("missing"):
            raise BackendUnavailable(
                f"clemcore's environment has no {missing}; install with: "
                f'{job.clem_python} -m pip install "clemcore[huggingface]"'
            )
        facts = loaded["facts"]
        yield Running(complete, lambda: facts, None, lambda: memory)
        if process.stdin is not None:
            process.stdin.close()


def _clemcore_entry(spec: ModelSpec) -> dict[str, Any]:
    """Return an entry in clemcore's form. It has no key for a number format: it takes the checkpoint's own."""
    folder = path_in(spec, "huggingface_id")
    kept = ("requires_api_key", "load_in_8bit", "load_in_4bit", "peft_model")
    return {
        "model_name": str(spec["model_name"]),
        "backend": "huggingface_local",
        "huggingface_id": str(folder.absolute()) if folder.is_dir() else str(spec["huggingface_id"]),
        "model_config": {
            "premade_chat_template": True,
            "padding_side": "left",
            "eos_to_cull": "",
            **{key: spec[key] for key in kept if spec.get(key)},
        },
    }


OWN: Mapping[str, Callable[[Job], AbstractContextManager[Running]]] = {
    "playbill": _own(),
    "exact": _own(batching="exact"),
    "fast": _own(batching="fast"),
}
PEERS: Mapping[str, Callable[[Job], AbstractContextManager[Running]]] = {
    "generate": _by_generate,
    "generate_batch": _by_generate_batch,
    "clemcore": _by_clemcore,
    "vllm": _by_vllm,
}
"""Other people's ways, and vLLM under Playbill's own prompt path."""
