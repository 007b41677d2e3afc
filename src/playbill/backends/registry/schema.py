"""The JSON Schemas of a registry file, generated from the table of keys, and of a file of stamps: for editors.

That of registries describes the flat form as `validate` does; of the nested form (``model_config``) it says only that
it is allowed. Write the shipped files anew with ``python -m playbill.backends.registry.schema``.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import write_atomically
from playbill.backends.registry.backends import BUILT_IN
from playbill.backends.registry.fields.table import ALIASES, ENTRY_KEYS, EVERY, METADATA, UNREAD, EntryKey
from playbill.backends.registry.stamps.stamp import Depth
from playbill.backends.registry.validate import NESTED_KEY, NESTED_KEYS

__all__ = ["registry_schema", "schema_file", "schema_text", "schemas", "stamps_schema"]

FILE_NAME = "model_registry.schema.json"
STAMPS_FILE_NAME = "stamps.schema.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_file() -> Path:
    """Return the schema that comes with the package."""
    return Path(str(files("playbill.backends") / FILE_NAME))


def registry_schema() -> dict[str, Any]:
    """Return the schema of a registry file: a list of entries, each with the keys that its backend requires."""
    return {
        "$schema": _DIALECT,
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


def stamps_schema() -> dict[str, Any]:
    """Return the schema of a file of stamps, which `check --stamp` writes and people may read and merge."""
    text = {"type": "string"}
    texts = {"type": "object", "additionalProperties": text}
    waived = {"type": "array", "items": texts, "description": "The waivers of the entry, as they stood in it."}
    found: dict[str, dict[str, Any]] = {
        "model_name": {**text, "description": "The entry's name; the registry is the file beside this one."},
        "date": {**text, "description": "The day of the proof."},
        "depth": {"enum": [depth.value for depth in Depth], "description": "How deep it was looked into."},
        "entry": {**texts, "description": "A digest of each key's value, but for those that are for people only."},
        "weights": {**text, "description": "The commit of the repository, or the hash of the files."},
        "template": {**text, "description": "The hash of the chat template."},
        "tokenizer": {**text, "description": "The hash of the ids that the tokenizer gives for texts of many scripts."},
        "against": {**texts, "description": "What stood in for the model's own template or tokenizer."},
        "asked": {**text, "description": "Whom live answers came from: the real service, a rehearsal, a server."},
        "self_test": {
            **text,
            "description": "What the engine found on load about requests that are computed together.",
        },
        "versions": {**texts, "description": "The versions of Playbill and of the engine's packages."},
        "warnings": {"type": "array", "items": text, "description": "Codes of rules that warned."},
        "waived": waived,
    }
    return {
        "$schema": _DIALECT,
        "title": "Stamps of a Playbill model registry",
        "type": "array",
        "items": {"type": "object", "properties": found, "required": ["model_name", "date", "depth"]},
    }


def schema_text() -> str:
    """Return the shipped text of the registry's schema."""
    return _text(registry_schema())


def schemas() -> dict[Path, str]:
    """Return the shipped files of schemas, each with its text."""
    stamps = Path(str(files("playbill.backends.registry.stamps") / STAMPS_FILE_NAME))
    return {schema_file(): schema_text(), stamps: _text(stamps_schema())}


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    for path, text in schemas().items():
        write_atomically(path, text)
