"""Give messages with pictures the form that a chat template reads: parts, or a text with placeholders in it.

What a template reads is tried with a short conversation, as in `content_forms`; its text isn't parsed. Opens no
picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from playbill.backends.errors import HOSTILE_FAULTS, MessageError, TemplateError
from playbill.backends.prompt.content_forms import with_read_content
from playbill.backends.prompt.messages import CheckedMessages, Message
from playbill.backends.prompt.pictures import TextPart, has_pictures, parts_of
from playbill.backends.prompt.template import render

__all__ = ["count_placeholders", "shows_picture_parts", "with_placeholders"]

_PROBE = "Ωprobe"
_PART = {"type": "image"}


def with_placeholders(
    messages: Sequence[Message], template: str, variables: Mapping[str, Any], placeholder: str
) -> Sequence[Message]:
    """Return the messages with each content in a form that the template reads, pictures included.

    A picture becomes a part ``{"type": "image"}`` where the template shows it as the placeholder; else a line of its
    own in the text, which is the placeholder. Raises MessageError where a template shows neither.
    """
    if not has_pictures(messages):
        return with_read_content(messages, template, variables)
    given = json.dumps(variables, sort_keys=True, default=str)
    as_parts = _shows(template, given, placeholder, parts=True)
    if not as_parts and not _shows(template, given, placeholder, parts=False):
        raise MessageError(
            f"messages: hold a picture, and the chat template doesn't show it: neither as a part of type 'image' nor "
            f"as {placeholder!r} in a text; set custom_chat_template to one that does"
        )
    shown = [_with_form(message, f"messages[{i}]", placeholder, as_parts) for i, message in enumerate(messages)]
    without = [None if isinstance(m.get("content"), list) and _pictured(m) else m for m in shown]
    read = iter(with_read_content([m for m in without if m is not None], template, variables))
    return CheckedMessages(m if w is None else next(read) for m, w in zip(shown, without, strict=True))


def shows_picture_parts(template: str, variables: Mapping[str, Any], placeholder: str) -> bool:
    """Tell whether a template writes the placeholder for a part of type ``image``."""
    return _shows(template, json.dumps(variables, sort_keys=True, default=str), placeholder, parts=True)


def count_placeholders(text: str, placeholder: str) -> int:
    """Return how many pictures a rendered prompt has room for."""
    return text.count(placeholder)


def _pictured(message: Message) -> bool:
    return any(part.get("type") == "image" for part in message["content"])


def _with_form(message: Message, where: str, placeholder: str, as_parts: bool) -> Message:
    if not has_pictures([message]):
        return message
    rest = {key: value for key, value in message.items() if key != "image"}
    parts = parts_of(message, where)
    if as_parts:
        shown = [{"type": "text", "text": p.text} if isinstance(p, TextPart) else dict(_PART) for p in parts]
        return {**rest, "content": shown}
    lines = [part.text if isinstance(part, TextPart) else placeholder for part in parts]
    return {**rest, "content": "\n".join(lines)}


@lru_cache(maxsize=256)
def _shows(template: str, variables: str, placeholder: str, *, parts: bool) -> bool:
    """Tell whether a template shows a picture and the text beside it."""
    given = {"add_generation_prompt": True, **json.loads(variables)}
    content = [dict(_PART), {"type": "text", "text": _PROBE}] if parts else f"{placeholder}\n{_PROBE}"
    try:
        text = render(template, [{"role": "user", "content": content}], **given)
    except TemplateError as e:
        if e.fault in HOSTILE_FAULTS:  # it would cost as much each time
            raise
        return False
    return placeholder in text and _PROBE in text
