"""The model registry: read entries from several files in order, and find one by name. Loads no model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from playbill.backends.common.findings import Finding, Severity
from playbill.backends.common.home import MissingHome, config_folder, expanded
from playbill.backends.common.jsonfile import read_json
from playbill.backends.common.warn import warn_once
from playbill.backends.errors import FileFormatError, PlaybillError, UnificationError, UnknownModel
from playbill.backends.registry import rules
from playbill.backends.registry.fields.table import PATHS
from playbill.backends.registry.spec import ModelSpec, conflicts
from playbill.backends.registry.validate import Flat, flatten, judge_entry

__all__ = ["FILE_NAME", "ModelRegistry", "RegistryEntry", "packaged_file", "search_path", "user_file"]

FILE_NAME = "model_registry.json"


def packaged_file() -> Path:
    """Return the registry that comes with the package."""
    return Path(str(files("playbill.backends") / FILE_NAME))


def user_file() -> Path:
    """Return the registry in the user's config directory, there or not."""
    return config_folder() / FILE_NAME


@dataclass(frozen=True, eq=False)
class RegistryEntry:
    """One entry where it stands: its file, its place in it, and what was written there."""

    file: Path
    index: int
    raw: Any
    folder: str | None = None
    """Where relative paths in the entry begin: the folder of its file."""

    @property
    def where(self) -> str:
        return f"{self.file} $[{self.index}]"

    @property
    def name(self) -> str | None:
        """The model's name, or None where it is missing or no string: then only its place tells it apart."""
        name = self.raw.get("model_name") if isinstance(self.raw, dict) else None
        return name if isinstance(name, str) and name else None

    @cached_property
    def flat(self) -> Flat:
        return flatten(self.raw if isinstance(self.raw, dict) else {}, self.where)

    @cached_property
    def spec(self) -> ModelSpec:
        folders = dict.fromkeys(PATHS, self.folder) if self.folder is not None else None
        return ModelSpec(self.flat.entry, sources=self.flat.paths, findings=self.flat.findings, folders=folders)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All that is wrong or odd with the entry; see `playbill.backends.registry.validate`."""
        if not isinstance(self.raw, dict):
            return (rules.NOT_AN_ENTRY.at(self.where, "is not an object"),)
        return judge_entry(self.flat, self.where)

    @property
    def usable(self) -> bool:
        return not any(f.severity is Severity.ERROR for f in self.findings)


@dataclass(frozen=True, eq=False)
class _Place:
    """One file that may hold a registry, and what its absence means."""

    path: Path
    is_needed: bool


def search_path(named: Iterable[str | os.PathLike[str]] = ()) -> list[_Place]:
    """Return the files in which entries are looked for, in this order.

    Named by the caller, then by ``PLAYBILL_REGISTRY`` (several with the system's path separator), then
    ``./model_registry.json``, the user's config directory, and the packaged file.
    """
    if isinstance(named, (str, os.PathLike)):
        named = [named]
    from_env = [part for part in os.environ.get("PLAYBILL_REGISTRY", "").split(os.pathsep) if part]
    places = [_Place(expanded(path), True) for path in (*named, *from_env)]
    places.append(_Place(Path(FILE_NAME), False))
    with suppress(MissingHome):
        places.append(_Place(user_file(), False))
    places.append(_Place(packaged_file(), True))
    first: dict[str, _Place] = {}
    for place in places:
        first.setdefault(os.path.realpath(place.path), place)
    return list(first.values())


class ModelRegistry:
    """Entries in the order in which they are searched.

    >>> registry = ModelRegistry.load()
    >>> registry.find("mock").backend
    'programmatic'
    """

    def __init__(self, entries: Iterable[RegistryEntry], files: Iterable[Path] = ()) -> None:
        self._entries = list(entries)
        self.files = tuple(files)
        """The files that were read, in order."""
        self._by_name: dict[str, list[RegistryEntry]] = {}
        for entry in self._entries:
            if entry.name is not None:
                self._by_name.setdefault(entry.name, []).append(entry)

    @classmethod
    def load(cls, named: Iterable[str | os.PathLike[str]] = ()) -> ModelRegistry:
        """Read all files of the `search_path`; ``named`` are those of the caller, searched first.

        Raises FileFormatError for a file that is not a list in JSON, and PlaybillError for a named file that
        isn't there. A bad entry raises nothing: it stays in its place, with findings.
        """
        entries: list[RegistryEntry] = []
        found: list[Path] = []
        places = search_path(named)
        for place in places:
            if not place.is_needed and not os.path.lexists(place.path):
                continue
            entries.extend(entry for entry in _read(place.path) if not _is_for_clemcore(entry))
            found.append(place.path)
        registry = cls(entries, found)
        if Path(FILE_NAME) in [place.path for place in places if not place.is_needed]:
            registry._warn_of_shadows()
        return registry

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> ModelRegistry:
        """Return the registry of one file alone. Raises as `load`."""
        return cls(_read(Path(path)), [Path(path)])

    def __iter__(self) -> Iterator[RegistryEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def namesakes(self, name: str) -> tuple[RegistryEntry, ...]:
        """Return all entries of a name, in the order of the search."""
        return tuple(self._by_name.get(name, ()))

    def entry_of(self, selector: str | Mapping[str, Any] | ModelSpec) -> RegistryEntry | None:
        """Return the entry whose spec `find` returns, as it stands in its file; None where none is found."""
        asked = as_spec(selector)
        return next((e for e in self.namesakes(str(asked.get("model_name"))) if not conflicts(asked, e.spec)), None)

    def find(self, selector: str | Mapping[str, Any] | ModelSpec) -> ModelSpec:
        """Return the spec of the first entry that has the selector's name and unifies with it.

        Raises UnknownModel where no entry has the name (unless the selector names its backend: then it
        stands alone), and UnificationError where there are namesakes and none unifies.
        """
        asked = as_spec(selector)
        name = asked.get("model_name")
        if not isinstance(name, str) or not name:
            raise UnknownModel(f"a selector needs a 'model_name'; this one has none: {asked.to_dict()}")
        candidates = self._by_name.get(name, [])
        for entry in candidates:
            if not conflicts(asked, entry.spec):
                return asked.unify(entry.spec)
        if candidates:
            raise UnificationError(_disagreements(name, asked, candidates))
        if "backend" in asked:
            return asked
        raise UnknownModel(self._unknown(name))

    def _unknown(self, name: str) -> str:
        folded = {known.casefold(): known for known in self._by_name}
        asked = name.casefold()
        near = get_close_matches(asked, folded, n=3, cutoff=0.5) or [k for k in folded if asked in k][:3]
        hint = f"; the nearest are {', '.join(folded[n] for n in near)}" if near else ""
        searched = ", ".join(str(path) for path in self.files)
        return f"no model is called '{name}'{hint}. Searched: {searched}. `playbill list` shows all names"

    def _warn_of_shadows(self) -> None:
        """A file in the working directory comes before the user's and the packaged one: say what it hides."""
        here = Path(FILE_NAME)
        hidden = []
        for name, entries in self._by_name.items():
            others = [e for e in entries if e.file != here and e.raw != entries[0].raw]
            if entries[0].file == here and others:
                hidden.append(f"'{name}' of {others[0].where}")
        if hidden:
            more = f" and {len(hidden) - 3} more" if len(hidden) > 3 else ""
            warn_once(
                f"{here.resolve()}, in the working directory, comes first and shadows {', '.join(hidden[:3])}{more}; "
                "rename its entries if that is not meant"
            )


def as_spec(selector: str | Mapping[str, Any] | ModelSpec) -> ModelSpec:
    """Return a selector as a spec: a name, a dictionary or a spec."""
    if isinstance(selector, ModelSpec):
        return selector
    return ModelSpec.from_name(selector) if isinstance(selector, str) else ModelSpec.from_dict(selector)


def _is_for_clemcore(entry: RegistryEntry) -> bool:
    """Tell whether an entry only tells clemcore, which reads the same file, that Playbill has the model of that
    name."""
    return isinstance(entry.raw, dict) and entry.raw.get("backend") == "playbill"


def _read(path: Path) -> list[RegistryEntry]:
    try:
        content = read_json(path, repeats=True)
    except FileNotFoundError as e:
        raise PlaybillError(f"no registry file {path}") from e
    except OSError as e:
        raise PlaybillError(f"can't read the registry file {path}: {e.strerror}") from e
    if not isinstance(content, list):
        raise FileFormatError(f"{path}:1:1: a registry is a list of entries, [{{…}}, …]")
    folder = os.path.dirname(os.path.abspath(path))
    return [RegistryEntry(path, index, raw, folder) for index, raw in enumerate(content)]


def _called(number: int, name: str) -> str:
    if number == 1:
        return f"one entry is called '{name}', and it doesn't agree"
    return f"{number} entries are called '{name}', and none agrees"


def _disagreements(name: str, asked: ModelSpec, candidates: list[RegistryEntry]) -> str:
    lines = [f"{_called(len(candidates), name)} with the selector:"]
    for entry in candidates:
        for path, ours, theirs in conflicts(asked, entry.spec):
            lines.append(f"  {entry.where}: {path} is {theirs!r}, asked for {ours!r}")
    return "\n".join(lines)
