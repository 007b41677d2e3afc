"""The prompt path of a local model: messages to text to token ids, and ids back to text. Needs no weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from playbill.backends.errors import MessageError
from playbill.backends.prompt.chat_template import Template
from playbill.backends.prompt.content_forms import roles_of, with_read_content
from playbill.backends.prompt.messages import ROLES, Message, check_messages, prepare, refuse_finished
from playbill.backends.prompt.stops import Stops
from playbill.backends.prompt.template import render
from playbill.backends.prompt.tokenizer import Tokenizer
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.services import SERVICES

__all__ = ["Prompt", "PromptPath", "make_prompt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPath:
    """Everything between messages and ids for one model.

    ``context_size`` is the most tokens that prompt and answer may have together, None where nobody says.
    ``recommended`` is what the model's repository recommends for sampling; it is shown, and used only where
    the entry says ``"generation_config": "repo"``. ``response`` is the model's own response template, which tells
    thinking and answer apart.
    """

    template: Template
    tokenizer: Tokenizer
    stops: Stops
    date: datetime
    context_size: int | None = None
    recommended: Mapping[str, Any] = field(default_factory=dict)
    response: Mapping[str, Any] | None = None

    def render(self, messages: Sequence[Message], **variables: Any) -> str:
        """Return the prompt's text, ending where the model's answer begins.

        Raises TemplateRefusal where the template refuses the conversation, TemplateError where it breaks.
        """
        given = {"add_generation_prompt": True, **self.template.variables, **variables}
        shown = with_read_content(messages, self.template.text, self.template.variables)
        return render(self.template.text, shown, date=self.date, **given) + self.template.answer_begins

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text))

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that one token stands for, which may be a part of a UTF-8 character.

        A tokenizer of an engine from elsewhere may not say them; then they are those of its text.
        """
        own: Callable[[int], bytes] | None = getattr(self.tokenizer, "token_bytes", None)
        return own(token) if own is not None else self.decode([token]).encode()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent for a list of messages: the prepared messages, and text and ids where they are ours."""

    messages: tuple[Message, ...]
    changes: tuple[str, ...] = ()
    text: str | None = None
    ids: tuple[int, ...] | None = None


def make_prompt(spec: Mapping[str, Any], path: PromptPath | None, messages: Any) -> Prompt:
    """Prepare, render and encode messages. Needs no weights.

    Raises MessageError for malformed messages, for a role that neither the template nor the service knows, for a
    dialogue that ends with the assistant, and for what isn't text where the model runs here; TemplateRefusal where the
    template refuses the messages.
    """
    service = SERVICES.get(str(spec.get("backend")))
    given = check_messages(messages)
    refuse_finished(given)
    prepared = prepare(
        given,
        consecutive_roles=setting(spec, "consecutive_roles"),
        system_role=setting(spec, "system_role"),
        roles=roles_of(path.template.text) if path is not None else service.roles if service is not None else ROLES,
        system_first=service is not None and service.system_first,
    )
    if path is None:
        return Prompt(prepared.messages, prepared.changes)
    _refuse_other_parts(prepared.messages)
    text = path.render(prepared.messages)
    return Prompt(prepared.messages, prepared.changes, text, path.encode(text))


def _refuse_other_parts(messages: Sequence[Message]) -> None:
    """Templates pass what they don't know over, so an image would be missing without a word."""
    for i, message in enumerate(messages):
        parts = message.get("content")
        kinds = [part.get("type") for part in parts] if isinstance(parts, list) else []
        if message.get("image") or any(kind in ("image", "image_url") for kind in kinds):
            raise MessageError(
                f"messages[{i}]: holds an image, and models that run here take text; take a service whose entry has "
                "'multimodality', or leave the image out"
            )
        for j, kind in enumerate(kinds):
            if kind != "text":
                raise MessageError(f"messages[{i}].content[{j}].type: is '{kind}', and models that run here take text")
