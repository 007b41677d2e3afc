"""A record: everything that is kept of one turn, and its form as a line of a file.

Readers may rely on the fields in `FIELDS`; the key of a record is (id, turn, sample).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from playbill.backends.common.secret import scrub
from playbill.backends.generation import Generation, Outcome
from playbill.backends.prompt.messages import Message
from playbill.runs.folder.pictures import referring_to_pictures

__all__ = ["FIELDS", "SCHEMA", "TurnId", "Record", "checksum", "make_record", "to_line"]

SCHEMA = 1
Record = dict[str, Any]

FIELDS = (
    "schema",
    "id",
    "turn",
    "sample",
    "model_name",
    "label",
    "messages",
    "changes",
    "prompt",
    "raw",
    "text",
    "thinking",
    "outcome",
    "finish_reason",
    "finish_reason_raw",
    "usage",
    "params",
    "request",
    "response",
    "seconds",
    "time",
    "attempts",
    "error",
    "seed",
    "details",
    "checksum",
    "prompt_ids",
    "output_ids",
)
"""The fields of a record, in the order in which they stand in its line."""


_LINE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SUMMED = json.JSONEncoder(sort_keys=True, default=str)


class TurnId(NamedTuple):
    """What tells a record from all others of its model."""

    id: str
    turn: int
    sample: int


def make_record(
    key: TurnId,
    label: str,
    model_name: str,
    messages: Sequence[Message],
    generation: Generation,
    seed: int | None = None,
) -> Record:
    """Return the record of a generation: JSON values only, free of secrets. ``time`` is when it came, in UTC.

    ``messages`` are those that were given, before any change, but for pictures in them, of which the record has the
    name of the file; ``seconds`` is from submission to the last token.
    """
    made = generation.to_dict()
    # Ids are no text and can't hold a secret; a walk through thousands of them would cost more than all the rest.
    ids = {name: made.pop(name) for name in ("prompt_ids", "output_ids")}
    found = scrub(
        {
            **made,
            "request": referring_to_pictures(made["request"], generation.pictures),
            "schema": SCHEMA,
            "id": key.id,
            "turn": key.turn,
            "sample": key.sample,
            "model_name": model_name,
            "label": label,
            "messages": referring_to_pictures(list(messages), generation.pictures),
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "seed": seed,
        }
    )
    whole = {**found, **ids, "checksum": checksum(found)}
    return {name: whole[name] for name in FIELDS}


def checksum(record: Mapping[str, Any]) -> str:
    """Return what shows that a record's messages, text and outcome are as they were written: 16 hexadecimal digits."""
    content = _SUMMED.encode([record.get(name) for name in ("messages", "text", "outcome")])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def to_line(record: Record) -> bytes:
    """Return the record as one line of JSON in UTF-8, with its line feed.

    Never NaN, which is no JSON: it and the infinities become strings. Lone surrogates, which UTF-8 can't
    hold, are written as escapes, and so read back as they were.
    """
    try:
        text = _LINE.encode(record)
    except (ValueError, TypeError):
        text = _LINE.encode(_plain(record))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    """Return a value of JSON for anything: what has no form there is kept as its text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def is_record(value: Any) -> bool:
    """Tell whether a JSON value has what the store needs of a record: its key and a known outcome."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str)
        and all(isinstance(value.get(k), int) and 0 <= value[k] < 2**31 for k in ("turn", "sample"))
        and isinstance(value.get("outcome"), str)
        and value["outcome"] in _OUTCOMES
    )


_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
