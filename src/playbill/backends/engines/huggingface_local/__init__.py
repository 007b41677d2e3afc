"""The backend huggingface_local: models from the hub or a folder, run in this process by transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from playbill.backends.engines.base import Context, Loaded, Look
from playbill.backends.engines.checkpoint.errors import load_failures, quiet
from playbill.backends.engines.checkpoint.footprint import footprint_here as footprint
from playbill.backends.engines.checkpoint.prompt import make_prompt_path
from playbill.backends.engines.checkpoint.remote_code import trusted
from playbill.backends.engines.checkpoint.source import Source, look_at_weights
from playbill.backends.engines.checkpoint.source import fetch as fetch_files
from playbill.backends.engines.checkpoint.source import fetch_all as fetch
from playbill.backends.engines.huggingface_local.weights import check_adapter, check_packages, load_weights
from playbill.backends.engines.machine.cpu_threads import usable_cores
from playbill.backends.engines.machine.process_state import wait_briefly
from playbill.backends.engines.threads import call_apart
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.weights.adapter import adapter_fault, adapter_folder

__all__ = ["fetch", "footprint", "load", "look", "preview"]


def load(entry: Mapping[str, Any], context: Context) -> Loaded:
    """Return the engine of an entry and its prompt path."""
    trust = trusted(entry, context)
    check_packages(entry)
    adapter = adapter_folder(entry, context.credentials, progress=context.progress)
    if adapter is not None:
        check_adapter(entry, adapter)
    wait_briefly()
    source = fetch_files(entry, context, weights=True, code=trust)
    path = _prompt_path(entry, context, source, trust=trust, preview=False)
    engine = _engine(entry, context, source, path, adapter, trust=trust)
    return Loaded(engine, path, engine.threads)


def look(entry: Mapping[str, Any], context: Context) -> Look:
    """Tell whether weights and adapter, as far as they are here, can be loaded."""
    found = look_at_weights(entry, context)
    return found if found.fault is not None else replace(found, fault=adapter_fault(entry, check_adapter))


def preview(entry: Mapping[str, Any], context: Context) -> PromptPath:
    """Return the prompt path alone. No weights are loaded, and no code of the repository ever runs."""
    wait_briefly()
    source = fetch_files(entry, context, weights=False, code=False)
    return _prompt_path(entry, context, source, trust=False, preview=True)


def _prompt_path(
    entry: Mapping[str, Any], context: Context, source: Source, *, trust: bool, preview: bool
) -> PromptPath:
    name = str(entry.get("model_name"))
    with quiet(context.progress), load_failures(name, "the tokenizer", preview=preview):
        return make_prompt_path(entry, context, source, trust=trust, by_transformers=True)


def _engine(
    entry: Mapping[str, Any], context: Context, source: Source, path: PromptPath, adapter: Path | None, *, trust: bool
) -> Any:
    from playbill.backends.engines.checkpoint.facts import weights_facts
    from playbill.backends.engines.huggingface_local.batching.choice import choose_decoder
    from playbill.backends.engines.huggingface_local.engine import TransformersEngine
    from playbill.backends.engines.huggingface_local.facts import computation_facts
    from playbill.backends.engines.huggingface_local.vision.decoder import seeing_decoder

    name = str(entry.get("model_name"))
    # OpenMP gives each thread that computes helpers of its own, and lets all of them sleep sooner where there are more
    # than cores. So what computes before the engine's own thread does are threads that end, and their helpers too.
    with quiet(context.progress), load_failures(name, "the weights", preview=False):
        weights = call_apart(lambda: load_weights(entry, source, trust=trust, adapter=adapter))
        model = weights.model
        threads = (entry.get("threads") or usable_cores()) if model.device.type == "cpu" else None
        computation = computation_facts(weights, threads, name=name)
        decoder = call_apart(
            lambda: (
                seeing_decoder(entry, model, path.processor, threads)
                if path.processor is not None
                else choose_decoder(entry, model, threads)
            )
        )
    computation["batching"] = dict(decoder.facts)
    eyes = {"processor": path.processor.facts()} if path.processor is not None else {}
    return TransformersEngine(
        decoder,
        vocabulary=model.get_input_embeddings().weight.shape[0],
        decode=path.decode,
        facts=lambda: {
            **weights_facts(entry, source, adapter),
            **computation,
            "tokenizer": path.tokenizer.facts(),
            **eyes,
        },
        threads=threads,
    )
