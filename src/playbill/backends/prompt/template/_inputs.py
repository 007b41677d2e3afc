"""What a caller gives to a template, checked and made plain before it travels. Knows nothing of Jinja.

A template sees what transformers' ``apply_chat_template`` would show it: messages without the keys that are
None, and with reasoning under each of the names that templates read it by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from playbill.backends.errors import MessageError, ParameterError
from playbill.backends.prompt.messages import CheckedMessages

__all__ = ["conversation", "plain_variables", "moment"]

DEEPEST = 200
REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
NOT_VARIABLES = frozenset(
    {
        "chat_template",
        "continue_final_message",
        "conversation",
        "conversations",
        "max_length",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "sanitize_control_tokens",
        "tokenize",
        "tokenizer_kwargs",
        "truncation",
    }
)


class NotPlain(Exception):
    """A value that JSON doesn't have; the path grows from the inside out, as the error rises."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.path = ""


def conversation(messages: object) -> list[dict[str, Any]]:
    """Return a copy of the messages as templates see them. Raises MessageError with the place of what is wrong.

    Messages that Playbill has checked are not checked again.
    """
    if isinstance(messages, CheckedMessages):
        return [_shown({key: value for key, value in m.items() if value is not None}) for m in messages]
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes | bytearray):
        raise MessageError(f"messages: a list of messages was expected, not {_kind(messages)}")
    if not messages:
        raise MessageError("messages: the list is empty; a template needs at least one message")
    return [_message(message, index) for index, message in enumerate(messages)]


def plain_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain copy, with the variables that every template is given; raises ParameterError with the place."""
    for name in variables:
        if name in NOT_VARIABLES:
            raise ParameterError(f"{name}: no template variable, but an argument of apply_chat_template; leave it out")
    for name in ("tools", "documents"):
        _check_list_of_objects(name, variables.get(name))
    copy: dict[str, Any] = {"tools": None, "documents": None, "add_generation_prompt": False}
    for name, value in variables.items():
        try:
            copy[name] = _plain(value, DEEPEST)
        except NotPlain as problem:
            raise ParameterError(f"{name}{problem.path}: {problem}") from None
    if copy["tools"] is not None:
        copy["tools"] = list(copy["tools"])
    return copy


def moment(date: datetime | None) -> tuple[str, float | None, str | None]:
    """Return the date as it travels: its ISO form, the offset in seconds and the zone's name if it has one."""
    if date is None:
        date = datetime.now()  # the local time, without a zone, as transformers gives it
    if not isinstance(date, datetime):
        raise ParameterError(f"date: a datetime was expected, not {_kind(date)}")
    offset = date.utcoffset()
    seconds = None if offset is None else offset.total_seconds()
    return date.replace(tzinfo=None).isoformat(), seconds, date.tzname()


def _message(message: object, index: int) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise MessageError(f"messages[{index}]: an object with role and content was expected, not {_kind(message)}")
    try:
        copy: dict[str, Any] = _plain({key: value for key, value in message.items() if value is not None}, DEEPEST)
    except NotPlain as problem:
        raise MessageError(f"messages[{index}]{problem.path}: {problem}") from None
    return _shown(copy)


def _shown(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with its reasoning under each of the names that templates read it by."""
    reasoning = next((message[key] for key in REASONING_KEYS if key in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _check_list_of_objects(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, list | tuple):
        raise ParameterError(f"{name}: a list of objects was expected, not {_kind(value)}")
    for index, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise ParameterError(f"{name}[{index}]: an object was expected, not {_kind(item)}")


def _plain(value: Any, depth: int) -> Any:
    """Return a copy made of JSON's own types (and tuples, which print differently from lists)."""
    kind = type(value)
    if value is None or kind is str or kind is bool or kind is int or kind is float:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if depth == 0:
        raise NotPlain(f"nested deeper than {DEEPEST} levels")
    if isinstance(value, Mapping):
        return {_key(key): _inside(item, f".{key}", depth) for key, item in value.items()}
    if isinstance(value, list):
        return [_inside(item, index, depth) for index, item in enumerate(value)]
    if isinstance(value, tuple):
        return tuple(_inside(item, index, depth) for index, item in enumerate(value))
    raise NotPlain(f"{_kind(value)} is no JSON value; a template takes text, numbers, lists and objects")


def _inside(value: Any, step: str | int, depth: int) -> Any:
    try:
        return _plain(value, depth - 1)
    except NotPlain as problem:
        problem.path = (step if isinstance(step, str) else f"[{step}]") + problem.path
        raise


def _key(key: object) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise NotPlain(f"the key {key!r:.80} is {_kind(key)}; the keys of an object are text")


def _kind(value: object) -> str:
    if value is None:
        return "None"
    return type(value).__name__
