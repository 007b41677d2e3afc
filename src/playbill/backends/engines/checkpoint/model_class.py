"""Judge by a configuration whether transformers loads a model that writes text for it, and of which class. Loads no
weights.

Text models have a class for text alone; a vision model may have only one for pictures and text, which reads text
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from playbill.backends.engines.checkpoint.remote_code import code_asked
from playbill.backends.errors import EntryError
from playbill.backends.registry.fields.multimodality import pictures_taken

__all__ = ["auto_class", "check_model_class", "refuse_without_class", "sees_by_kind", "takes_pictures"]

_AUTO = "AutoModelForCausalLM"
_AUTO_EYES = "AutoModelForImageTextToText"
_AUTO_NAMES_EYES = (_AUTO_EYES, "AutoModelForVision2Seq")
"""What entries name where no one class for pictures and text is meant; the second is the first's old name."""
_OTHER_FORM: Mapping[str, str] = {
    "internvl_chat": "take the checkpoint in transformers' form, which ends with '-hf', as OpenGVLab/InternVL3-14B-hf",
    "llava_llama": "take the checkpoint in transformers' form, as llava-hf/llava-1.5-7b-hf",
    "llava_qwen": "take the checkpoint in transformers' form, as llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "llava_mistral": "take the checkpoint in transformers' form, as llava-hf/llava-v1.6-mistral-7b-hf",
}
"""Kinds whose published checkpoints come in a second form, which is the one that works."""
_ENCODERS = frozenset(
    {
        "bert",
        "bert-generation",
        "big_bird",
        "camembert",
        "data2vec-text",
        "electra",
        "ernie",
        "megatron-bert",
        "reformer",
        "rembert",
        "roberta",
        "roberta-prelayernorm",
        "roc_bert",
        "roformer",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
"""Kinds that look at what follows a token as well, unless their configuration says ``is_decoder``."""


def check_model_class(entry: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise EntryError where ``model_class`` names another class than the one that the model is loaded with.

    Nothing is imported by that name: it is compared.
    """
    asked = entry.get("model_class")
    if not asked:
        return
    loaded = _loaded_with(config)
    autos = (_AUTO, *(_AUTO_NAMES_EYES if takes_pictures(str(config.get("model_type"))) else ()))
    if str(asked).rpartition(".")[2] not in (*autos, *loaded):
        said = f"{' or '.join(loaded)} follows from the model's configuration" if loaded else f"{_AUTO} loads it"
        raise EntryError(
            f"{entry.get('model_name')}: model_class is '{asked}', and can't be honoured: {said}, and models are "
            "loaded by that alone; take model_class out"
        )


def auto_class(entry: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the name of the class of transformers by which a model is loaded: for pictures and text where the entry
    says that it takes pictures, and where there is none for text alone."""
    kind = str(config.get("model_type"))
    if pictures_taken(entry).any:
        return _AUTO_EYES
    return _AUTO if _classes(kind) or not _classes_with_eyes(kind) else _AUTO_EYES


def takes_pictures(kind: str) -> bool:
    """Tell whether transformers has a class for pictures and text for models of a kind."""
    return bool(_classes_with_eyes(kind))


def sees_by_kind(config: Mapping[str, Any]) -> bool:
    """Tell whether models of this kind read pictures, and have a processor that says what begins a prompt. The one of
    LFM2-VL adds nothing."""
    kind = str(config.get("model_type"))
    return bool(_classes_with_eyes(kind)) and kind not in ("lfm2_vl", "lfm3_vl")


def refuse_without_class(entry: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise EntryError where transformers is sure to load no model that writes token by token, or no vision model where
    the entry says that it takes pictures."""
    name, kind = entry.get("model_name"), str(config.get("model_type"))
    if kind in _ENCODERS and not config.get("is_decoder"):
        raise EntryError(
            f"{name}: huggingface_id names an encoder ({_said(config)}, without is_decoder), which reads texts and "
            "writes none; take a model that generates text"
        )
    if pictures_taken(entry).any and not _classes_with_eyes(kind):
        raise EntryError(
            f"{name}: the entry says that the model takes pictures, and huggingface_id names a model of the kind "
            f"{_said(config)}, for which transformers {version('transformers')} has no {_AUTO_EYES}; "
            f"{_OTHER_FORM.get(kind, 'take `multimodality` out if it reads text alone, or take another model')}"
        )
    if _classes(kind) or _classes_with_eyes(kind) or (code_asked(entry) and config.get("auto_map")):
        return  # of what the repository's code would do nothing is known
    if _code_class(config) is None:
        raise EntryError(
            f"{name}: huggingface_id names a model of the kind {_said(config)}, for which transformers "
            f"{version('transformers')} has no {_AUTO}; "
            f"{_OTHER_FORM.get(kind, 'take another model, another version of transformers, or another backend')}"
        )
    raise EntryError(
        f"{name}: the model's class is Python code in its repository; if you trust it, set "
        '"trust_remote_code": true in the entry and give --trust-remote-code'
    )


def _said(config: Mapping[str, Any]) -> str:
    classes = config.get("architectures")
    named = f" ({', '.join(map(str, classes))})" if isinstance(classes, list) and classes else ""
    return f"'{config.get('model_type')}'{named}"


def _loaded_with(config: Mapping[str, Any]) -> list[str]:
    """Return the class that transformers takes for the configuration: its own for the kind, or the repository's
    code."""
    code = _code_class(config)
    kind = str(config.get("model_type"))
    return [*_classes(kind), *_classes_with_eyes(kind), *([code.rpartition(".")[2]] if code else ())]


def _classes(kind: str) -> list[str]:
    """Return the classes for text that transformers has for a kind of model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    return [names] if isinstance(names, str) else list(names or ())


def _classes_with_eyes(kind: str) -> list[str]:
    """Return the classes for pictures and text that transformers has for a kind of model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    names = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(kind)
    return [names] if isinstance(names, str) else list(names or ())


def _code_class(config: Mapping[str, Any]) -> str | None:
    classes = config.get("auto_map")
    code = classes.get(_AUTO) if isinstance(classes, Mapping) else None
    return code if isinstance(code, str) else None
