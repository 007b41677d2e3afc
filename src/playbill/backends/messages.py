"""Messages made ready for a template or a service: checked, then changed only as the entry says.

Works on a copy and says what it changed. Knows no template and no service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from playbill.backends.errors import MessageError

__all__ = ["Message", "Prepared", "check_messages", "prepare"]

Message = dict[str, Any]
_BLANK_LINE = "\n\n"


@dataclass(frozen=True, slots=True)
class Prepared:
    """Messages as they will be rendered, and a line for each change that was made to get there."""

    messages: tuple[Message, ...]
    changes: tuple[str, ...] = ()


def check_messages(messages: Any) -> list[Message]:
    """A copy of the messages, each an object with a ``role`` and a ``content``.

    ``content`` is a string, a list of parts (each an object with a ``type``), or None where an assistant
    only called tools. Raises MessageError naming the place, as ``messages[2].role``.
    """
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence):
        raise MessageError("messages: is not a list of messages")
    if not messages:
        raise MessageError("messages: is empty; at least one message is needed")
    return [_check_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _check_message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping):
        raise MessageError(f"{where}: is not an object with 'role' and 'content'")
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise MessageError(f"{where}.role: is missing or no string; it is 'system', 'user' or 'assistant'")
    content = message.get("content")
    if content is None and (role != "assistant" or "tool_calls" not in message):
        raise MessageError(f"{where}.content: is missing")
    if isinstance(content, list):
        for j, part in enumerate(content):
            if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
                raise MessageError(f"{where}.content[{j}]: is not an object with a 'type'")
    elif content is not None and not isinstance(content, str):
        raise MessageError(f"{where}.content: is neither a string nor a list of parts")
    if isinstance(content, str) and not _encodable(content):
        raise MessageError(f"{where}.content: holds a lone surrogate, which no tokenizer and no service can take")
    return dict(message)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def prepare(messages: Any, *, consecutive_roles: str = "merge", system_role: str = "native") -> Prepared:
    """Check messages and change them as the entry's ``consecutive_roles`` and ``system_role`` say.

    Raises MessageError for malformed messages, and for messages of one role in a row under ``error``.
    """
    found = check_messages(messages)
    changes: list[str] = []
    if consecutive_roles == "merge":
        found = _drop_empty_system(found, changes)
    if system_role == "fold":
        found = _fold_system(found, changes)
    if consecutive_roles != "keep":
        found = _join_rows(found, changes, refuse=consecutive_roles == "error")
    return Prepared(tuple(found), tuple(changes))


def _drop_empty_system(messages: list[Message], changes: list[str]) -> list[Message]:
    kept = [m for m in messages if not (m["role"] == "system" and m.get("content") in ("", []))]
    if not kept:
        raise MessageError("messages: there is nothing but an empty system message")
    if len(kept) < len(messages):
        changes.append("dropped an empty system message")
    return kept


def _fold_system(messages: list[Message], changes: list[str]) -> list[Message]:
    system = [m for m in messages if m["role"] == "system"]
    if not system:
        return messages
    rest = [m for m in messages if m["role"] != "system"]
    place = next((i for i, m in enumerate(rest) if m["role"] == "user"), None)
    changes.append("folded the system message into the first user message")
    head: Message = {"role": "user", "content": system[0]["content"]}
    for message in system[1:]:
        head = _join(head, message)
    if place is None:
        return [head, *rest]
    rest[place] = {**rest[place], "content": _join(head, rest[place])["content"]}
    return rest


def _join_rows(messages: list[Message], changes: list[str], *, refuse: bool) -> list[Message]:
    joined = [messages[0]]
    for index, message in enumerate(messages[1:], 1):
        if message["role"] != joined[-1]["role"] or message["role"] == "tool":
            joined.append(message)
            continue
        if refuse:
            raise MessageError(
                f"messages[{index}].role: '{message['role']}' twice in a row; the entry's 'consecutive_roles' "
                "is 'error': set it to 'merge' or 'keep', or mend the messages"
            )
        changes.append(f"merged messages[{index}] into the {message['role']} message before it")
        joined[-1] = _join(joined[-1], message)
    return joined


def _join(first: Message, second: Message) -> Message:
    """One message of two of a role: texts with a blank line between, parts and clembench's ``image`` kept."""
    merged = {**first, **second}
    ours, theirs = first.get("content"), second.get("content")
    if isinstance(ours, str) and isinstance(theirs, str):
        merged["content"] = ours + _BLANK_LINE + theirs if ours and theirs else ours + theirs
    else:
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
