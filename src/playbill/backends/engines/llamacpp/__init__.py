"""The backend llamacpp: GGUF models, run in this process by llama.cpp through xllamacpp.

Rendering, tokenizing and cleaning are Playbill's, as for every engine; llama.cpp gets token ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.engines.base import Context, Fetched, Footprint, Loaded, Look
from playbill.backends.engines.llamacpp.engine import LlamaCpp
from playbill.backends.engines.llamacpp.exact.kernels import Kernels, choose_kernels
from playbill.backends.engines.llamacpp.exact.prefix_cache import PrefixCache
from playbill.backends.engines.llamacpp.gguf_header import GgufHeader, read_header
from playbill.backends.engines.llamacpp.memory_plan import (
    MemoryPlan,
    context_limit,
    gpu_layers,
    kv_bytes_per_token,
    longest_dialogue,
    make_plan,
    memory_room,
)
from playbill.backends.engines.llamacpp.server import LlamaServer, xllamacpp
from playbill.backends.engines.llamacpp.tokenizer import GgufTokenizer, tokenizer_server
from playbill.backends.engines.llamacpp.trial import why_unloadable
from playbill.backends.engines.llamacpp.vision.picture_counter import use_mmproj
from playbill.backends.engines.llamacpp.vision.processor import GgufProcessor
from playbill.backends.engines.llamacpp.vision.vision_gguf import find_vision_gguf
from playbill.backends.engines.llamacpp.vocabulary import Vocabulary
from playbill.backends.errors import EngineError, TemplateError, WeightsError
from playbill.backends.prompt.chat_template import Template, named_template, pick_template
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.prompt.stops import collect_stops
from playbill.backends.prompt.template import GENERIC_TEMPLATE, render
from playbill.backends.prompt.thinking_families import family_of
from playbill.backends.registry.fields.table import setting
from playbill.backends.weights.gguf import Weights, find_weights

__all__ = ["fetch", "footprint", "load", "look", "preview"]

_TEMPLATE = "tokenizer.chat_template"


def load(entry: Mapping[str, Any], context: Context) -> Loaded:
    """Return the engine with the weights in memory, and the prompt path.

    Raises WeightsError, CredentialsError, and EngineError where llama.cpp can't load the file.
    """
    weights = find_weights(entry, context.credentials, progress=context.progress)
    header = read_header(*weights.files)
    vision = find_vision_gguf(entry, weights, header)
    if vision is not None:
        vision.refuse_unloadable()
        if vision.otherwise is not None:
            warn_once(f"{entry.get('model_name')}: {vision.otherwise}")
    vocabulary = Vocabulary(header)
    devices = xllamacpp.get_device_info()
    layers = gpu_layers(entry, devices)
    room = memory_room(entry, header, devices, weights=weights.size, layers=layers)
    template = _template(entry, vocabulary)
    longest = _longest(entry, context, template) if vision is None else None
    plan = make_plan(entry, header, dialogues=context.dialogues, room=room, longest=longest)
    kernels = choose_kernels(entry, header, layers)
    try:
        server = LlamaServer(_params(weights, plan, layers, kernels))
    except EngineError as e:
        if why := why_unloadable(weights):
            raise WeightsError(f"llama.cpp can't load {weights.named}: {why}") from e
        raise
    try:
        tokenizer = GgufTokenizer(vocabulary, server)
        processor = vision.processor(tokenizer, lambda: server) if vision is not None else None
        path = _prompt_path(entry, context, template, tokenizer, plan.limit, processor)
        engine = LlamaCpp(
            server, tokenizer, plan, weights, layers, kernels, _prefix_cache(entry, header, layers, server)
        )
        return Loaded(engine, path, plan.threads)
    except BaseException:
        server.close()
        raise


def preview(entry: Mapping[str, Any], context: Context) -> PromptPath:
    """Return the prompt path alone; of the file only its header is read."""
    weights = find_weights(entry, context.credentials, progress=context.progress)
    header = read_header(weights.path)
    vision = find_vision_gguf(entry, weights, header)
    vocabulary = Vocabulary(header)
    tokenizer = GgufTokenizer(vocabulary, tokenizer_server(header))
    processor = vision.processor(tokenizer, vision.counting_server) if vision is not None else None
    limit = context_limit(entry, header)
    return _prompt_path(entry, context, _template(entry, vocabulary), tokenizer, limit, processor)


def look(entry: Mapping[str, Any], context: Context) -> Look:
    """Try with llama.cpp whether it takes the file, by its header and the sizes of its tensors."""
    weights = find_weights(entry, context.credentials, progress=context.progress)
    header = read_header(*weights.files)
    vision = find_vision_gguf(entry, weights, header)
    try:
        Vocabulary(header)
    except WeightsError as e:
        return Look(fault=str(e))
    if why := why_unloadable(weights):
        return Look(fault=f"llama.cpp can't load {weights.named}: {why}")
    return Look(odd=vision.otherwise if vision is not None else None)


def fetch(entry: Mapping[str, Any], context: Context) -> Fetched:
    """Bring the GGUF files here. Raises as `load` does for files that can't be had."""
    weights = find_weights(entry, context.credentials, progress=context.progress)
    return Fetched(weights.all_files, weights.revision)


def footprint(entry: Mapping[str, Any], context: Context) -> Footprint | None:
    """Return the memory that weights, keys and values take, by the files' sizes and the header."""
    weights = find_weights(entry, context.credentials, progress=context.progress)
    return Footprint(weights.size, kv_bytes_per_token(read_header(*weights.files)))


def _template(entry: Mapping[str, Any], vocabulary: Vocabulary) -> Template:
    bos = setting(entry, "bos_string") or vocabulary.text_of("bos_token_id") or ""
    eos = setting(entry, "eos_string") or vocabulary.text_of("eos_token_id") or ""
    own = named_template(entry, _templates(vocabulary.header.values))
    return pick_template(entry, own, {"bos_token": bos, "eos_token": eos}, GENERIC_TEMPLATE)


def _templates(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the file's chat templates by their names; the one without a name is the default."""
    names = [""] + [f".{name}" for name in values.get(f"{_TEMPLATE}s") or ()]
    found = ((name[1:] or "default", values.get(f"{_TEMPLATE}{name}")) for name in names)
    return {name: text for name, text in found if isinstance(text, str) and text}


def _longest(entry: Mapping[str, Any], context: Context, template: Template) -> int | None:
    """Return the most tokens that one of the caller's dialogues comes to; None where nobody can tell."""
    if context.extent is None:
        return None
    talk = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    variables = {"add_generation_prompt": True, **template.variables}
    try:
        one, three = (render(template.text, talk[:n], date=context.date, **variables) for n in (1, 3))
    except TemplateError:
        return None
    cost = (len(one.encode()), len(three.encode()) - len(one.encode()))
    return longest_dialogue(entry, context.extent, cost, thinks=family_of(template.text) is not None)


def _prompt_path(
    entry: Mapping[str, Any],
    context: Context,
    template: Template,
    tokenizer: GgufTokenizer,
    limit: int | None,
    processor: GgufProcessor | None,
) -> PromptPath:
    vocabulary = tokenizer.vocabulary
    declared = {**vocabulary.declared(), "llama.cpp": tokenizer.ending_ids()}
    if len(said := tokenizer.encode(setting(entry, "eos_string") or "")) == 1:
        declared["entry eos_string"] = (said[0],)
    stops = collect_stops(
        tokenizer, template, context.date, eos_to_cull=entry.get("eos_to_cull") or (), declared=declared
    )
    return PromptPath(
        template=template,
        tokenizer=tokenizer,
        stops=stops,
        date=context.date,
        context_size=limit,
        processor=processor,
    )


def _params(weights: Weights, plan: MemoryPlan, layers: int, kernels: Kernels) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(weights.path)
    params.n_parallel = plan.slots
    params.n_ctx = plan.n_ctx * plan.slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = plan.threads
    params.n_threads_http = plan.slots + 4
    params.n_gpu_layers = layers
    params.kv_unified = False  # shared, one dialogue's context would change another's answer
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kernels.keys}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kernels.values}")
    params.no_extra_bufts = not kernels.repacked
    params.slot_prompt_similarity = 0.0
    params.cache_ram_mib = plan.cache_mib
    params.ctx_shift = False
    params.use_jinja = params.enable_chat_template = False
    if weights.mmproj is not None:
        use_mmproj(params, weights.mmproj, gpu=layers > 0)
    return params


def _prefix_cache(entry: Mapping[str, Any], header: GgufHeader, layers: int, server: LlamaServer) -> PrefixCache | None:
    """Return what shares beginnings, where the entry says so, or says nothing and no answer depends on it."""
    share = setting(entry, "prefix_caching")
    if server.folder is None or not (layers == 0 if share is None else share):
        return None
    return PrefixCache(server.folder, kv_bytes_per_token(header))
