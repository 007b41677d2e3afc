"""Read a checkpoint's configuration files: context size, end-of-sequence ids, recommended sampling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.errors import EntryError, WeightsError
from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.backends.registry.fields.types import parse_token_count

__all__ = [
    "context_size",
    "eos_ids",
    "own_config",
    "read_config",
    "read_generation_config",
    "recommended_sampling",
    "refuse_unhonoured",
]

_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")
_SAMPLES = ("temperature", "top_k", "top_p", "min_p")
_ALWAYS = ("repetition_penalty",)
_UNHONOURED = (
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "top_h",
    "no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "num_beams",
    "penalty_alpha",
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "sequence_bias",
    "guidance_scale",
    "min_length",
    "min_new_tokens",
    "stop_strings",
    "watermarking_config",
)
_OFF = {"typical_p": 1.0, "num_beams": 1, "encoder_repetition_penalty": 1.0}


def read_config(entry: Mapping[str, Any], source: Source, *, trust: bool) -> dict[str, Any]:
    """Return the model's configuration with its class's defaults, where transformers knows the class."""
    from transformers import AutoConfig, PreTrainedConfig

    options = {**source.options}
    if gguf := entry.get("gguf_file"):
        options["gguf_file"] = gguf
    try:
        return dict(AutoConfig.from_pretrained(source.name, trust_remote_code=trust, **options).to_dict())
    except ValueError:  # a class that is code in the repository, or newer than transformers: the file alone
        found, _ = PreTrainedConfig.get_config_dict(source.name, **options)
        return dict(found)


def own_config(entry: Mapping[str, Any], source: Source, *, trust: bool) -> Any:
    """Return transformers' configuration of a model, to be loaded with the entry's attention, or transformers' default.

    A configuration may name kernels on the hub for its attention and experts, which transformers would fetch and run,
    whatever is passed beside it.
    """
    from transformers import AutoConfig

    gguf = {"gguf_file": entry["gguf_file"]} if entry.get("gguf_file") else {}
    config = AutoConfig.from_pretrained(source.name, trust_remote_code=trust, **source.options, **gguf)
    for part in _parts(config):
        part._attn_implementation = entry.get("attn_implementation")
        part._experts_implementation = None
    return config


def _parts(config: Any) -> list[Any]:
    """Return a configuration and those within it."""
    from transformers import PreTrainedConfig

    within = [value for value in vars(config).values() if isinstance(value, PreTrainedConfig)]
    return [config, *(part for each in within for part in _parts(each))]


def read_generation_config(source: Source) -> dict[str, Any]:
    """Return the content of generation_config.json; empty where there is none."""
    path = source.folder / "generation_config.json"
    return _read_object(path) if path.is_file() else {}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise WeightsError(f"{path} is not JSON: {e}") from e
    return content if isinstance(content, dict) else {}


def eos_ids(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the ids that end an answer, as a configuration gives them: one, a list, or none; text models nested or
    not."""
    nested = config.get("text_config")
    value = config.get("eos_token_id")
    if value is None and isinstance(nested, Mapping):
        value = nested.get("eos_token_id")
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if isinstance(v, int))


def context_size(entry: Mapping[str, Any], config: Mapping[str, Any]) -> int | None:
    """Return the most tokens of prompt and answer together: the least of what the entry and the configuration state."""
    nested = config.get("text_config")
    stated = [_trained(c) for c in (config, nested) if isinstance(c, Mapping)]
    sizes = [size for size in (parse_token_count(entry.get("context_size")), *stated) if size]
    return min(sizes, default=None)


def _trained(config: Mapping[str, Any]) -> int | None:
    """Return the context that a configuration states, stretched where its position scaling says so."""
    sizes = (config.get(key) for key in _CONTEXT)
    size = next((s for s in sizes if isinstance(s, int) and s > 0), None)
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    factor = scaling.get("factor") if isinstance(scaling, Mapping) else None
    if size is None or not isinstance(factor, (int, float)) or factor <= 1:
        return size
    kind = scaling.get("rope_type") or scaling.get("type")
    if kind in ("linear", "dynamic"):
        return int(size * factor)
    original = scaling.get("original_max_position_embeddings")
    if kind == "yarn" and isinstance(original, int):
        return max(size, int(original * factor))
    return size


def recommended_sampling(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sampling that generation_config.json recommends, in our parameters; what we can't honour keeps its
    name.

    Without ``do_sample`` its temperature and the like are without effect in transformers, which is greedy then.
    """
    found: dict[str, Any] = {name: generation[name] for name in _ALWAYS if generation.get(name) is not None}
    samples = {name: generation[name] for name in _SAMPLES if generation.get(name) is not None}
    if generation.get("do_sample"):
        found.update({"temperature": 1.0, **samples})
    elif samples or generation.get("do_sample") is False:
        found["temperature"] = 0.0
    for name in _UNHONOURED:
        value = generation.get(name)
        if value not in (None, 0, 0.0, [], _OFF.get(name)):
            found[name] = value
    return found


def refuse_unhonoured(entry: Mapping[str, Any], recommended: Mapping[str, Any]) -> None:
    """Raise EntryError where an entry wants the repository's sampling and a part of it can't be honoured."""
    foreign = sorted(name for name in recommended if name not in PARAMETERS)
    if foreign and entry.get("generation_config") == "repo":
        raise EntryError(
            f"{entry.get('model_name')}: generation_config is 'repo', but of the repository's settings "
            f"{', '.join(foreign)} can't be honoured here; set generation_config to 'playbill', and the sampling "
            "parameters in the entry"
        )
