"""Check the model class that an entry names against the one that the configuration implies. Loads no weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.errors import EntryError

__all__ = ["check_model_class"]

_AUTO = "AutoModelForCausalLM"


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


def _loaded_with(config: Mapping[str, Any]) -> list[str]:
    """Return the class that transformers takes for the configuration: its own for the kind, or the repository's
    code."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(str(config.get("model_type")))
    code = (config.get("auto_map") or {}).get(_AUTO)
    found = [names] if isinstance(names, str) else list(names or ())
    if isinstance(code, str):
        found.append(code.rpartition(".")[2])
    return found
