"""The prompt path of a local model: messages to text to ids, the stop ids, and ids back to text.

Knows no weights. A backend brings a tokenizer and the facts; what is made of them is the same for all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from playbill.backends.entry_keys import setting
from playbill.backends.errors import HOSTILE_FAULTS, EntryError, NoTemplate, TemplateError
from playbill.backends.families import family_of
from playbill.backends.messages import Message, prepare
from playbill.backends.template import render

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
    "pick_template",
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

    Raises MessageError for malformed messages and TemplateRefusal where the template refuses them.
    """
    prepared = prepare(
        messages,
        consecutive_roles=setting(spec, "consecutive_roles"),
        system_role=setting(spec, "system_role"),
    )
    if path is None:
        return Prompt(prepared.messages, prepared.changes)
    text = path.render(prepared.messages)
    return Prompt(prepared.messages, prepared.changes, text, path.encode(text))


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
    entry: Mapping[str, Any], premade: str | None, variables: Mapping[str, Any], generic: str
) -> Template:
    """The template that an entry asks for: the model's own, the entry's, or the generic one.

    Raises NoTemplate where the entry says premade and the model has none, and EntryError where its
    ``chat_template_kwargs`` name what is taken.
    """
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
