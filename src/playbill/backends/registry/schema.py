"""The JSON Schema of a registry file, generated from the table of keys, so that editors complete and check entries.

It describes the flat form as `validate` does; of the nested form (``model_config``) it says only that it is allowed.
Write the shipped file anew with ``python -m playbill.backends.registry.schema``.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import write_atomically
from playbill.backends.registry.backends import BUILT_IN
from playbill.backends.registry.fields.table import ALIASES, ENTRY_KEYS, EVERY, METADATA, UNREAD, EntryKey
from playbill.backends.registry.validate import NESTED_KEY, NESTED_KEYS

__all__ = ["registry_schema", "schema_file", "schema_text"]

FILE_NAME = "model_registry.schema.json"


def schema_file() -> Path:
    """Return the schema that comes with the package."""
    return Path(str(files("playbill.backends") / FILE_NAME))


def registry_schema() -> dict[str, Any]:
    """Return the schema of a registry file: a list of entries, each with the keys that its backend requires."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Playbill model registry",
        "description": "A list of entries, one for each model. Keys that begin with 'x_' are yours.",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                **{name: _property(key) for name, key in ENTRY_KEYS.items()},
                **{alias: _alias(name) for alias, name in ALIASES.items()},
                **{name: _unread(reason) for name, reason in UNREAD.items()},
                **dict.fromkeys(NESTED_KEYS, _NESTED),
            },
            "patternProperties": {"^x_": {}},
            "additionalProperties": False,
            "required": [key.name for key in ENTRY_KEYS.values() if key.required_by == EVERY],
            "allOf": [rule for name in BUILT_IN if (rule := _required(name))],
        },
    }


_NESTED = {
    "type": "object",
    "description": "The layout of clemcore: the entry's keys, one level down. Flat is better.",
}


def _alias(name: str) -> dict[str, Any]:
    return {"description": f"Read as {name}.", **ENTRY_KEYS[name].type.schema, "deprecated": True}


def _property(key: EntryKey) -> dict[str, Any]:
    if key.read_by == METADATA:
        readers = "Metadata, for people."
    else:
        readers = "For every backend." if key.read_by == EVERY else f"For {', '.join(key.read_by)}."
    found = {"description": f"{key.summary} {readers}", **key.type.schema}
    if key.name == "backend":
        found["examples"] = list(BUILT_IN)
    return found if key.default is None else {**found, "default": key.default}


def _unread(reason: str) -> dict[str, Any]:
    return {"description": f"Read by nothing: {reason}.", "deprecated": True}


def _required(backend: str) -> dict[str, Any]:
    """Return the rule that an entry of this backend has the keys it needs, unless the nested layout may hold them."""
    names = [key.name for key in ENTRY_KEYS.values() if backend in key.required_by]
    if not names:
        return {}
    return {
        "if": {
            "properties": {"backend": {"const": backend}},
            "required": ["backend"],
            "not": {"required": [NESTED_KEY]},
        },
        "then": {"required": names},
    }


def schema_text() -> str:
    """Return the shipped file's text."""
    return json.dumps(registry_schema(), ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    write_atomically(schema_file(), schema_text())
