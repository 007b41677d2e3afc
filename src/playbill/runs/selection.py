"""Select the models of a run, each under a label of its own. Loads none of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from playbill.backends.common.jsonfile import parse_json
from playbill.backends.errors import RunError
from playbill.backends.loading import find_spec
from playbill.backends.model import Model
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.backends.registry.spec import ModelSpec

__all__ = ["Chosen", "ModelChoice", "Selector", "choose_models", "parse_model"]

Selector = str | Mapping[str, Any] | ModelSpec
ModelChoice = Selector | Model | tuple[str, Selector | Model]
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model of a run: its label, and the spec that was found. ``model`` is one the caller has loaded, and ``entry``
    where the spec stands in a registry, if it does."""

    label: str
    spec: ModelSpec
    model: Model | None = None
    entry: RegistryEntry | None = None


def parse_model(text: str) -> ModelChoice:
    """Return what ``-m`` says: NAME, a JSON selector, or LABEL={a JSON selector}.

    >>> parse_model('warm={"model_name": "mock", "temperature": 0.7}')
    ('warm', {'model_name': 'mock', 'temperature': 0.7})

    Raises RunError, and FileFormatError for what begins as JSON and is none.
    """
    label, brace, rest = text.partition("={")
    if text.lstrip().startswith("{"):
        label, brace, rest = "", "{", text.lstrip()[1:]
    elif not brace:
        return text
    selector = parse_json("{" + rest, f"-m {text}")
    if not isinstance(selector.get("model_name"), str) or not selector["model_name"]:
        raise RunError(f"-m {text}: the selector has no 'model_name'")
    return (label.strip(), selector) if brace == "={" else selector


def choose_models(
    models: ModelChoice | Iterable[ModelChoice], registry: ModelRegistry, overrides: Mapping[str, Any]
) -> list[Chosen]:
    """Find all models. Raises RunError for labels that occur twice, and as `find_spec`."""
    chosen = [_choose(choice, registry, overrides) for choice in _as_list(models)]
    if not chosen:
        raise RunError("a run needs a model; name one with -m NAME (`playbill list` shows all names)")
    seen: set[str] = set()
    for one in chosen:
        if one.label in seen:
            raise RunError(
                f"two models have the label '{one.label}'; give one another: "
                f'-m \'OTHER={{"model_name": "{one.spec["model_name"]}", …}}\''
            )
        seen.add(one.label)
    return chosen


def _as_list(models: ModelChoice | Iterable[ModelChoice]) -> list[ModelChoice]:
    """Return the models one by one. A pair is one (label, selector), unless its second is a string: then it is two
    names."""
    if isinstance(models, (str, Mapping, Model)):
        return [models]
    if isinstance(models, tuple) and len(models) == 2 and not isinstance(models[1], str):
        label, selector = models
        if isinstance(label, str) and isinstance(selector, (Mapping, Model)):
            return [(label, selector)]
    found: list[Any] = list(models)
    return found


def _choose(choice: ModelChoice, registry: ModelRegistry, overrides: Mapping[str, Any]) -> Chosen:
    label, selector = choice if isinstance(choice, tuple) else (None, choice)
    model = selector if isinstance(selector, Model) else None
    entry = None if isinstance(selector, Model) else registry.entry_of(selector)
    if isinstance(selector, Model):
        if overrides:
            raise RunError(f"the model '{selector.name}' is loaded already: 'params' can't reach it any more")
        spec = selector.spec
    else:
        spec = find_spec(selector, registry=registry, overrides=overrides)
    label = str(spec["model_name"]) if label is None else label
    if not label.strip() or _CONTROL.search(label):
        raise RunError(f"{label!r} is no label: it needs visible characters, and no control characters")
    return Chosen(label, spec, model, entry)
