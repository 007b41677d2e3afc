"""The types of values that entry keys and generation parameters may have. Knows no key by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = [
    "ANY",
    "BOOLEAN",
    "COUNT",
    "DATE",
    "FACTOR",
    "INTEGER",
    "LICENSE",
    "LITERALS",
    "NUMBER",
    "OBJECT",
    "POSITIVE",
    "RETIRED",
    "SAFETY",
    "SHARE",
    "SIGNED",
    "STRING",
    "STRINGS",
    "TEXT",
    "THINKING_MODE",
    "TOKENS",
    "WAIVERS",
    "ValueType",
    "choice",
    "parse_date",
    "parse_token_count",
]

_TOKEN_COUNT = re.compile(r"\s*([0-9]{1,18})\s*([km]?)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class ValueType:
    """A type of values: its name for people, its JSON Schema, and the test that a value passes."""

    name: str
    schema: dict[str, Any]
    accepts: Callable[[Any], bool]


def parse_token_count(value: object) -> int | None:
    """Return a number of tokens as registries write it: ``8192``, ``"8192"``, ``"128k"``, ``"1M"``; k is 1,024.

    The empty string means "not stated" and gives None; so does anything unreadable.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value > 0 else None
    match = _TOKEN_COUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None or not int(match[1]):
        return None
    return int(match[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[match[2].lower()]


def parse_date(value: object) -> datetime | None:
    """Return an ISO date or date with time, as ``2026-11-23`` or ``2026-11-23T14:30:00``; else None."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def choice(*allowed: str) -> ValueType:
    """Return the type of values that are one of some strings."""
    return ValueType("one of " + ", ".join(f"'{a}'" for a in allowed), {"enum": list(allowed)}, lambda v: v in allowed)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


_STRINGS_SCHEMA = {"type": "array", "items": {"type": "string"}}

ANY = ValueType("any value", {}, lambda v: True)
STRING = ValueType("a non-empty string", {"type": "string", "minLength": 1}, lambda v: isinstance(v, str) and v != "")
TEXT = ValueType("a string", {"type": "string"}, lambda v: isinstance(v, str))
BOOLEAN = ValueType("true or false", {"type": "boolean"}, lambda v: isinstance(v, bool))
INTEGER = ValueType("an integer", {"type": "integer"}, _is_integer)
COUNT = ValueType("an integer of 0 or more", {"type": "integer", "minimum": 0}, lambda v: _is_integer(v) and v >= 0)
POSITIVE = ValueType("an integer of 1 or more", {"type": "integer", "minimum": 1}, lambda v: _is_integer(v) and v >= 1)
NUMBER = ValueType("a number of 0 or more", {"type": "number", "minimum": 0}, lambda v: _is_number(v) and v >= 0)
FACTOR = ValueType("a number above 0", {"type": "number", "exclusiveMinimum": 0}, lambda v: _is_number(v) and v > 0)
SIGNED = ValueType("a number", {"type": "number"}, _is_number)
SHARE = ValueType(
    "a number from 0 to 1",
    {"type": "number", "minimum": 0, "maximum": 1},
    lambda v: _is_number(v) and 0 <= v <= 1,
)
THINKING_MODE = ValueType(
    "true, false or 'adaptive'",
    {"enum": [True, False, "adaptive"]},
    lambda v: v is True or v is False or v == "adaptive",
)
STRINGS = ValueType("a list of strings", _STRINGS_SCHEMA, _is_strings)
LITERALS = ValueType(
    "a string or a list of strings",
    {"anyOf": [{"type": "string"}, _STRINGS_SCHEMA]},
    lambda v: isinstance(v, str) or _is_strings(v),
)
OBJECT = ValueType(
    "an object", {"type": "object"}, lambda v: isinstance(v, dict) and all(isinstance(k, str) for k in v)
)
LICENSE = ValueType(
    "a string, or an object with 'name' and 'url'",
    {"anyOf": [{"type": "string"}, {"type": "object"}]},
    lambda v: isinstance(v, (str, dict)),
)
TOKENS = ValueType(
    'a number of tokens, as 8192 or "128k"',
    {
        "anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "string", "pattern": r"^\s*([0-9]*[1-9][0-9]*\s*[kKmM]?)?\s*$"},
        ]
    },
    lambda v: parse_token_count(v) is not None or (isinstance(v, str) and not v.strip()),
)
DATE = ValueType("an ISO date, as 2026-11-23", {"type": "string"}, lambda v: parse_date(v) is not None)
RETIRED = ValueType(
    "an ISO date, as 2026-11-23, or true",
    {"anyOf": [{"type": "string"}, {"const": True}]},
    lambda v: v is True or parse_date(v) is not None,
)
_RULE = re.compile("PB[0-9]{3}")
_DAY = r"^\d{4}-\d{2}-\d{2}"
_WAIVER: dict[str, dict[str, Any]] = {
    "rule": {"type": "string", "pattern": f"^{_RULE.pattern}$", "description": "The rule's code, as PB128."},
    "reason": {"type": "string", "minLength": 1, "description": "Why the rule doesn't hold here."},
    "date": {"type": "string", "pattern": _DAY, "description": "The day on which that was decided, as 2026-11-23."},
}
# The google-genai client's HarmBlockThreshold and HarmCategory.
_THRESHOLDS = ("OFF", "BLOCK_NONE", "BLOCK_ONLY_HIGH", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_LOW_AND_ABOVE")
_CATEGORY = re.compile(r"HARM_CATEGORY_[A-Z_]+")
SAFETY = ValueType(
    f"one of {', '.join(_THRESHOLDS)}, or an object from categories (HARM_CATEGORY_…) to these",
    {
        "anyOf": [
            {"enum": list(_THRESHOLDS)},
            {
                "type": "object",
                "propertyNames": {"pattern": f"^{_CATEGORY.pattern}$"},
                "additionalProperties": {"enum": list(_THRESHOLDS)},
            },
        ]
    },
    lambda v: (
        v in _THRESHOLDS
        if isinstance(v, str)
        else isinstance(v, dict) and all(_CATEGORY.fullmatch(str(k)) and t in _THRESHOLDS for k, t in v.items())
    ),
)
WAIVERS = ValueType(
    "a list of objects with 'rule' (as PB128), 'reason' and 'date'",
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": _WAIVER,
            "required": [*_WAIVER],
            "additionalProperties": False,
        },
    },
    lambda v: isinstance(v, list) and all(_is_waiver(w) for w in v),
)


def _is_waiver(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == set(_WAIVER)
        and all(isinstance(v, str) and v for v in value.values())
        and _RULE.fullmatch(value["rule"]) is not None
        and re.match(_DAY, value["date"]) is not None
        and parse_date(value["date"]) is not None
    )
