"""A stamp: what `playbill check` proved of one entry, and the content that it belongs to. Reads no file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from playbill.backends.registry.fields.table import ENTRY_KEYS, METADATA

__all__ = ["UNHASHED", "Content", "Depth", "Stamp", "key_digests", "parse_stamp"]

UNHASHED = "unhashed"
"""In a hash's place: there are files of weights, and their hash isn't known without reading them whole."""


class Depth(StrEnum):
    """How deep an entry was looked into, the least first."""

    WRITTEN = "as-written"
    PROMPT = "prompt-path"
    LIVE = "live"

    @property
    def rank(self) -> int:
        return list(Depth).index(self)


@dataclass(frozen=True, slots=True)
class Content:
    """What a model is beside its entry, each None where it isn't known: the weights by commit or hash, the chat
    template and the tokenizer by hash."""

    weights: str | None = None
    template: str | None = None
    tokenizer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What was proven of the entry whose keys have these digests, on a day, with these versions.

    ``against`` names what stood in for the model's own files, by the part that it stood in for; such a tokenizer is not
    compared. ``asked`` says whom live answers came from, ``self_test`` what the engine found on load about requests
    that are computed together. ``warnings`` are the codes of rules that warned, and
    ``waived`` are the waivers of the entry, whose rules may warn on a later day only.
    """

    model_name: str
    date: str
    depth: Depth
    entry: Mapping[str, str]
    content: Content
    versions: Mapping[str, str]
    against: Mapping[str, str]
    asked: str | None
    self_test: str | None
    warnings: tuple[str, ...]
    waived: tuple[Mapping[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the stamp as it is written; what isn't known is left out."""
        content = {name: getattr(self.content, name) for name in Content.__slots__}
        found = {
            "model_name": self.model_name,
            "date": self.date,
            "depth": self.depth.value,
            "entry": dict(self.entry),
            **content,
            "against": dict(self.against),
            "asked": self.asked,
            "self_test": self.self_test,
            "versions": dict(self.versions),
            "warnings": list(self.warnings),
            "waived": [dict(waiver) for waiver in self.waived],
        }
        return {key: value for key, value in found.items() if value or key in ("entry", "versions")}


def key_digests(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return a short digest of each key's value, in the order of their names. Keys that are for people only are left
    out: what was proven doesn't depend on them.

    >>> key_digests({"model_name": "m", "backend": "human", "license": "MIT", "x_mine": 1})
    {'backend': '11e25bab0df4'}
    """
    return {name: _digest(value) for name, value in sorted(entry.items()) if _counts(name)}


def _counts(name: str) -> bool:
    key = ENTRY_KEYS.get(name)
    return name != "model_name" and not name.startswith("x_") and (key is None or key.read_by != METADATA)


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def parse_stamp(value: Any) -> Stamp | None:
    """Read a stamp as it is written; None for what is none."""
    if not isinstance(value, dict) or value.get("depth") not in list(Depth):
        return None
    texts = [value.get(name) for name in ("model_name", "date")]
    optional = [value.get(name) for name in (*Content.__slots__, "asked", "self_test")]
    entry, versions, against = (value.get(name, {}) for name in ("entry", "versions", "against"))
    warnings, waived = value.get("warnings", []), value.get("waived", [])
    if not all(isinstance(text, str) for text in texts) or not all(text is None or _is_text(text) for text in optional):
        return None
    if not all(_are_texts(mapping) for mapping in (entry, versions, against)):
        return None
    if not (isinstance(warnings, list) and all(map(_is_text, warnings))):
        return None
    if not (isinstance(waived, list) and all(map(_are_texts, waived))):
        return None
    weights, template, tokenizer, asked, self_test = optional
    return Stamp(
        model_name=str(texts[0]),
        date=str(texts[1]),
        depth=Depth(value["depth"]),
        entry=entry,
        content=Content(weights, template, tokenizer),
        versions=versions,
        against=against,
        asked=asked,
        self_test=self_test,
        warnings=tuple(warnings),
        waived=tuple(waived),
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
