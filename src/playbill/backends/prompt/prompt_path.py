"""The prompt path of a local model: messages to text to token ids, and ids back to text. Needs no weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from playbill.backends.errors import MessageError
from playbill.backends.prompt.chat_template import Template
from playbill.backends.prompt.content_forms import roles_of, with_read_content
from playbill.backends.prompt.messages import ROLES, Message, check_messages, prepare, refuse_finished
from playbill.backends.prompt.picture_forms import with_placeholders
from playbill.backends.prompt.pictures import ExpandedPrompt, Picture, PictureProcessor, has_pictures, read_pictures
from playbill.backends.prompt.pictures.taken import check_pictures_taken
from playbill.backends.prompt.stops import Stops
from playbill.backends.prompt.template import render
from playbill.backends.prompt.tokenizer import Tokenizer
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.services import SERVICES

__all__ = ["Bos", "Prompt", "PromptPath", "make_prompt"]


@dataclass(frozen=True, slots=True)
class Bos:
    """A BOS that goes before a prompt which doesn't begin with it: its text and its id."""

    text: str
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPath:
    """Everything between messages and ids for one model.

    ``context_size`` is the most tokens that prompt and answer may have together, None where nobody says.
    ``recommended`` is what the model's repository recommends for sampling; it is shown, and used only where
    the entry says ``"generation_config": "repo"``. ``response`` is the model's own response template, which tells
    thinking and answer apart. ``processor`` is the model's own for pictures, None where it reads text alone; ``bos`` is
    what it would put before a prompt then.
    """

    template: Template
    tokenizer: Tokenizer
    stops: Stops
    date: datetime
    context_size: int | None = None
    recommended: Mapping[str, Any] = field(default_factory=dict)
    response: Mapping[str, Any] | None = None
    processor: PictureProcessor | None = None
    bos: Bos | None = None

    def render(self, messages: Sequence[Message], **variables: Any) -> str:
        """Return the prompt's text, ending where the model's answer begins.

        Raises TemplateRefusal where the template refuses the conversation, TemplateError where it breaks.
        """
        given = {"add_generation_prompt": True, **self.template.variables, **variables}
        own = self.template.variables
        if self.processor is None:
            shown = with_read_content(messages, self.template.text, own)
        else:
            shown = with_placeholders(messages, self.template.text, own, self.processor.placeholder)
        return render(self.template.text, shown, date=self.date, **given) + self.template.answer_begins

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a prompt without pictures."""
        return self.expand(text, ()).ids

    def expand(self, text: str, pictures: Sequence[Picture]) -> ExpandedPrompt:
        """Return the ids of a prompt, and what the model's processor makes of its pictures.

        Raises MessageError for a picture that can't be opened, and where placeholders and pictures don't match.
        """
        if self.processor is None:
            begin = () if self.bos is None or text.startswith(self.bos.text) else (self.bos.id,)
            return ExpandedPrompt((*begin, *self.tokenizer.encode(text)))
        _match_placeholders(text, pictures, self.processor)
        return self.processor.expand(text, pictures)

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
    """What is sent for a list of messages: the prepared messages, and text and ids where they are ours.

    ``pictures`` are those of each message, empty where there are none; ``features`` and ``made`` are what a local
    model's processor made of them (`playbill.backends.prompt.pictures.ExpandedPrompt`).
    """

    messages: tuple[Message, ...]
    changes: tuple[str, ...] = ()
    text: str | None = None
    ids: tuple[int, ...] | None = None
    pictures: tuple[tuple[Picture, ...], ...] = ()
    features: Mapping[str, Any] = field(default_factory=dict, repr=False)
    made: tuple[Mapping[str, Any], ...] = ()

    @property
    def shown(self) -> tuple[Picture, ...]:
        """All pictures, in the order in which they are shown."""
        return tuple(picture for each in self.pictures for picture in each)

    def picture_facts(self) -> list[dict[str, Any]]:
        """Return what a record says of each picture: what it is, and what was made of it."""
        made = self.made or ({},) * len(self.shown)
        return [_facts_of(picture, each) for picture, each in zip(self.shown, made, strict=True)]


def _facts_of(picture: Picture, made: Mapping[str, Any]) -> dict[str, Any]:
    notes = [*picture.notes, *made.get("notes", ())]
    return {**picture.to_dict(), **made, **({"notes": notes} if notes else {})}


def make_prompt(
    spec: Mapping[str, Any],
    path: PromptPath | None,
    messages: Any,
    *,
    folder: Path | None = None,
    fetch_pictures: bool = False,
) -> Prompt:
    """Prepare, render and encode messages. Needs no weights.

    Pictures that messages name by a path are below ``folder``, the working directory if there is none; those at a URL
    are fetched only with ``fetch_pictures``, but a service is given the URL.

    Raises MessageError for malformed messages, for a role that neither the template nor the service knows, for a
    dialogue that ends with the assistant, and for what a model that runs here doesn't take; TemplateRefusal where the
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
    if path is None and service is None:
        return Prompt(prepared.messages, prepared.changes)
    if path is not None:
        _refuse_other_parts(prepared.messages)
    pictures: tuple[tuple[Picture, ...], ...] = ()
    if has_pictures(prepared.messages):
        check_pictures_taken(spec, prepared.messages, sees=path is None or path.processor is not None)
        urls = "pass" if path is None else "fetch" if fetch_pictures else "refuse"
        pictures = read_pictures(prepared.messages, folder, urls=urls)
    prompt = Prompt(prepared.messages, prepared.changes, pictures=pictures)
    if path is not None:
        text = path.render(prepared.messages)
        made = path.expand(text, prompt.shown)
        prompt = replace(prompt, text=text, ids=made.ids, features=made.features, made=made.made)
    notes = (note for fact in prompt.picture_facts() for note in fact.get("notes", ()))
    return replace(prompt, changes=(*prompt.changes, *notes))


def _match_placeholders(text: str, pictures: Sequence[Picture], processor: PictureProcessor) -> None:
    """Raise MessageError where a prompt has room for more or fewer pictures than there are: a text that holds a
    placeholder of its own would be taken for a picture."""
    for marker in processor.markers:
        expected = len(pictures) if marker == processor.placeholder else 0
        if (found := text.count(marker)) != expected:
            raise MessageError(
                f"messages: the prompt holds {marker!r} {found} times, and {len(pictures)} "
                f"{'picture is' if len(pictures) == 1 else 'pictures are'} given: either a text contains it, which the "
                "model would take for a picture, or the chat template shows other pictures than those of the messages"
            )


def _refuse_other_parts(messages: Sequence[Message]) -> None:
    """Templates pass what they don't know over, so a video would be missing without a word."""
    for i, message in enumerate(messages):
        parts = message.get("content")
        for j, part in enumerate(parts if isinstance(parts, list) else ()):
            if part.get("type") not in ("text", "image", "image_url"):
                raise MessageError(
                    f"messages[{i}].content[{j}].type: is '{part.get('type')}', and models that run here take text and "
                    "pictures"
                )
