"""Say what changed between two registries: entries that came, went or were renamed, and each key with what it means for
requests. Compares entries in the flat form, so a change of layout alone is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.fields.table import ENTRY_KEYS, METADATA, PACE, UNREAD
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.backends.registry.stamps.stamp import key_digests
from playbill.proof.registries.requests import request_changes

__all__ = ["Effect", "EntryChange", "KeyChange", "compare_registries"]

_SAID = frozenset({"retired", "successor", "waivers"})
_ACCESS = frozenset({"requires_api_key", "trust_remote_code"})


class Effect(StrEnum):
    """What a change means for requests and answers."""

    ANSWERS = "answers may differ"
    ACCESS = "what is needed to load it differs"
    PACE = "how fast and patiently a service is asked differs"
    SAID = "what is warned of differs"
    PEOPLE = "for people only"
    NOTHING = "nothing reads it"


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One value that is another: its path, both values and what it means. ``had`` and ``has`` tell null from absent."""

    path: str
    old: Any
    new: Any
    effect: Effect
    had: bool = True
    has: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryChange:
    """One entry that is another: ``added``, ``removed``, ``renamed``, ``changed``, or ``reordered`` where another entry
    of its name is found first by now. ``request`` says what is other in the body of a request, where that was asked
    for."""

    kind: str
    name: str
    new_name: str | None = None
    keys: tuple[KeyChange, ...] = ()
    usable: tuple[bool, bool] = (True, True)
    notes: tuple[str, ...] = ()
    request: tuple[str, ...] = ()

    @property
    def matters(self) -> bool:
        """Whether who asked by name may get other answers by now, or none."""
        if self.kind == "added":
            return False
        return self.kind != "changed" or self.usable[0] != self.usable[1] or _matters(self.keys)

    def to_dict(self) -> dict[str, Any]:
        keys = [
            {"path": k.path, "effect": k.effect.value}
            | ({"old": k.old} if k.had else {})
            | ({"new": k.new} if k.has else {})
            for k in self.keys
        ]
        return {
            "kind": self.kind,
            "model_name": self.name,
            "new_name": self.new_name,
            "matters": self.matters,
            "usable": {"old": self.usable[0], "new": self.usable[1]},
            "keys": keys,
            "notes": list(self.notes),
            "request": list(self.request),
        }


def _matters(keys: Sequence[KeyChange]) -> bool:
    return any(key.effect is Effect.ANSWERS for key in keys)


@dataclass(frozen=True, slots=True)
class _Pair:
    old: RegistryEntry
    new: RegistryEntry


def compare_registries(old: ModelRegistry, new: ModelRegistry, *, requests: bool = False) -> list[EntryChange]:
    """Return what changed, in the order of the new registry; what went comes last. With ``requests`` the bodies that
    changed entries of services make are compared as well, for which their clients are imported."""
    pairs, added, removed = _pairs(old, new)
    renamed = _renamed(removed, added)
    moved = {id(pair.new) for pair in renamed} | {id(pair.old) for pair in renamed}
    changes = {
        id(pair.new): change
        for kind, listed in (("changed", pairs), ("renamed", renamed))
        for pair in listed
        if (change := _change(kind, pair, requests)) is not None
    }
    for entry in added:
        if id(entry) not in moved:
            usable = (True, entry.usable)
            changes[id(entry)] = EntryChange(kind="added", name=_name(entry), usable=usable, notes=_what(entry))
    listed = [changes[id(entry)] for entry in new if id(entry) in changes]
    gone = [entry for entry in removed if id(entry) not in moved]
    listed += [EntryChange(kind="removed", name=_name(entry), notes=_what(entry)) for entry in gone]
    return [*listed, *_reordered(old, new, pairs)]


def _change(kind: str, pair: _Pair, requests: bool) -> EntryChange | None:
    """Return what changed of one entry; None where nothing did."""
    old, new = pair.old, pair.new
    renamed = kind == "renamed"
    keys = _keys(old.flat.entry, new.flat.entry, without=("model_name",) if renamed else ())
    if not keys and not renamed:
        return None
    usable = (old.usable, new.usable)
    return EntryChange(
        kind=kind,
        name=_name(old),
        new_name=_name(new) if renamed else None,
        keys=keys,
        usable=usable,
        request=request_changes(old.spec, new.spec) if requests and all(usable) and _matters(keys) else (),
    )


def _name(entry: RegistryEntry) -> str:
    return entry.name or f"(no name: {entry.where})"


def _what(entry: RegistryEntry) -> tuple[str, ...]:
    values = entry.flat.entry
    told = (f"{key} {values[key]}" for key in ("backend", "model_id", "huggingface_id") if key in values)
    return (", ".join(told),)


def _pairs(old: ModelRegistry, new: ModelRegistry) -> tuple[list[_Pair], list[RegistryEntry], list[RegistryEntry]]:
    """Return entries that belong together by their names; of namesakes first those that are equal, then those of one
    backend, then by their order; and what is left over in the new and in the old."""
    pairs, added = [], []
    left: dict[str, list[RegistryEntry]] = {}
    for entry in old:
        left.setdefault(_key(entry), []).append(entry)
    waiting = list(new)
    tests: list[Callable[[RegistryEntry, RegistryEntry], bool]] = [
        lambda a, b: _text(a.flat.entry) == _text(b.flat.entry),
        lambda a, b: bool(a.flat.entry.get("backend") == b.flat.entry.get("backend")),
        lambda a, b: True,
    ]
    for is_same in tests:
        still = []
        for entry in waiting:
            candidates = left.get(_key(entry), [])
            found = next((each for each in candidates if is_same(each, entry)), None)
            if found is None:
                still.append(entry)
            else:
                candidates.remove(found)
                pairs.append(_Pair(found, entry))
        waiting = still
    added = waiting
    there = {id(entry) for entries in left.values() for entry in entries}
    return pairs, added, [entry for entry in old if id(entry) in there]


def _key(entry: RegistryEntry) -> str:
    return entry.name if entry.name is not None else f"\0{_text(entry.raw)}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _renamed(removed: Sequence[RegistryEntry], added: Sequence[RegistryEntry]) -> list[_Pair]:
    """Return entries that differ in nothing but their name and what is for people, where only one can be meant."""
    olds, news = _by_content(removed), _by_content(added)
    return [
        _Pair(olds[content][0], news[content][0])
        for content in olds.keys() & news.keys()
        if len(olds[content]) == len(news[content]) == 1
    ]


def _by_content(entries: Sequence[RegistryEntry]) -> dict[str, list[RegistryEntry]]:
    found: dict[str, list[RegistryEntry]] = {}
    for entry in entries:
        digests = key_digests(entry.flat.entry)
        if entry.name is not None and len(digests) > 1:  # a backend alone says too little
            found.setdefault(_text(digests), []).append(entry)
    return found


def _keys(old: Mapping[str, Any], new: Mapping[str, Any], *, without: Sequence[str] = ()) -> tuple[KeyChange, ...]:
    return tuple(
        KeyChange(path, before, after, _effect(path.partition(".")[0], old, new), had, has)
        for path, before, after, had, has in _differences(old, new, "")
        if path not in without
    )


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str
) -> Iterator[tuple[str, Any, Any, bool, bool]]:
    for key in dict.fromkeys([*old, *new]):
        before, after, here = old.get(key), new.get(key), f"{path}.{key}" if path else key
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, here)
        elif (key in old) != (key in new) or _text(before) != _text(after):
            yield here, before, after, key in old, key in new


def _effect(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Effect:
    """Return what a change of a key means for entries of these backends."""
    if name == "model_name":
        return Effect.PEOPLE
    if name.startswith("x_"):
        return Effect.PEOPLE
    if name in _SAID:
        return Effect.SAID
    if name in _ACCESS:
        return Effect.ACCESS
    if name in PACE:
        return Effect.PACE
    key = ENTRY_KEYS.get(name)
    backends = {str(entry.get("backend")) for entry in (old, new)}
    if key is None:
        return Effect.NOTHING if name in UNREAD else Effect.ANSWERS
    if key.read_by == METADATA:
        return Effect.PEOPLE
    known = backends <= BACKENDS.keys()
    return Effect.NOTHING if known and not any(key.is_read_by(each) for each in backends) else Effect.ANSWERS


def _reordered(old: ModelRegistry, new: ModelRegistry, pairs: Sequence[_Pair]) -> Iterator[EntryChange]:
    """Yield names of which another entry is found first, though both are still there."""
    partner = {id(pair.old): pair.new for pair in pairs}
    for name in dict.fromkeys(entry.name for entry in new if entry.name is not None):
        before, after = old.namesakes(name), new.namesakes(name)
        if len(before) > 1 and partner.get(id(before[0])) not in (None, after[0]):
            now = f"{after[0].where} is found first now"
            yield EntryChange(kind="reordered", name=name, notes=(now,))
