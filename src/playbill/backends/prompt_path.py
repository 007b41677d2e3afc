"""The prompt path of a local model: messages to text to ids, the stop ids, and ids back to text.

Knows no weights. A backend brings a tokenizer and the facts; what is made of them is the same for all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Protocol

from playbill.backends.entry_keys import setting
from playbill.backends.errors import HOSTILE_FAULTS, EntryError, MessageError, NoTemplate, TemplateError
from playbill.backends.families import family_of
from playbill.backends.messages import Message, prepare
from playbill.backends.template import render, template_variables

__all__ = [
    "Prompt",
    "PromptPath",
    "StopId",
    "Stops",
    "Template",
    "Tokenizer",
    "closing_token",
    "collect_stops",
    "make_prompt",
    "named_template",
    "pick_template",
    "refuse_stopping_tag",
    "unread_arguments",
]


class Tokenizer(Protocol):
    """Text to ids and back, adding nothing and dropping nothing."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text in which special tokens are recognised; none is added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens written out, white space untouched."""
        ...

    def special_ids(self) -> frozenset[int]:
        """The ids of special (control) tokens."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """What tells this tokenizer apart: its class, slow or fast, its library's version."""
        ...


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template: its text, where it came from (``premade``, ``custom``, ``generic``), its variables, and the
    text that begins the answer for the model."""

    text: str
    source: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    answer_begins: str = ""


@dataclass(frozen=True, slots=True)
class StopId:
    """A token that ends a generation, and everyone who says so."""

    id: int
    text: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stops:
    """All that ends a generation: token ids, and texts that are no single token."""

    ids: tuple[StopId, ...]
    strings: tuple[str, ...] = ()

    @property
    def id_set(self) -> frozenset[int]:
        return frozenset(stop.id for stop in self.ids)


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
        """The prompt's text, ending where the model's answer begins.

        Raises TemplateRefusal where the template refuses the conversation, TemplateError where it breaks.
        """
        text = render(
            self.template.text,
            list(messages),
            date=self.date,
            **{"add_generation_prompt": True, **self.template.variables, **variables},
        )
        return text + self.template.answer_begins

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text))

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent for a list of messages: the prepared messages, and text and ids where they are ours."""

    messages: tuple[Message, ...]
    changes: tuple[str, ...] = ()
    text: str | None = None
    ids: tuple[int, ...] | None = None


def make_prompt(spec: Mapping[str, Any], path: PromptPath | None, messages: Any) -> Prompt:
    """Prepare, render and encode messages. Needs no weights.

    Raises MessageError for malformed messages, and for images where the model runs here; TemplateRefusal where the
    template refuses the messages.
    """
    prepared = prepare(
        messages,
        consecutive_roles=setting(spec, "consecutive_roles"),
        system_role=setting(spec, "system_role"),
    )
    if path is None:
        return Prompt(prepared.messages, prepared.changes)
    _refuse_images(prepared.messages)
    text = path.render(prepared.messages)
    return Prompt(prepared.messages, prepared.changes, text, path.encode(text))


def _refuse_images(messages: Sequence[Message]) -> None:
    """Templates pass what they don't know over, so an image would be missing without a word."""
    for i, message in enumerate(messages):
        parts = message.get("content")
        kinds = [part.get("type") for part in parts] if isinstance(parts, list) else []
        if message.get("image") or any(kind in ("image", "image_url") for kind in kinds):
            raise MessageError(
                f"messages[{i}]: holds an image, and models that run here take text; take a service whose entry has "
                "'multimodality', or leave the image out"
            )


_PROBE = "Ωprobe"


def collect_stops(
    tokenizer: Tokenizer,
    template: Template,
    date: datetime,
    *,
    eos_to_cull: str | Sequence[str] = (),
    declared: Mapping[str, Sequence[int]],
) -> Stops:
    """The union of stop ids: the entry's EOS, what is ``declared`` (source to ids), the template's turn end.

    An EOS of the entry that is no single token becomes a stop string.
    """
    found: dict[int, list[str]] = {}
    strings: list[str] = []
    for literal in [eos_to_cull] if isinstance(eos_to_cull, str) else eos_to_cull:
        ids = tokenizer.encode(literal) if literal else []
        if len(ids) == 1 and tokenizer.decode(ids) == literal:
            found.setdefault(ids[0], []).append("entry")
        elif literal:
            strings.append(literal)
    for source, declared_ids in declared.items():
        for token in declared_ids:
            found.setdefault(token, []).append(source)
    closing = closing_token(tokenizer, template, date)
    if closing is not None:
        found.setdefault(closing, []).append("template")
    stops = (StopId(i, tokenizer.decode([i]), tuple(dict.fromkeys(by))) for i, by in found.items())
    return Stops(tuple(sorted(stops, key=lambda s: s.id)), tuple(strings))


def closing_token(tokenizer: Tokenizer, template: Template, date: datetime) -> int | None:
    """The special token with which the template closes an assistant's turn and not its thinking as well, or None.

    Found by rendering a finished turn and looking at what follows the answer; white space may come first.
    Raises TemplateError where the template is not to be used at all: forbidden, or too costly.
    """
    conversation = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": _PROBE}]
    try:
        text = render(
            template.text,
            conversation,
            date=date,
            **{**template.variables, "add_generation_prompt": False},
        )
    except TemplateError as e:
        if e.fault in HOSTILE_FAULTS:
            raise
        return None
    _, found, after = text.rpartition(_PROBE)
    if not found:
        return None
    ids = tokenizer.encode(re.sub(r"^\s+", "", after))
    if not ids or ids[0] not in tokenizer.special_ids():
        return None
    family = family_of(template.text)
    return None if family is not None and tokenizer.decode(ids[:1]) in family.within else ids[0]


def pick_template(
    entry: Mapping[str, Any],
    premade: str | None,
    variables: Mapping[str, Any],
    generic: str,
    *,
    separates: bool = False,
) -> Template:
    """The template that an entry asks for: the model's own, the entry's, or the generic one.

    ``separates``: the model's own template comes with one that tells thinking and answer apart.

    Raises NoTemplate where the entry says premade and the model has none, and EntryError where its
    ``chat_template_kwargs`` name what is taken, or ``cot_effort`` or ``cot_output`` ask for what it can't do.
    """
    template = _picked(entry, premade, variables, generic)
    _refuse_thinking(entry, template, separates=separates and template.source == "premade")
    return template


def _picked(entry: Mapping[str, Any], premade: str | None, variables: Mapping[str, Any], generic: str) -> Template:
    given = entry.get("chat_template_kwargs") or {}
    if taken := sorted({"messages", "date", "template"} & given.keys()):
        raise EntryError(f"{entry.get('model_name')}: chat_template_kwargs can't set '{taken[0]}', which is taken")
    if effort := entry.get("cot_effort"):
        given = {"reasoning_effort": effort, **given}
    variables, begins = {**variables, **given}, str(entry.get("cot_bypass") or "")
    if entry.get("premade_chat_template"):
        if not premade:
            raise NoTemplate(
                f"{entry.get('model_name')}: premade_chat_template is true, but the model comes without a chat "
                "template; set it to false, and custom_chat_template to the right template"
            )
        return Template(premade, "premade", variables, begins)
    if custom := entry.get("custom_chat_template"):
        return Template(custom, "custom", variables, begins)
    return Template(generic, "generic", variables, begins)


def _refuse_thinking(entry: Mapping[str, Any], template: Template, *, separates: bool) -> None:
    """Raise EntryError where an entry asks for thinking that the template doesn't know, or that nothing would end."""
    name = entry.get("model_name")
    if entry.get("cot_effort") and "reasoning_effort" not in template_variables(template.text):
        raise EntryError(
            f"{name}: cot_effort can't be honoured: the chat template doesn't read 'reasoning_effort'; take it out, or "
            "say in chat_template_kwargs what the template does read"
        )
    ends = separates or entry.get("cot_end_tag") or entry.get("output_split_prefix") or family_of(template.text)
    if entry.get("cot_output") is True and not ends:
        raise EntryError(
            f"{name}: cot_output is true, and neither the entry nor the chat template says how the thinking ends; add "
            "cot_end_tag, as '</think>', or take cot_output out"
        )


def refuse_stopping_tag(entry: Mapping[str, Any], stops: Stops) -> None:
    """Raise EntryError where the end of the thinking ends the generation too: no answer could ever follow it."""
    tag = str(entry.get("cot_end_tag") or "").strip()
    if tag and entry.get("cot_output") is not False and tag in [*(s.text.strip() for s in stops.ids), *stops.strings]:
        raise EntryError(
            f"{entry.get('model_name')}: cot_end_tag is '{tag}', with which the model ends its answers, so no answer "
            "could follow it; say what ends the thinking, as '</think>'"
        )


def named_template(entry: Mapping[str, Any], templates: Mapping[str, str]) -> str | None:
    """Of a model's own templates by name the one that ``chat_template_language`` names, or the default; None where
    there is none. What is asked for and not there is an error, unless another template than the model's is used."""
    asked, wanted = entry.get("chat_template_language"), setting(entry, "chat_template_language")
    if not entry.get("premade_chat_template") or wanted in templates or (not templates and not asked):
        return templates.get(wanted)
    if not templates or (asked and set(templates) == {"default"}):
        has = "one template without a name" if templates else "no chat template"
        raise EntryError(
            f"{entry.get('model_name')}: chat_template_language is '{asked}', but the model has {has}; take the key out"
        )
    names = ", ".join(sorted(templates))
    raise NoTemplate(
        f"{entry.get('model_name')}: the model has no chat template named '{wanted}', only: {names}; name one in "
        "chat_template_language, or set premade_chat_template to false, and custom_chat_template to the right one"
    )


def unread_arguments(entry: Mapping[str, Any], reads: Collection[str]) -> dict[str, str | None]:
    """What of ``chat_template_kwargs`` a template that reads these variables doesn't, each with the nearest that it
    does, if one is near."""
    given = entry.get("chat_template_kwargs")
    names = [name for name in (given if isinstance(given, Mapping) else ()) if name not in reads]
    return {name: next(iter(get_close_matches(name, reads, n=1)), None) for name in names}
