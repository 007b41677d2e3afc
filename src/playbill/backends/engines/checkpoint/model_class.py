"""Judge by a configuration whether transformers loads a text model for it, and of which class. Loads no weights."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from playbill.backends.engines.checkpoint.remote_code import code_asked
from playbill.backends.errors import EntryError

__all__ = ["check_model_class", "refuse_without_text_model"]

_AUTO = "AutoModelForCausalLM"
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
    if str(asked).rpartition(".")[2] not in (_AUTO, *loaded):
        said = f"{' or '.join(loaded)} follows from the model's configuration" if loaded else f"{_AUTO} loads it"
        raise EntryError(
            f"{entry.get('model_name')}: model_class is '{asked}', and can't be honoured: {said}, and text models are "
            "loaded by that alone; take model_class out"
        )


def refuse_without_text_model(entry: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise EntryError where transformers is sure to load no text model that writes token by token."""
    name, kind = entry.get("model_name"), str(config.get("model_type"))
    if kind in _ENCODERS and not config.get("is_decoder"):
        raise EntryError(
            f"{name}: huggingface_id names an encoder ({_said(config)}, without is_decoder), which reads texts and "
            "writes none; take a model that generates text"
        )
    if _own_class(kind) or (code_asked(entry) and config.get("auto_map")):
        return  # of what the repository's code would do nothing is known
    if _code_class(config) is None:
        raise EntryError(
            f"{name}: huggingface_id names a model of the kind {_said(config)}, for which transformers "
            f"{version('transformers')} has no {_AUTO}; take a model of text alone, another version of transformers, "
            "or another backend"
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
    return [*_own_class(str(config.get("model_type"))), *([code.rpartition(".")[2]] if code else ())]


def _own_class(kind: str) -> list[str]:
    """Return the classes for text that transformers has for a kind of model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    return [names] if isinstance(names, str) else list(names or ())


def _code_class(config: Mapping[str, Any]) -> str | None:
    classes = config.get("auto_map")
    code = classes.get(_AUTO) if isinstance(classes, Mapping) else None
    return code if isinstance(code, str) else None
