"""Make the functions that load the models that a server names. Loads nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from playbill.backends.common.findings import Severity
from playbill.backends.credentials import Credentials
from playbill.backends.errors import EntryError
from playbill.backends.loading import judge_spec, load_spec
from playbill.backends.model import Model
from playbill.backends.registry.lookup import ModelRegistry
from playbill.backends.registry.spec import ModelSpec
from playbill.runs.selection import choose_models, parse_model

__all__ = ["make_loaders"]


def make_loaders(
    models: Iterable[str],
    *,
    registry: ModelRegistry,
    credentials: Credentials,
    params: Mapping[str, Any],
    trust_remote_code: bool = False,
    dialogues: int | None = None,
) -> dict[str, Callable[[], Model]]:
    """For each NAME, selector or LABEL={selector} the function that loads its model, by name or label.

    Raises what finding and judging an entry raises: a server may run for long before it loads anything.
    """
    chosen = choose_models([parse_model(text) for text in models], registry, params)
    for one in chosen:
        _check(one.spec)
    return {
        one.label: partial(
            load_spec,
            one.spec,
            credentials=credentials,
            trust_remote_code=trust_remote_code,
            dialogues=dialogues,
        )
        for one in chosen
    }


def _check(spec: ModelSpec) -> None:
    errors = [f for f in judge_spec(spec) if f.severity is Severity.ERROR]
    if errors:
        lines = "\n".join(f"  {finding}" for finding in errors)
        raise EntryError(f"the entry '{spec.get('model_name')}' can't be used:\n{lines}", errors)
