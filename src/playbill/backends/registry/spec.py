"""ModelSpec: an entry's data plus what the caller asked for. It holds, compares and unifies, and checks nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from playbill.backends.common.findings import Finding
from playbill.backends.common.home import expanded
from playbill.backends.errors import EntryError, UnificationError
from playbill.backends.registry.validate import flatten

__all__ = ["Conflict", "ModelSpec", "conflicts", "not_here", "path_in"]

Conflict = tuple[str, Any, Any]  # path, ours, theirs


class ModelSpec(Mapping[str, Any]):
    """The data of one model: any JSON keys, flat, read as attributes (``spec.backend``) and as a mapping.

    Equal by content, hashable, immutable: containers are handed out as copies. What a spec holds is checked
    where it is listed, judged or loaded, never here.

    >>> ModelSpec.from_dict({"model_name": "m", "backend": "llamacpp"}).backend
    'llamacpp'
    """

    __slots__ = ("_content", "_data", "_findings", "_folders", "_sources")

    _data: dict[str, Any]
    _content: Any
    _sources: dict[str, str]
    _findings: tuple[Finding, ...]
    _folders: dict[str, str]

    def __init__(
        self,
        data: Mapping[str, Any],
        *,
        sources: Mapping[str, str] | None = None,
        findings: tuple[Finding, ...] = (),
        folders: Mapping[str, str] | None = None,
    ) -> None:
        """Take flat data as it is. Use `from_name` and `from_dict`; a registry adds where each value is from.

        ``folders``: for each key with a path, to which folder that is relative; else to the working directory.
        Raises EntryError for what is not JSON, naming the path.
        """
        try:
            copied = _copied(dict(data))
            if copied is None:
                _canonical(dict(data), "")  # which names the path
        except RecursionError:
            raise EntryError("spec: nested too deeply, or in itself") from None
        self._set(copied or {}, dict(sources or {}), findings, dict(folders or {}))

    def _set(
        self, data: dict[str, Any], sources: dict[str, str], findings: tuple[Finding, ...], folders: dict[str, str]
    ) -> None:
        set_ = object.__setattr__
        set_(self, "_data", data)
        set_(self, "_content", None)
        set_(self, "_sources", sources)
        set_(self, "_findings", findings)
        set_(self, "_folders", {key: folder for key, folder in folders.items() if key in data} if folders else {})

    @property
    def _hashable(self) -> Any:
        """The content in a form that compares and hashes, made when it is first asked for."""
        if self._content is None:
            object.__setattr__(self, "_content", _canonical(self._data, ""))
        return self._content

    @classmethod
    def from_name(cls, model_name: str) -> ModelSpec:
        """Return a spec of the name alone, to be unified with the registry's first entry of that name."""
        return cls({"model_name": model_name}, sources={"model_name": "the caller"})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Return a spec of a dictionary in either layout, flat or with ``model_config``, for prototyping and tests."""
        flat = flatten(data)
        return cls(flat.entry, sources=dict.fromkeys(flat.entry, "the caller"), findings=flat.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return what the spec was given, flat and without defaults, as a fresh dictionary."""
        return copy.deepcopy(self._data)

    def unify(self, other: ModelSpec | Mapping[str, Any]) -> ModelSpec:
        """Return a spec that holds what both hold; nested objects are unified key by key.

        Raises UnificationError where they disagree, naming each path and both values.
        """
        theirs = other if isinstance(other, ModelSpec) else ModelSpec.from_dict(other)
        found = conflicts(self._data, theirs._data)
        if found:
            shown = "; ".join(f"{path}: {ours!r} against {value!r}" for path, ours, value in found)
            raise UnificationError(f"can't unify: {shown}")
        unified = object.__new__(ModelSpec)  # of two specs whose data are checked and never change
        unified._set(
            _merge(theirs._data, self._data),
            {**self._sources, **theirs._sources},
            self._findings + theirs._findings,
            {**self._folders, **theirs._folders},
        )
        return unified

    def override(self, values: Mapping[str, Any], source: str = "the caller") -> ModelSpec:
        """Return a spec in which these values replace those that are there. Unifying selects; this overrides."""
        replaced = {self._sources.get(key) for key in values}
        findings = tuple(f for f in self._findings if f.where not in replaced)
        sources = {**self._sources, **dict.fromkeys(values, source)}
        folders = {key: folder for key, folder in self._folders.items() if key not in values}
        return ModelSpec({**self._data, **values}, sources=sources, findings=findings, folders=folders)

    def __getitem__(self, key: str) -> Any:
        return _fresh(self._data[key])

    def __getattr__(self, name: str) -> Any:
        if name in ModelSpec.__slots__:  # only before __init__ ran
            raise AttributeError(name)
        try:
            return _fresh(self._data[name])
        except KeyError:
            given = self._data.get("model_name", "without a name")
            raise AttributeError(f"the spec {given!r} has no key '{name}'") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a ModelSpec can't be changed; use override({{{name!r}: …}})")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a ModelSpec can't be changed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        return self._hashable == other._hashable if isinstance(other, ModelSpec) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._hashable)

    def __repr__(self) -> str:
        return f"ModelSpec({self._data!r})"

    def __copy__(self) -> ModelSpec:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelSpec:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._data, self._sources, self._findings, self._folders)

    def sources(self) -> dict[str, str]:
        """For each key where its value came from: a file and path in it, or "the caller"."""
        return {key: self._sources.get(key, "the caller") for key in self._data}

    def findings(self) -> tuple[Finding, ...]:
        """Return what had to be said when the data was brought into the flat form."""
        return self._findings

    def folders(self) -> dict[str, str]:
        """For each key with a path from a registry file, the folder of that file."""
        return dict(self._folders)


def path_in(entry: Mapping[str, Any], key: str) -> Path:
    """Return the file or folder that a key's value may name, there or not.

    A relative path is relative to the folder of the file that holds the entry; to the working directory where a caller
    said it.
    """
    folders = entry.folders() if isinstance(entry, ModelSpec) else {}
    return Path(folders.get(key, ""), expanded(str(entry[key])))


def not_here(entry: Mapping[str, Any], key: str) -> str:
    """Return the end of a sentence that a path isn't there: what is meant, where the working directory has it."""
    path = expanded(str(entry[key]))
    meant = path_in(entry, key)
    if path.is_absolute() or not path.exists() or path.absolute() == meant:
        return ""
    return f" ({path.absolute()} is there, but paths in an entry are relative to the file that holds it)"


def _rebuild(
    data: dict[str, Any], sources: dict[str, str], findings: tuple[Finding, ...], folders: dict[str, str]
) -> ModelSpec:
    return ModelSpec(data, sources=sources, findings=findings, folders=folders)


def _fresh(value: Any) -> Any:
    return copy.deepcopy(value) if isinstance(value, (dict, list)) else value


def _copied(value: Any) -> Any:
    """Return a JSON value with containers of its own; None where it is, or holds, something else. Null stays so inside.

    Faster than `copy.deepcopy`, which would find no fault.
    """
    found = _copied_inside(value)
    return None if found is _NOT_JSON else found


_NOT_JSON = object()
_PLAIN = (str, int, bool, type(None))


def _copied_inside(value: Any) -> Any:
    if isinstance(value, _PLAIN) or (isinstance(value, float) and value - value == 0):
        return value
    if isinstance(value, dict):
        copied = {key: inner if type(inner) is str else _copied_inside(inner) for key, inner in value.items()}
        return _NOT_JSON if any(v is _NOT_JSON for v in copied.values()) or not all(map(_is_text, copied)) else copied
    if isinstance(value, list):
        items = [inner if type(inner) is str else _copied_inside(inner) for inner in value]
        return _NOT_JSON if any(item is _NOT_JSON for item in items) else items
    return _NOT_JSON


def _is_text(key: object) -> bool:
    return isinstance(key, str)


def _canonical(value: Any, path: str) -> Any:
    """Return a hashable form in which two JSON values are equal exactly when their content is (true is not 1)."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise EntryError(f"{path or 'spec'}: the key {key!r} is not a string")
        return ("object", frozenset((k, _canonical(v, f"{path}.{k}".lstrip("."))) for k, v in value.items()))
    if isinstance(value, list):
        return ("list", tuple(_canonical(v, f"{path}[{i}]") for i, v in enumerate(value)))
    if isinstance(value, bool):
        return ("bool", value)
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and value - value == 0):
        return value
    raise EntryError(f"{path or 'spec'}: {value!r} is not JSON")


def conflicts(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: str = "") -> list[Conflict]:
    """Return where two nested dictionaries say different things: path, our value, their value."""
    found: list[Conflict] = []
    for key, value in ours.items():
        if key not in theirs:
            continue
        here = f"{path}.{key}" if path else key
        other = theirs[key]
        if isinstance(value, dict) and isinstance(other, dict):
            found.extend(conflicts(value, other, here))
        elif _canonical(value, here) != _canonical(other, here):
            found.append((here, value, other))
    return found


def _merge(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Both, nested objects key by key; where they are not in conflict."""
    merged = dict(base)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else merged.get(key, value)
    return merged
