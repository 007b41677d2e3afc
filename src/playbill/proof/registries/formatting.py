"""Write a registry in one form: keys in the order of the table, one a line, short values in one line.

What it says stays as it is: values, unknown keys, and the order of what stands inside of a value, which a chat template
may see.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import Repeating, read_json
from playbill.backends.errors import FileFormatError, InputError
from playbill.backends.registry.fields.table import ALIASES, ENTRY_KEYS
from playbill.backends.registry.validate import NESTED_KEYS

__all__ = ["format_file", "ordered_entry", "registry_text"]

_WIDTH = 118
_INDENT = "  "
_ORDER = {name: place for place, name in enumerate(ENTRY_KEYS)}
_LAST = len(_ORDER)


def format_file(path: Path, *, sort: bool = False) -> str:
    """Return what a registry file's text should be. Raises FileFormatError for what is no registry, or has a key twice,
    since which of the two would be kept can't be known; InputError where it can't be read."""
    try:
        content = read_json(path, repeats=True)
    except OSError as e:
        raise InputError(f"can't read {path}: {e.strerror or e}") from e
    if not isinstance(content, list):
        raise FileFormatError(f"{path}:1:1: a registry is a list of entries, [{{…}}, …]")
    for place, key in _repeated(content, "$"):
        raise FileFormatError(f"{path} {place}: '{key}' stands twice; keep one of them, and it can be formatted")
    text = registry_text(sorted(content, key=_name) if sort else content)
    _require_same(path, content, text)
    return text


def registry_text(content: list[Any]) -> str:
    """Return the text of a registry, its entries in the order that they have."""
    if not content:
        return "[]\n"
    items = (_written(ordered_entry(item), 1, top=True) for item in content)
    return "[\n" + ",\n".join(f"{_INDENT}{item}" for item in items) + "\n]\n"


def ordered_entry(item: Any) -> Any:
    """Return an entry with its keys in the order of the table, and those of an older layout's objects likewise. What
    the table doesn't know comes after that, as it stood."""
    if not isinstance(item, dict):
        return item
    ordered = dict(sorted(item.items(), key=lambda pair: _place(pair[0])))
    return {key: ordered_entry(value) if key in NESTED_KEYS else value for key, value in ordered.items()}


def _place(key: str) -> int:
    return _ORDER.get(ALIASES.get(key, key), _LAST)


def _name(item: Any) -> tuple[str, str]:
    """Return what entries are sorted by; those of one name keep their order, since the first of them is found."""
    name = item.get("model_name") if isinstance(item, dict) else None
    return (name.casefold(), name) if isinstance(name, str) else ("", "")


def _written(value: Any, depth: int, *, top: bool = False) -> str:
    """Return a value as JSON, in one line where it is short; an entry always has a line for each key."""
    short = _shown(value)
    fits = len(short) + len(_INDENT) * depth <= _WIDTH and not top
    if not isinstance(value, (dict, list)) or not value or fits:
        return short
    inner = _INDENT * (depth + 1)
    if isinstance(value, dict):
        items = [f"{inner}{_shown(key)}: {_written(each, depth + 1)}" for key, each in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{_INDENT * depth}}}"
    if any(isinstance(each, (dict, list)) for each in value):
        lines = ",\n".join(f"{inner}{_written(each, depth + 1)}" for each in value)
    else:
        lines = "\n".join(f"{inner}{line}" for line in _filled([_shown(each) for each in value], len(inner)))
    return f"[\n{lines}\n{_INDENT * depth}]"


def _filled(items: list[str], indent: int) -> Iterator[str]:
    """Yield lines with as many of the items of a list as fit into each."""
    line = items[0]
    for item in items[1:]:
        if indent + len(line) + len(item) + 3 > _WIDTH:
            yield f"{line},"
            line = item
        else:
            line = f"{line}, {item}"
    yield line


def _shown(value: Any) -> str:
    """Return a value as JSON in one line. What can't be seen, as a mark of direction or a hard space, is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _repeated(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Repeating):
        yield from ((path, key) for key in value.repeated)
    inside: Mapping[Any, Any] | dict[int, Any] = {}
    if isinstance(value, dict):
        inside = {f".{key}": each for key, each in value.items()}
    elif isinstance(value, list):
        inside = {f"[{i}]": each for i, each in enumerate(value)}
    for step, each in inside.items():
        yield from _repeated(each, f"{path}{step}")


def _require_same(path: Path, content: list[Any], text: str) -> None:
    """Raise where the text would say anything else: better no form than another meaning."""
    keys = [json.dumps(item, sort_keys=True) for item in content]
    if sorted(keys) != sorted(json.dumps(item, sort_keys=True) for item in json.loads(text)):
        raise InputError(f"{path}: formatting it would change what it says, so it isn't; that is a fault of Playbill's")
