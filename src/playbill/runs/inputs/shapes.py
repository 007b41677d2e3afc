"""Read dialogues in the shapes that people write; refuse others with what is wrong and what to type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbill.backends.errors import InputError, MessageError
from playbill.backends.prompt.messages import CheckedMessages, check_messages, refuse_finished
from playbill.runs.inputs.dialogue import Dialogue

__all__ = ["read_dialogue", "unread_settings"]

_SHAPES = (
    'it is none of {"id", "messages"}, {"id", "turns", "system"?}, {"question_id", "turns"} and '
    '{"custom_id", "body": {"messages"}}'
)
_IDS = ("id", "question_id", "custom_id")


def read_dialogue(raw: Any, folder: Path | None = None) -> Dialogue:
    """Return the dialogue of one object of an input. Raises InputError saying what is wrong, without the place."""
    if not isinstance(raw, Mapping):
        raise InputError(f"is not an object; {_SHAPES}")
    if "body" in raw and not any(key in raw for key in ("messages", "turns")):
        body = raw["body"]
        if not isinstance(body, Mapping) or "messages" not in body:
            raise InputError("body: is no object with 'messages'")
        return Dialogue(_id(raw), _messages(body["messages"], "body."), (), folder)
    if ("messages" in raw) == ("turns" in raw):
        both = "has both 'messages' and 'turns'; keep the one that is meant" if "turns" in raw else _SHAPES
        raise InputError(both)
    if "messages" in raw:
        if "system" in raw:
            raise InputError("system: goes with 'turns'; with 'messages', make it the first message")
        return Dialogue(_id(raw), _messages(raw["messages"]), (), folder)
    return _of_turns(raw, folder)


def _of_turns(raw: Mapping[str, Any], folder: Path | None) -> Dialogue:
    name = _id(raw)
    turns = raw["turns"]
    if not isinstance(turns, list) or not turns:
        raise InputError("turns: is not a list of the user's texts, with at least one")
    for i, turn in enumerate(turns):
        if not isinstance(turn, str):
            raise InputError(f"turns[{i}]: is no string; messages with roles go under 'messages'")
        _messages([{"role": "user", "content": turn}], f"turns[{i}]: ")
    opening = [{"role": "user", "content": turns[0]}]
    system = raw.get("system")
    if system is not None:
        if not isinstance(system, str):
            raise InputError("system: is no string")
        opening.insert(0, {"role": "system", "content": system})
    return Dialogue(name, _messages(opening), tuple(turns[1:]), folder)


def _messages(messages: Any, where: str = "") -> CheckedMessages:
    try:
        found = check_messages(messages)
        refuse_finished(found)
        return found
    except MessageError as e:
        raise InputError(f"{where}{e}") from e


def _id(raw: Mapping[str, Any]) -> str:
    """Return the id as a string: 7 and "7" are the same."""
    given = [key for key in _IDS if key in raw]
    if not given:
        wanted = next((k for k, mark in (("custom_id", "body"), ("id", "messages")) if mark in raw), "id")
        raise InputError(f'has no id; add one that no other dialogue has, as "{wanted}": "d1"')
    value = raw[given[0]]
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(f"{given[0]}: {value!r} is neither a string nor a whole number")
    name = str(value)
    if not name.strip():
        raise InputError(f"{given[0]}: is empty")
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as e:
            raise InputError(f"{given[0]}: holds a lone surrogate") from e
    return name


def unread_settings(raw: Any) -> frozenset[str]:
    """Settings in the body of a batch request, which a run doesn't read: its model and parameters are the caller's."""
    body = raw.get("body") if isinstance(raw, Mapping) else None
    return frozenset(body) - {"messages"} if isinstance(body, Mapping) else frozenset()
