"""The backend vllm: models from the hub or a folder, run in this process by vLLM.

Rendering, tokenizing and cleaning are Playbill's, as under huggingface_local; vLLM gets token ids and loads no
tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from playbill.backends.engines.base import Context, Loaded, Look
from playbill.backends.engines.checkpoint.errors import load_failures, quiet
from playbill.backends.engines.checkpoint.facts import weights_facts
from playbill.backends.engines.checkpoint.footprint import checkpoint_footprint as footprint
from playbill.backends.engines.checkpoint.prompt import make_prompt_path
from playbill.backends.engines.checkpoint.remote_code import trusted
from playbill.backends.engines.checkpoint.source import Source, look_at_weights
from playbill.backends.engines.checkpoint.source import fetch as fetch_files
from playbill.backends.engines.checkpoint.source import fetch_all as fetch
from playbill.backends.engines.checkpoint.vision.processor import CheckpointProcessor
from playbill.backends.engines.machine.cpu_threads import usable_cores
from playbill.backends.engines.machine.process_state import wait_briefly
from playbill.backends.engines.vllm.adapter import Adapter, find_adapter, room_for
from playbill.backends.engines.vllm.engine import VllmEngine
from playbill.backends.engines.vllm.environment import engine_failures, prepare_environment
from playbill.backends.engines.vllm.exact import asks_for_exact, try_exact
from playbill.backends.engines.vllm.pictures import VllmPictures
from playbill.backends.errors import EntryError
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.fields.table import setting
from playbill.backends.weights.adapter import adapter_fault
from playbill.backends.weights.cache import file_sha256

__all__ = ["fetch", "footprint", "load", "look", "preview"]


def load(entry: Mapping[str, Any], context: Context) -> Loaded:
    """Return the engine of an entry and its prompt path.

    Raises as huggingface_local does, and BackendUnavailable where vLLM and the packages beside it don't fit.
    """
    trust = trusted(entry, context)
    prepare_environment(entry)
    wait_briefly()
    source = fetch_files(entry, context, weights=True, code=trust)
    adapter = find_adapter(entry, context.credentials, progress=context.progress)
    path = _prompt_path(entry, context, source, trust=trust, preview=False)
    if isinstance(path.processor, CheckpointProcessor):
        path = replace(path, processor=VllmPictures(path.processor))
    with engine_failures(str(entry.get("model_name"))):
        from playbill.backends.engines.vllm.driver import Driver, start_vllm

        def start() -> Driver:
            driver = start_vllm(entry, source, path.context_size, adapter, trust=trust, progress=context.progress)
            try:
                if asks_for_exact(entry):
                    try_exact(driver, str(entry.get("model_name")))
            except BaseException:
                driver.close()
                raise
            return driver

        engine = VllmEngine(
            start,
            decode=path.decode,
            facts=lambda: _facts(entry, source, path, adapter),
            threads=entry.get("threads") or usable_cores(),
        )
    return Loaded(engine, replace(path, context_size=engine.context_size), engine.threads)


def look(entry: Mapping[str, Any], context: Context) -> Look:
    """Tell whether weights and adapter, as far as they are here, can be loaded."""
    found = look_at_weights(entry, context)
    return found if found.fault is not None else replace(found, fault=adapter_fault(entry, room_for))


def preview(entry: Mapping[str, Any], context: Context) -> PromptPath:
    """Return the prompt path alone. vLLM is not imported, no weights are loaded, and no code of the repository runs."""
    wait_briefly()
    source = fetch_files(entry, context, weights=False, code=False)
    return _prompt_path(entry, context, source, trust=False, preview=True)


def _facts(entry: Mapping[str, Any], source: Source, path: PromptPath, adapter: Adapter | None) -> Mapping[str, Any]:
    """Return which weights they are, the adapter's too, and the tokenizer."""
    facts = {**weights_facts(entry, source), "tokenizer": path.tokenizer.facts()}
    if path.processor is not None:
        facts["processor"] = path.processor.facts()
    if adapter is not None:
        facts["peft_model"] = {file.name: file_sha256(file) for file in adapter.files}
    return facts


def _prompt_path(
    entry: Mapping[str, Any], context: Context, source: Source, *, trust: bool, preview: bool
) -> PromptPath:
    name = str(entry.get("model_name"))
    with quiet(context.progress), load_failures(name, "the tokenizer", preview=preview):
        return make_prompt_path(_with_tokenizer_mode(entry), context, source, trust=trust, by_transformers=False)


def _with_tokenizer_mode(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry with what ``tokenizer_mode`` says put in our own words, since the tokenizer is ours."""
    mode = setting(entry, "tokenizer_mode")
    if mode == "mistral":
        raise EntryError(
            f"{entry.get('model_name')}: tokenizer_mode 'mistral' can't be honoured: mistral-common's tokenizers "
            "recognise no special token in a rendered prompt; take the key out, and the tokenizer of the model's "
            "own tokenizer.json or SentencePiece file is used"
        )
    return {**entry, "slow_tokenizer": True} if mode == "slow" else dict(entry)
