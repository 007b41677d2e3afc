"""Bring an entry into the flat form, and judge it by the table of keys.

Returns findings and raises nothing. Knows no file and no backend's code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any

from playbill.backends.common.findings import Finding, Severity
from playbill.backends.common.jsonfile import Repeating
from playbill.backends.common.waivers import waive
from playbill.backends.registry import rules
from playbill.backends.registry.backends import BACKENDS, GONE_BACKENDS, backend_names
from playbill.backends.registry.clemcore_differed import clemcore_differed
from playbill.backends.registry.fields.conflicts import field_conflicts
from playbill.backends.registry.fields.elsewhere import ELSEWHERE, advice_for
from playbill.backends.registry.fields.legacy_regex import literal_end, literals_of_regex
from playbill.backends.registry.fields.table import ALIASES, ENTRY_KEYS, LOCAL, UNREAD, EntryKey
from playbill.backends.registry.hosted_models import judge_hosted_model
from playbill.backends.registry.services import SERVICES
from playbill.backends.registry.unsupported import HARMLESS, Unsupported, asks_for_nothing, unsupported

__all__ = ["NESTED_KEY", "NESTED_KEYS", "Flat", "flatten", "judge_entry"]

NESTED_KEY = "model_config"
NESTED_KEYS = (NESTED_KEY, "mm_model_config")
"""Objects in an entry whose keys count like outer ones; the second also within the first."""
_DEEPEST = 32


@dataclass(frozen=True)
class Flat:
    """An entry in the flat form, with the path at which each key stood, and what had to be said on the way."""

    entry: dict[str, Any]
    paths: dict[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def flatten(raw: Mapping[str, Any], where: str = "entry") -> Flat:
    """Bring an entry into the flat form: the one place where the nested layout (``model_config``, and within it or
    beside it ``mm_model_config``) is read.

    In that layout ``eos_to_cull`` and ``cot_end_tag`` were regular expressions; they are read back as literals
    where they stand for them, and are an error finding where they don't.
    """
    entry = {key: value for key, value in raw.items() if key not in NESTED_KEYS}
    paths = {key: f"{where}.{key}" for key in entry}
    findings: list[Finding] = [*_repeated(raw, where)]
    inner = _objects(raw, where, NESTED_KEYS, findings)
    for path, nested in [*inner]:
        inner += _objects(nested, path, NESTED_KEYS[1:], findings)
    for outer, nested in inner:
        for key, value in nested.items():
            path = f"{outer}.{key}"
            if key in NESTED_KEYS:
                continue
            if key in _WERE_PATTERNS and isinstance(value, str):
                value, problem = _WERE_PATTERNS[key](value, path)
                findings.extend(problem)
            if key in entry and entry[key] != value:
                message = f"says {value!r}, but {paths[key]} says {entry[key]!r}"
                findings.append(rules.SAID_TWICE.at(path, message, "keep the flat one"))
                continue
            entry[key] = value
            paths[key] = path
    findings.extend(_served_elsewhere(entry, paths))
    findings.extend(_rename_aliases(entry, paths))
    containers = [(key, value) for key, value in entry.items() if isinstance(value, (dict, list))]
    for key in [key for key, value in containers if _is_deeper(value, _DEEPEST)]:
        del entry[key]
        findings.append(rules.WRONG_TYPE.at(paths[key], "is nested too deeply to be read"))
    if isinstance(raw.get(NESTED_KEY), dict):
        findings.extend(clemcore_differed(raw, where))
    return Flat(entry, paths, tuple(findings))


def _objects(
    holder: Mapping[str, Any], where: str, keys: tuple[str, ...], findings: list[Finding]
) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects under some keys of an object, each with its path; what is no object is a finding."""
    found = []
    for key in keys:
        value, path = holder.get(key, {}), f"{where}.{key}"
        if not isinstance(value, dict):
            findings.append(rules.WRONG_TYPE.at(path, "is not an object"))
        elif value:
            findings.extend(_repeated(value, path))
            found.append((path, value))
    return found


def _served_elsewhere(entry: dict[str, Any], paths: Mapping[str, str]) -> Iterator[Finding]:
    """Read a Claude model of clemcore's azure backend as one of Azure AI Foundry, which has an API of its own."""
    if entry.get("backend") == "azure" and "claude" in str(entry.get("model_id", "")).lower():
        entry["backend"] = "azure_claude"
        message = "Claude models speak Anthropic's API there, so 'azure' is read as 'azure_claude'"
        yield rules.ALIAS.at(paths["backend"], message, "write 'azure_claude'")


def _rename_aliases(entry: dict[str, Any], paths: dict[str, str]) -> Iterator[Finding]:
    """Move the values of aliases to the names that are shown, in place. The order of keys stays."""
    for alias in [key for key in entry if key in ALIASES]:
        name, path = ALIASES[alias], paths[alias]
        if name not in entry:
            moved = {name if key == alias else key: value for key, value in entry.items()}
            entry.clear()
            entry.update(moved)
            paths[name] = paths.pop(alias)
            yield rules.ALIAS.at(path, f"'{alias}' is read as '{name}'", f"write '{name}'")
            continue
        value = entry.pop(alias)
        del paths[alias]
        if value != entry[name]:
            yield rules.SAID_TWICE.at(path, f"says {value!r}, but {paths[name]} says {entry[name]!r}", f"keep '{name}'")


def _repeated(value: Any, path: str) -> Iterator[Finding]:
    for key in value.repeated if isinstance(value, Repeating) else ():
        yield rules.SAID_TWICE.at(f"{path}.{key}", "stands twice in one object", "keep one of them")


def _is_deeper(value: Any, depth: int) -> bool:
    """Tell whether containers stand in each other more than so many levels deep; never looks deeper than that."""
    if not isinstance(value, (dict, list)):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_is_deeper(v, depth - 1) for v in inside)


def _eos_of_regex(pattern: str, path: str) -> tuple[Any, list[Finding]]:
    literals = literals_of_regex(pattern)
    if literals is not None:
        return literals, []
    message = f"is the regular expression {pattern!r}, which stands for no list of literals"
    fix = "write the literal end-of-sequence text, or a list of such texts"
    return pattern, [rules.END_IS_PATTERN.at(path, message, fix)]


def _tag_of_regex(pattern: str, path: str) -> tuple[Any, list[Finding]]:
    """Return the tag that a pattern stands for; or else the text with which all that it matches ends, which is said."""
    literal = literals_of_regex(pattern)
    if isinstance(literal, str):
        return literal, []
    end = literal_end(pattern)
    if end is not None:
        message = f"is the regular expression {pattern!r}; what follows it follows {end!r}, which is taken"
        return end, [
            rules.TAG_SHORTENED.at(path, message, f"write {json.dumps(end, ensure_ascii=False)} in a flat entry")
        ]
    message = f"is the regular expression {pattern!r}, and no literal ends all that it matches"
    return pattern, [rules.END_IS_PATTERN.at(path, message, "write the literal text that ends the thinking")]


_WERE_PATTERNS = {"eos_to_cull": _eos_of_regex, "cot_end_tag": _tag_of_regex}


def judge_entry(flat: Flat, where: str = "entry") -> tuple[Finding, ...]:
    """Return everything that is wrong or odd with one entry, worst first; knows its neighbours not."""
    findings = [*flat.findings, *_missing(flat.entry, where), *_backend(flat), *field_conflicts(flat.entry, flat.paths)]
    findings += judge_hosted_model(flat.entry, flat.paths)
    if flat.entry.get("backend") not in [*GONE_BACKENDS]:  # of an entry that can't run no key matters
        for key, value in flat.entry.items():
            findings.extend(_judge_key(flat, key, value))
    order = list(Severity)
    findings = waive(findings, flat.entry)
    return tuple(sorted(findings, key=lambda f: order.index(f.severity)))


def _missing(entry: Mapping[str, Any], where: str) -> Iterator[Finding]:
    backend = entry.get("backend")
    for key in (*_required(str(backend)), *_own_keys(backend)):
        if key.name not in entry and key.is_required_by(str(backend)):
            yield rules.MISSING_KEY.at(
                where,
                f"'{key.name}' is missing",
                f"add it: {key.summary[0].lower()}{key.summary[1:]}",
            )


@cache
def _required(backend: str) -> tuple[EntryKey, ...]:
    return tuple(key for key in ENTRY_KEYS.values() if key.is_required_by(backend))


def _backend(flat: Flat) -> Iterator[Finding]:
    backend = flat.entry.get("backend")
    if not isinstance(backend, str) or backend in BACKENDS:
        return
    path = flat.paths.get("backend", "entry.backend")
    if backend in GONE_BACKENDS:
        message = f"Playbill has no backend '{backend}': {GONE_BACKENDS[backend]}"
        fix = "take the entry out, or use another backend"
    else:
        near = get_close_matches(backend, backend_names(), n=1)
        message = f"unknown backend '{backend}'"
        fix = f"did you mean '{near[0]}'?" if near else "`playbill backends` lists them"
    yield rules.UNKNOWN_BACKEND.at(path, message, fix)


def _own_keys(backend: object) -> tuple[EntryKey, ...]:
    """Return the keys that a third party's backend brings along."""
    found = BACKENDS.get(backend) if isinstance(backend, str) else None
    return found.keys if found else ()


def _judge_key(flat: Flat, name: str, value: Any) -> Iterator[Finding]:
    path = flat.paths.get(name, name)
    backend = flat.entry.get("backend")
    own = {key.name: key for key in _own_keys(backend)}
    key = own.get(name) or ENTRY_KEYS.get(name)
    if key is None:
        yield from _unknown(name, path, [*ENTRY_KEYS, *own])
        return
    if not key.type.accepts(value):
        yield rules.WRONG_TYPE.at(path, f"{_shown(value)} is not {key.type.name}")
        return
    why = unsupported(name, backend)
    if why is not None and why.refuses(name, value):
        message = f"{_shown(value)} can't be honoured by the backend {backend}: {why.reason}"
        yield rules.REFUSED_KEY.at(path, message)
    elif key.read_by and name not in own and backend in BACKENDS and not key.is_read_by(str(backend)):
        yield from _misplaced(key, value, str(backend), path, why)
    if name in _WERE_PATTERNS and not any(f.where == path for f in flat.findings):
        yield from _probable_regex(name, value, path)
    if name == "custom_chat_template" and flat.entry.get("premade_chat_template") is True:
        yield rules.TWO_TEMPLATES.at(
            path,
            "is not used, since premade_chat_template is true",
            "set premade_chat_template to false, or take the template out",
        )


def _misplaced(key: EntryKey, value: Any, backend: str, path: str, why: Unsupported | None) -> Iterator[Finding]:
    """A key that other backends read: an error where it would change answers, else a warning."""
    reason = f": {why.reason}" if why is not None else f"; {', '.join(key.read_by)} would"
    message = f"the backend {backend} doesn't read this key{reason}"
    answers = backend in SERVICES or (backend in LOCAL and why is None)
    if answers and key.name not in HARMLESS and not asks_for_nothing(key.name, value):
        yield rules.REFUSED_KEY.at(path, f"{message}, and answers depend on it", "take it out")
    else:
        yield rules.MISPLACED_KEY.at(path, message, "take it out")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)[:80]


def _unknown(name: str, path: str, known: list[str]) -> Iterator[Finding]:
    if name.startswith("x_"):
        return
    if name in UNREAD:
        yield rules.UNREAD_KEY.at(path, f"nothing reads this key: {UNREAD[name]}", "take it out")
        return
    if name in ELSEWHERE:
        yield rules.SETTING_ELSEWHERE.at(path, "nothing reads this key, and answers depend on it", ELSEWHERE[name])
        return
    near = get_close_matches(name, known, n=1, cutoff=0.8)
    if near:
        yield rules.UNKNOWN_KEY.at(path, "unknown key", f"did you mean '{near[0]}'?")
    elif advice := advice_for(name):
        message = "nothing reads this key, and by its name answers may depend on it"
        yield rules.SETTING_ELSEWHERE.at(path, message, f"{advice}; if it is a note of yours, call it 'x_{name}'")
    else:
        yield rules.FOREIGN_KEY.at(
            path,
            "unknown key, read by nothing",
            f"take it out, or call it 'x_{name}' if it is yours",
        )


def _probable_regex(name: str, value: Any, path: str) -> Iterator[Finding]:
    for literal in [value] if isinstance(value, str) else value:
        if "\\" not in literal:
            continue
        meant = literals_of_regex(literal) or (literal_end(literal) if name == "cot_end_tag" else None)
        shown = json.dumps(meant, ensure_ascii=False) if meant else "the literal text"
        yield rules.PROBABLE_REGEX.at(
            path,
            f"{literal!r} looks like a regular expression, but is taken as it stands",
            f"write {shown}",
        )
