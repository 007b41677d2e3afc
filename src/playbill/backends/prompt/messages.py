"""Prepare messages for a template or a service: check them, and change them only as the entry says.

Works on a copy, and records each change. Knows no template and no service.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from playbill.backends.errors import MessageError

__all__ = ["ROLES", "CheckedMessages", "Message", "Prepared", "check_messages", "prepare", "refuse_finished"]

Message = dict[str, Any]
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
"""The roles of OpenAI's form of messages; a template may know others."""
_BLANK_LINE = "\n\n"
_DEEPEST = 32


class CheckedMessages(tuple[Message, ...]):
    """Messages that `check_messages` has checked and copied: who gets them trusts them, and changes none."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Messages as they will be rendered, and a line for each change that was made to get there."""

    messages: CheckedMessages
    changes: tuple[str, ...] = ()


def check_messages(messages: Any) -> CheckedMessages:
    """Return a copy of the messages, each an object with a ``role`` and a ``content``, of JSON values throughout.

    ``content`` is a string, a list of parts (each an object with a ``type``; one of type ``text`` has a
    ``text``), or None where an assistant only called tools. Raises MessageError naming the place, as
    ``messages[2].role``. Messages that were checked before are returned as they are.
    """
    if isinstance(messages, CheckedMessages):
        return messages
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence):
        raise MessageError("messages: is not a list of messages")
    if not messages:
        raise MessageError("messages: is empty; at least one message is needed")
    return CheckedMessages(_check_message(message, f"messages[{i}]") for i, message in enumerate(messages))


def refuse_finished(messages: Sequence[Message]) -> None:
    """Raise MessageError for messages that end with the assistant's: a second turn of it would be opened."""
    if messages[-1]["role"] == "assistant":
        raise MessageError(
            f"messages[{len(messages) - 1}].role: the dialogue ends with the assistant, so there is nothing to answer; "
            "let it end with a message of the user"
        )


def _check_message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping):
        raise MessageError(f"{where}: is not an object with 'role' and 'content'")
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise MessageError(f"{where}.role: is missing or no string; it is 'system', 'user' or 'assistant'")
    content = message.get("content")
    if content is None and (role != "assistant" or not message.get("tool_calls")):
        raise MessageError(f"{where}.content: is missing")
    if isinstance(content, list):
        for j, part in enumerate(content):
            _check_part(part, f"{where}.content[{j}]")
    elif content is not None and not isinstance(content, str):
        raise MessageError(f"{where}.content: is neither a string nor a list of parts")
    copied: Message = _copy(message, where, _DEEPEST)
    return copied


def _check_part(part: Any, where: str) -> None:
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise MessageError(f"{where}: is not an object with a 'type'")
    if part["type"] == "text" and not isinstance(part.get("text"), str):
        raise MessageError(f"{where}.text: is missing or no string")


def _copy(value: Any, where: str, depth: int) -> Any:
    """Return a copy of a JSON value, all the way down; nobody who keeps the original can change it."""
    if isinstance(value, str):
        if not _is_encodable(value):
            raise MessageError(f"{where}: holds a lone surrogate, which no tokenizer and no service can take")
        return value
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and value - value == 0):
        return value
    if depth and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {_copy(k, where, depth): _copy(v, f"{where}.{k}", depth - 1) for k, v in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_copy(v, f"{where}[{i}]", depth - 1) for i, v in enumerate(value)]
    raise MessageError(f"{where}: is no JSON value, or nested too deeply")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def prepare(
    messages: Any,
    *,
    consecutive_roles: str = "merge",
    system_role: str = "native",
    roles: Collection[str] | None = None,
    system_first: bool = False,
) -> Prepared:
    """Check messages and change them as the entry's ``consecutive_roles`` and ``system_role`` say, and as whoever gets
    them demands.

    ``roles`` are those that are known there (None: all): a developer's message goes as a system message where there is
    no such role. ``system_first`` says that system messages have one place there, before all others.

    Raises MessageError for malformed messages, for a role that isn't known, and for messages of one role in a row under
    ``error``.
    """
    found = [_Placed(i, _without_nothing(message)) for i, message in enumerate(check_messages(messages))]
    changes: list[str] = []
    if roles is not None:
        found = [_with_known_role(placed, roles, changes) for placed in found]
    if consecutive_roles == "merge":
        found = _drop_empty_system(found, changes)
    if system_role == "fold":
        found = _fold_system(found, changes)
    if system_first:
        found = _system_first(found, changes)
    if consecutive_roles != "keep":
        found = _join_rows(found, changes, refuse=consecutive_roles == "error")
    return Prepared(CheckedMessages(placed.message for placed in found), tuple(changes))


class _Placed(NamedTuple):
    """A message, and its place in the list as it was given: changes are told by that."""

    place: int
    message: Message

    @property
    def role(self) -> str:
        return str(self.message["role"])


def _without_nothing(message: Message) -> Message:
    """Return a message without the keys that say nothing: null, and no tool calls. Some services refuse them, and a
    template may ask only whether they are there."""
    empty = [k for k, v in message.items() if (v is None and k != "content") or (k == "tool_calls" and v == [])]
    return {key: value for key, value in message.items() if key not in empty} if empty else message


def _with_known_role(placed: _Placed, roles: Collection[str], changes: list[str]) -> _Placed:
    if placed.role in roles:
        return placed
    if placed.role == "developer":
        changes.append(f"sent messages[{placed.place}], a developer message, as a system message")
        return _Placed(placed.place, {**placed.message, "role": "system"})
    raise MessageError(
        f"messages[{placed.place}].role: '{placed.role}' is no role that is known here; it is 'system', 'user' or "
        "'assistant'"
    )


def _system_first(messages: list[_Placed], changes: list[str]) -> list[_Placed]:
    system = [placed for placed in messages if placed.role == "system"]
    rest = [placed for placed in messages if placed.role != "system"]
    before = sum(1 for placed, other in zip(system, messages, strict=False) if placed is other)
    changes.extend(f"moved messages[{placed.place}], a system message, before all others" for placed in system[before:])
    return [*system, *rest]


def _drop_empty_system(messages: list[_Placed], changes: list[str]) -> list[_Placed]:
    kept = []
    for placed in messages:
        if placed.role == "system" and placed.message.get("content") in ("", []):
            changes.append(f"dropped messages[{placed.place}], an empty system message")
        else:
            kept.append(placed)
    if not kept:
        raise MessageError("messages: there is nothing but an empty system message")
    return kept


def _fold_system(messages: list[_Placed], changes: list[str]) -> list[_Placed]:
    system = [placed for placed in messages if placed.role == "system"]
    if not system:
        return messages
    rest = [placed for placed in messages if placed.role != "system"]
    first_user = next((i for i, placed in enumerate(rest) if placed.role == "user"), None)
    changes.extend(f"folded messages[{p.place}], a system message, into the first user message" for p in system)
    head = {**system[0].message, "role": "user"}
    for placed in system[1:]:
        head = {**_join(head, placed.message), "role": "user"}
    if first_user is None:
        return [_Placed(system[0].place, head), *rest]
    rest[first_user] = _Placed(rest[first_user].place, _join(head, rest[first_user].message))
    return rest


def _join_rows(messages: list[_Placed], changes: list[str], *, refuse: bool) -> list[_Placed]:
    joined = [messages[0]]
    for placed in messages[1:]:
        if placed.role != joined[-1].role or placed.role == "tool":
            joined.append(placed)
            continue
        if refuse:
            raise MessageError(
                f"messages[{placed.place}].role: '{placed.role}' twice in a row; the entry's 'consecutive_roles' "
                "is 'error': set it to 'merge' or 'keep', or mend the messages"
            )
        changes.append(f"merged messages[{placed.place}] into the {placed.role} message before it")
        joined[-1] = _Placed(joined[-1].place, _join(joined[-1].message, placed.message))
    return joined


def _join(first: Message, second: Message) -> Message:
    """Return one message of two of a role: texts with a blank line between, parts and clembench's ``image`` kept."""
    merged = {**first, **second}
    ours, theirs = first.get("content"), second.get("content")
    if isinstance(ours, str) and isinstance(theirs, str):
        merged["content"] = ours + _BLANK_LINE + theirs if ours and theirs else ours + theirs
    elif ours is not None or theirs is not None:
        merged["content"] = [*_parts(ours), *_parts(theirs)]
    for key in ("image", "tool_calls"):
        if key in first and key in second:
            merged[key] = [*_as_list(first[key]), *_as_list(second[key])]
    return merged


def _parts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
