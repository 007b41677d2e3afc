"""Derive entries from many sources: a list, a folder of models, a hub's cache; side by side, and resumable.

A source that can't be had or read is said, and stops no other. Writes no registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbill import __version__
from playbill.backends.common.home import expanded
from playbill.backends.engines.base import Context
from playbill.backends.errors import InputError, PlaybillError
from playbill.backends.registry.lookup import RegistryEntry
from playbill.backends.weights.identity import hub_cache
from playbill.proof.add.sources import Proposal, propose
from playbill.proof.bulk import Journal, digest_of, side_by_side

__all__ = ["Chosen", "Derived", "choose_new", "derive_many", "expand_sources"]

_CACHED = "models--"


@dataclass(frozen=True, slots=True)
class Derived:
    """What a source gave: its proposals, or why there are none."""

    source: str
    proposals: tuple[Proposal, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to be written: the proposals whose names are free. ``taken`` are the names that are in the file already,
    and ``failed`` says of each source without an entry why."""

    proposals: tuple[Proposal, ...]
    taken: tuple[str, ...]
    failed: tuple[Derived, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset([*self.taken, *(str(proposal.values["model_name"]) for proposal in self.proposals)])


def expand_sources(sources: Iterable[str]) -> list[str]:
    """Return sources one by one: a hub's cache as the repositories in it, a folder of models as those folders.

    Raises InputError for a cache that isn't the one that would be used.
    """
    found = [each for source in sources for each in _expanded(source)]
    return list(dict.fromkeys(found))


def _expanded(source: str) -> list[str]:
    folder = expanded(source)
    if "://" in source or not folder.is_dir():
        return [source]
    cached = sorted(each.name for each in folder.glob(f"{_CACHED}*--*") if (each / "snapshots").is_dir())
    if cached:
        if folder.resolve() != hub_cache().resolve():
            raise InputError(f"{source} is a hub's cache, but not the one in use; say so with HF_HUB_CACHE={source}")
        return [name.removeprefix(_CACHED).replace("--", "/", 1) for name in cached]
    if _is_model(folder):
        return [source]
    inside = sorted(each for pattern in ("*", "*/*") for each in folder.glob(pattern) if each.is_dir())
    return [str(each) for each in inside if _is_model(each)] or [source]


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or any(folder.glob("*.gguf"))


def derive_many(
    sources: Sequence[str], context: Context, *, filename: str | None, journal: Journal, jobs: int
) -> Iterator[Derived]:
    """Yield what each source gives, as it is found; what the journal holds comes first, and isn't derived again. What
    failed is not noted, and so tried again the next time."""
    keys = {source: digest_of([__version__, "add", source, filename]) for source in sources}
    left = [source for source in sources if keys[source] not in journal]
    for source in sources:
        if keys[source] in journal:
            yield Derived(source, tuple(Proposal(**each) for each in journal[keys[source]]))

    def derive(source: str) -> Derived:
        try:
            return Derived(source, tuple(propose(source, context, filename=filename)))
        except PlaybillError as e:
            return Derived(source, error=str(e))

    for source, derived in side_by_side(derive, left, jobs):
        if derived.error is None:
            journal.add(keys[source], [_as_json(proposal) for proposal in derived.proposals])
        yield derived


def _as_json(proposal: Proposal) -> dict[str, Any]:
    return {"values": proposal.values, "origins": proposal.origins}


def choose_new(derived: Sequence[Derived], there: Iterable[RegistryEntry]) -> Chosen:
    """Return the proposals whose names are neither in the file nor given by a source before them."""
    in_file = {entry.name for entry in there}
    proposals: dict[str, tuple[str, Proposal]] = {}
    taken: dict[str, None] = {}
    failed = [each for each in derived if each.error is not None]
    for each in derived:
        for proposal in each.proposals:
            name = str(proposal.values["model_name"])
            if name in in_file:
                taken[name] = None
            elif name in proposals:
                said = f"gives the name '{name}', which {proposals[name][0]} gives as well; add one alone, with --name"
                failed.append(Derived(each.source, error=said))
            else:
                proposals[name] = (each.source, proposal)
    return Chosen(tuple(proposal for _, proposal in proposals.values()), tuple(taken), tuple(failed))
