"""Check the types of a record's fields, for readers of records that others may have touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["wrong_field"]

_STRING, _NUMBER, _WHOLE = (str,), (int, float), (int,)  # never bool, whose type is another
_TYPES: dict[str, tuple[type, ...]] = {
    "id": _STRING,
    "turn": _WHOLE,
    "sample": _WHOLE,
    "model_name": _STRING,
    "label": _STRING,
    "messages": (list,),
    "changes": (list,),
    "prompt": _STRING,
    "raw": _STRING,
    "text": _STRING,
    "thinking": _STRING,
    "outcome": _STRING,
    "finish_reason": _STRING,
    "finish_reason_raw": _STRING,
    "usage": (dict,),
    "params": (dict,),
    "seconds": _NUMBER,
    "time": _STRING,
    "error": (dict,),
    "details": (dict,),
}
_NAMES = {str: "a string", int: "a whole number", float: "a number", dict: "an object", list: "a list"}
_NEEDED = ("id", "turn", "outcome")


def wrong_field(record: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the first field that has not the type that it should have; None where all are right.

    >>> wrong_field({"id": "d1", "turn": 0, "outcome": "answered", "text": ["A"]})
    'text is no string'
    """
    for name, types in _TYPES.items():
        value = record.get(name)
        if value is None:
            if name in _NEEDED:
                return f"{name} is missing"
        elif type(value) not in types:
            return f"{name} is no{_NAMES[types[-1]].removeprefix('a').removeprefix('n')}"
    return _wrong_inside(record)


def _wrong_inside(record: Mapping[str, Any]) -> str | None:
    for message in record.get("messages") or ():
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return "messages holds what is no message with a role"
    for name, value in (record.get("usage") or {}).items():
        if value is not None and type(value) is not int:
            return f"usage.{name} is no whole number"
    for name in ("asked", "effective", "not_sent", "ignored"):
        if not isinstance((record.get("params") or {}).get(name) or {}, dict):
            return f"params.{name} is no object"
    return None
