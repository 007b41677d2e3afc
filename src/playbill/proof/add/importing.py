"""Import a registry of clembench or clemcore into the flat form, and report each change.

Reads one file and writes none. What an entry means is never guessed: what can't be read is reported and left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from playbill.backends.common.findings import Finding, Severity
from playbill.backends.common.home import expanded
from playbill.backends.common.jsonfile import read_json
from playbill.backends.errors import FileFormatError, PlaybillError
from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.fields.elsewhere import advice_for
from playbill.backends.registry.fields.legacy_regex import literal_end, literals_of_regex
from playbill.backends.registry.fields.table import ENTRY_KEYS, PATHS, UNREAD
from playbill.backends.registry.lookup import RegistryEntry
from playbill.backends.registry.rules import ALIAS, CLEMCORE_DIFFERED
from playbill.backends.registry.spec import path_in
from playbill.backends.registry.validate import NESTED_KEY, NESTED_KEYS

__all__ = ["Change", "Imported", "ImportedEntry", "import_registry"]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was done to an entry: its kind for counting, and a line for people."""

    kind: str
    message: str


@dataclass(frozen=True)
class ImportedEntry:
    """An entry as it came out: None where it could not be read. ``findings`` are what is left to be mended."""

    name: str | None
    where: str
    entry: dict[str, Any] | None
    changes: tuple[Change, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def usable(self) -> bool:
        return self.entry is not None and not any(f.severity is Severity.ERROR for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        return {
            "model_name": self.name,
            "where": self.where,
            "read": self.entry is not None,
            "usable": self.usable,
            "changes": [{"kind": change.kind, "message": change.message} for change in self.changes],
            "findings": [finding.to_dict() for finding in self.findings],
        }


@dataclass(frozen=True)
class Imported:
    """All entries of a file, in its order."""

    path: Path
    entries: tuple[ImportedEntry, ...] = field(default=())

    @property
    def registry(self) -> list[dict[str, Any]]:
        """The flat entries, those that could be read."""
        return [e.entry for e in self.entries if e.entry is not None]


def import_registry(path: Path, into: Path | None = None) -> Imported:
    """Read a registry in either layout. Raises FileFormatError for what is no list in JSON.

    ``into`` is the folder that the new registry will lie in: where it is another one than the old one's, relative paths
    in entries are written whole.
    """
    try:
        content = read_json(path, repeats=True)
    except OSError as e:
        raise PlaybillError(f"can't read {path}: {e.strerror or e}") from e
    if not isinstance(content, list):
        raise FileFormatError(f"{path}:1:1: a registry is a list of entries, [{{…}}, …]")
    folder = path.absolute().parent
    moved = into is not None and into.absolute() != folder
    entries = (RegistryEntry(path, i, raw, str(folder)) for i, raw in enumerate(content))
    return Imported(path, tuple(_import(entry, moved=moved) for entry in entries))


def _import(found: RegistryEntry, *, moved: bool) -> ImportedEntry:
    unreadable = _unreadable(found)
    if unreadable:
        return ImportedEntry(found.name, found.where, None, findings=unreadable)
    entry, changes = _flat(found)
    changes.extend(_whole_paths(found, entry) if moved else ())
    left = RegistryEntry(found.file, found.index, entry).findings
    history = (f for f in found.findings if f.name == CLEMCORE_DIFFERED.name)  # the flat entry is none of clemcore's
    return ImportedEntry(found.name, found.where, entry, tuple(changes), (*left, *history))


def _unreadable(found: RegistryEntry) -> tuple[Finding, ...]:
    """Why an entry can't be brought into the flat form: no object, no name, or two things said at once."""
    fatal = {"not-an-entry", "said-twice", "end-is-pattern"}
    reasons = tuple(f for f in found.findings if f.name in fatal)
    missing = tuple(f for f in found.findings if f.name == "missing-key" and "'model_name'" in f.message)
    return (
        *reasons,
        *missing,
        *(f for f in found.findings if f.where.endswith(NESTED_KEYS) and f.name == "wrong-type"),
    )


def _flat(found: RegistryEntry) -> tuple[dict[str, Any], list[Change]]:
    """Return the flat entry, with its keys in the order of the table, and what was changed."""
    nested = found.raw.get(NESTED_KEY, {})
    flat = dict(found.flat.entry)
    changes = []
    if nested:
        changes.append(Change("flattened", f"{', '.join(nested)}: taken out of '{NESTED_KEY}'"))
    elif NESTED_KEY in found.raw:
        changes.append(Change("flattened", f"the empty '{NESTED_KEY}' is left out"))
    changes += [Change("alias", f.message) for f in found.flat.findings if f.name == ALIAS.name]
    for key in ("eos_to_cull", "cot_end_tag"):
        changes.extend(_mend_pattern(flat, key, nested.get(key, found.raw.get(key))))
    changes.extend(_mend_keys(flat))
    known = {name: i for i, name in enumerate(ENTRY_KEYS)}
    return dict(sorted(flat.items(), key=lambda item: known.get(item[0], len(known)))), changes


def _whole_paths(found: RegistryEntry, flat: dict[str, Any]) -> Iterator[Change]:
    """Write relative paths whole, for they are relative to a file that the entry leaves."""
    for key in PATHS & flat.keys():
        value = flat[key]
        if not isinstance(value, str) or expanded(value).is_absolute():
            continue
        path = path_in(found.spec, key)
        if path.exists() or value.startswith(("./", "../")):
            flat[key] = os.path.normpath(path)
            yield Change(
                "path", f"{key}: {value!r} is relative to the folder of the old file, so it is {flat[key]!r} now"
            )


def _mend_pattern(flat: dict[str, Any], key: str, written: Any) -> Iterator[Change]:
    """Literals in place of regular expressions, whichever layout they stood in."""
    value = flat.get(key)
    if isinstance(value, str) and "\\" in value:
        end = literal_end(value) if key == "cot_end_tag" else None
        flat[key] = literals_of_regex(value) or end or value
    if key in flat and flat[key] != written:
        yield Change("literal", f"{key}: the pattern {written!r} is now the literal {flat[key]!r}")


def _mend_keys(flat: dict[str, Any]) -> Iterator[Change]:
    """Keys that nothing reads are left out where the reason is known, and marked as the owner's where it isn't.

    Of a backend that isn't here nobody knows what it reads, so its unknown keys stay as they are.
    """
    own = _own_keys(flat)
    foreign = flat.get("backend") not in BACKENDS
    meant = [*ENTRY_KEYS, *own]
    for name in list(flat):
        if name in ENTRY_KEYS or name in own or name.startswith("x_"):
            continue
        if name in UNREAD:
            del flat[name]
            yield Change("dropped", f"{name}: left out, nothing reads it: {UNREAD[name]}")
        elif not foreign and advice_for(name) is None and not get_close_matches(name, meant, n=1, cutoff=0.8):
            flat[f"x_{name}"] = flat.pop(name)
            yield Change("renamed", f"{name}: unknown, kept as x_{name}")


def _own_keys(flat: Mapping[str, Any]) -> set[str]:
    backend = BACKENDS.get(flat.get("backend", ""))
    return {key.name for key in backend.keys} if backend is not None else set()
