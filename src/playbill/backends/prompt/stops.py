"""Collect what ends a generation: the union of stop ids from entry, tokenizer, configuration and template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from playbill.backends.errors import HOSTILE_FAULTS, EntryError, TemplateError
from playbill.backends.prompt.chat_template import Template
from playbill.backends.prompt.template import render
from playbill.backends.prompt.thinking_families import family_of
from playbill.backends.prompt.tokenizer import Tokenizer

__all__ = ["StopId", "Stops", "closing_token", "collect_stops", "refuse_stopping_tag"]


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


_PROBE = "Ωprobe"


def collect_stops(
    tokenizer: Tokenizer,
    template: Template,
    date: datetime,
    *,
    eos_to_cull: str | Sequence[str] = (),
    declared: Mapping[str, Sequence[int]],
) -> Stops:
    """Return the union of stop ids: the entry's EOS, what is ``declared`` (source to ids), the template's turn end.

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
    """Return the special token with which the template closes an assistant's turn and not its thinking as well, or
    None.

    Found by rendering a finished turn and looking at what follows the answer; white space may come first.
    Raises TemplateError where the template is not to be used at all: forbidden, or too costly.
    """
    for asked, answer in (("Hello.", _PROBE), ([_part("Hello.")], [_part(_PROBE)])):  # some read parts only
        conversation = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
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
            continue
        _, found, after = text.rpartition(_PROBE)
        if found:
            break
    else:
        return None
    ids = tokenizer.encode(re.sub(r"^\s+", "", after))
    if not ids or ids[0] not in tokenizer.special_ids():
        return None
    family = family_of(template.text)
    return None if family is not None and tokenizer.decode(ids[:1]) in family.within else ids[0]


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def refuse_stopping_tag(entry: Mapping[str, Any], stops: Stops) -> None:
    """Raise EntryError where the end of the thinking ends the generation too: no answer could ever follow it."""
    tag = str(entry.get("cot_end_tag") or "").strip()
    if tag and entry.get("cot_output") is not False and tag in [*(s.text.strip() for s in stops.ids), *stops.strings]:
        raise EntryError(
            f"{entry.get('model_name')}: cot_end_tag is '{tag}', with which the model ends its answers, so no answer "
            "could follow it; say what ends the thinking, as '</think>'"
        )
