"""Give messages the forms that a chat template reads: its roles, and content as a string or as a list of parts.

What a template reads is tried with a short conversation; its text isn't parsed. Raises TemplateError for a template
that is not to be used at all: forbidden, or too costly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from playbill.backends.errors import HOSTILE_FAULTS, TemplateError
from playbill.backends.prompt.messages import ROLES, CheckedMessages, Message
from playbill.backends.prompt.template import render

__all__ = ["roles_of", "with_read_content"]

_PROBE = "Ωprobe"
_QUOTED = re.compile(r"""['"]([\w-]+)['"]""")


@lru_cache(maxsize=256)
def roles_of(template: str) -> frozenset[str]:
    """Return the roles that may be sent to a template: the common ones, without ``developer`` unless the template names
    it, and any other word that stands in quotes there."""
    return (ROLES - {"developer"}) | frozenset(_QUOTED.findall(template))


def with_read_content(
    messages: Sequence[Message], template: str, variables: Mapping[str, Any]
) -> CheckedMessages | Sequence[Message]:
    """Return the messages with each content in a form that the template reads; those that have it already are returned
    as they are. Text parts are joined for templates that take strings; a string becomes one part for those that read
    parts only; and no content, beside tool calls, becomes an empty one for those that fail without it."""
    given = json.dumps(variables, sort_keys=True, default=str)
    if any(m.get("content") is None for m in messages) and not _takes_none(template, given):
        messages = CheckedMessages({**m, "content": ""} if m.get("content") is None else m for m in messages)
    forms = _forms(template, given)
    if forms.strings and (forms.parts or not any(isinstance(m.get("content"), list) for m in messages)):
        return messages
    return CheckedMessages(_with_form(message, forms) for message in messages)


@dataclass(frozen=True, slots=True)
class _Forms:
    """Whether a template shows content that is a string, and content that is a list of text parts."""

    strings: bool
    parts: bool


@lru_cache(maxsize=256)
def _forms(template: str, variables: str) -> _Forms:
    given = {"add_generation_prompt": True, **json.loads(variables)}
    strings = _shows(template, given, _PROBE)
    parts = _shows(template, given, [{"type": "text", "text": _PROBE}])
    return _Forms(strings or not parts, parts)


@lru_cache(maxsize=256)
def _takes_none(template: str, variables: str) -> bool:
    """Tell whether a template renders a past answer that is tool calls only."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "content": "1", "tool_call_id": "1"}
    try:
        render(template, [{"role": "user", "content": "?"}, called, result], **json.loads(variables))
    except TemplateError as e:
        if e.fault in HOSTILE_FAULTS:  # it would cost as much each time
            raise
        return False
    return True


def _shows(template: str, variables: Mapping[str, Any], content: Any) -> bool:
    """Tell whether a template writes the text of a content, and not the list or object around it."""
    try:
        text = render(template, [{"role": "user", "content": content}], **variables)
    except TemplateError as e:
        if e.fault in HOSTILE_FAULTS:  # it would cost as much each time
            raise
        return False
    return _PROBE in text and not (isinstance(content, list) and re.search(r"""['"]text['"]: *['"]""" + _PROBE, text))


def _with_form(message: Message, forms: _Forms) -> Message:
    content = message.get("content")
    if isinstance(content, str) and not forms.strings:
        return {**message, "content": [{"type": "text", "text": content}]}
    if isinstance(content, list) and not forms.parts and all(part.get("type") == "text" for part in content):
        return {**message, "content": "".join(part["text"] for part in content)}
    return message
