"""Build the prompt path of a checkpoint: tokenizer, chat template and stop ids. Loads no weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.answer.cleaning_rule import usable_response
from playbill.backends.engines.base import Context
from playbill.backends.engines.checkpoint.config import (
    context_size,
    eos_ids,
    read_config,
    read_generation_config,
    recommended_sampling,
    refuse_unhonoured,
)
from playbill.backends.engines.checkpoint.model_class import check_model_class, refuse_without_class, sees_by_kind
from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.engines.checkpoint.tokenizer import LoadedTokenizer, load_tokenizer
from playbill.backends.engines.checkpoint.vision.loading import load_processor
from playbill.backends.engines.checkpoint.vision.torchvision import mend_torchvision
from playbill.backends.engines.machine.process_state import show_torch
from playbill.backends.prompt.chat_template import pick_template
from playbill.backends.prompt.prompt_path import Bos, PromptPath
from playbill.backends.prompt.stops import collect_stops
from playbill.backends.prompt.template import GENERIC_TEMPLATE
from playbill.backends.registry.fields.multimodality import pictures_taken

__all__ = ["make_prompt_path"]


def make_prompt_path(
    entry: Mapping[str, Any], context: Context, source: Source, *, trust: bool, by_transformers: bool
) -> PromptPath:
    """Return the prompt path of an entry whose files are here. Where the model runs ``by_transformers``, that must have
    a class for it, EntryError where it has none. Pictures go through the checkpoint's own processor."""
    mend_torchvision()
    sees = pictures_taken(entry).any
    if sees:
        show_torch()
    config = read_config(entry, source, trust=trust)
    if by_transformers:
        refuse_without_class(entry, config)
    check_model_class(entry, config)
    generation = read_generation_config(source)
    processor = load_processor(entry, source, trust=trust) if sees else None
    loaded = load_tokenizer(entry, source, trust=trust, own_templates=processor.chat_template if processor else None)
    template = pick_template(
        entry,
        loaded.chat_template,
        loaded.special_tokens,
        GENERIC_TEMPLATE,
        separates=loaded.response_template is not None,
    )
    recommended = recommended_sampling(generation)
    refuse_unhonoured(entry, recommended)
    stops = collect_stops(
        loaded.tokenizer,
        template,
        context.date,
        eos_to_cull=entry.get("eos_to_cull") or (),
        declared={"tokenizer": loaded.eos_ids, "generation_config": eos_ids(generation), "config": eos_ids(config)},
    )
    return PromptPath(
        template=template,
        tokenizer=loaded.tokenizer,
        stops=stops,
        date=context.date,
        context_size=context_size(entry, config),
        recommended=recommended,
        response=usable_response(str(entry.get("model_name")), loaded.response_template),
        processor=processor,
        bos=_bos_of_processor(config, loaded) if processor is None else None,
    )


def _bos_of_processor(config: Mapping[str, Any], loaded: LoadedTokenizer) -> Bos | None:
    """Return the BOS that a processor would put before a prompt of text alone, where the model has one for pictures:
    those processors add what the tokenizer adds, unless a prompt begins with it."""
    if loaded.adds_bos is None or not sees_by_kind(config):
        return None
    return Bos(*loaded.adds_bos)
