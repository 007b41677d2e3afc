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
from playbill.backends.engines.checkpoint.model_class import check_model_class, refuse_without_text_model
from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.engines.checkpoint.tokenizer import load_tokenizer
from playbill.backends.prompt.chat_template import pick_template
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.prompt.stops import collect_stops
from playbill.backends.prompt.template import GENERIC_TEMPLATE

__all__ = ["make_prompt_path"]


def make_prompt_path(
    entry: Mapping[str, Any], context: Context, source: Source, *, trust: bool, text_model: bool
) -> PromptPath:
    """Return the prompt path of an entry whose files are here. With ``text_model`` transformers must have a class for
    text alone; EntryError where it has none."""
    config = read_config(entry, source, trust=trust)
    if text_model:
        refuse_without_text_model(entry, config)
    check_model_class(entry, config)
    generation = read_generation_config(source)
    loaded = load_tokenizer(entry, source, trust=trust)
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
    )
