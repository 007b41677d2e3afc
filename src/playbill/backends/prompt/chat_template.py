"""Choose a model's chat template: the entry's, one of the model's own by name, or the generic one.

Renders nothing; `playbill.backends.prompt.template` does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from playbill.backends.errors import EntryError, NoTemplate
from playbill.backends.prompt.template import template_variables
from playbill.backends.prompt.thinking_families import family_of
from playbill.backends.registry.fields.table import setting

__all__ = ["Template", "named_template", "pick_template", "unread_arguments"]


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template: its text, where it came from (``premade``, ``custom``, ``generic``), its variables, and the
    text that begins the answer for the model."""

    text: str
    source: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    answer_begins: str = ""


def pick_template(
    entry: Mapping[str, Any],
    premade: str | None,
    variables: Mapping[str, Any],
    generic: str,
    *,
    separates: bool = False,
) -> Template:
    """Return the template that an entry asks for: the model's own, the entry's, or the generic one.

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
    """Return what of ``chat_template_kwargs`` a template that reads these variables doesn't, each with the nearest
    that it does, if one is near."""
    given = entry.get("chat_template_kwargs")
    names = [name for name in (given if isinstance(given, Mapping) else ()) if name not in reads]
    return {name: next(iter(get_close_matches(name, reads, n=1)), None) for name in names}
