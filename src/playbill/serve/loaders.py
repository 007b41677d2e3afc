"""Make the functions that load the models that a server names. Loads nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from playbill.backends.common.findings import Severity
from playbill.backends.credentials import Credentials
from playbill.backends.errors import EntryError
from playbill.backends.loading import judge_spec, load_spec
from playbill.backends.model import Model
from playbill.backends.registry.lookup import ModelRegistry
from playbill.backends.registry.spec import ModelSpec
from playbill.replicas import LoadOrder, Places, ReplicatedModel
from playbill.replicas.places import has_replicas, works_alone
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
    places: Places | None = None,
    key_files: Iterable[Path] = (),
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Callable[[], Model]]:
    """For each NAME, selector or LABEL={selector} the function that loads its model, by name or label.

    With ``places`` local models get replicas there, which look into ``key_files`` for keys; ``say`` is told what
    becomes of them. Raises what finding and judging an entry raises: a server may run for long before it loads
    anything.
    """
    chosen = choose_models([parse_model(text) for text in models], registry, params)
    for one in chosen:
        _check(one.spec)
    files = tuple(file.absolute() for file in key_files)
    found: dict[str, Callable[[], Model]] = {}
    for one in chosen:
        shared: dict[str, Any] = {"trust_remote_code": trust_remote_code, "dialogues": dialogues}
        if places is not None and has_replicas(one.spec):
            order = LoadOrder(spec=one.spec, key_files=files, **shared)
            found[one.label] = _ReplicaLoader(places, order, partial(_say, say, one.label))
        else:
            if places is not None:
                say(f"{one.label}: {works_alone(one.spec)}")
            found[one.label] = partial(load_spec, one.spec, credentials=credentials, **shared)
    return found


class _ReplicaLoader:
    """Loads a model with replicas. `cancel` ends a load that waits, as for room that another job has."""

    def __init__(self, places: Places, order: LoadOrder, say: Callable[[str], None]) -> None:
        self._places, self._order, self._say = places, order, say
        self._cancelled = threading.Event()

    def __call__(self) -> Model:
        return ReplicatedModel.load(self._places, self._order, say=self._say, stopped=self._cancelled.is_set)

    def cancel(self) -> None:
        self._cancelled.set()


def _say(say: Callable[[str], None], label: str, text: str) -> None:
    say(f"{label}: {text}")


def _check(spec: ModelSpec) -> None:
    errors = [f for f in judge_spec(spec) if f.severity is Severity.ERROR]
    if errors:
        lines = "\n".join(f"  {finding}" for finding in errors)
        raise EntryError(f"the entry '{spec.get('model_name')}' can't be used:\n{lines}", errors)
