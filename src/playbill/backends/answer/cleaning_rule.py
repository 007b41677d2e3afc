"""Make a model's cleaning rule from its entry, stop tokens, response template and family of chat templates.

Knows no engine and needs no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.answer.clean import CleaningRule
from playbill.backends.answer.split_thinking import THINKING_FIELDS
from playbill.backends.common.warn import warn_once
from playbill.backends.errors import TemplateError
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.prompt.template import response_regions
from playbill.backends.prompt.thinking_families import Tags, family_of
from playbill.backends.registry.fields.table import setting

__all__ = ["cleaning_rule", "usable_response", "who_separates"]


def cleaning_rule(spec: Mapping[str, Any], path: PromptPath | None) -> CleaningRule:
    """Return how a model's texts become answers. Tags of the entry win; next is the model's own response template,
    which belongs to its own chat template; then what is known of the template's family."""
    eos = spec.get("eos_to_cull") or []
    literals = [eos] if isinstance(eos, str) else list(eos)
    stops = [stop.text for stop in path.stops.ids] if path else []
    start, end, frame, response = spec.get("cot_start_tag"), spec.get("cot_end_tag"), None, None
    if not end and path is not None:
        family = family_of(path.template.text)
        response = path.response if path.template.source == "premade" else None
        tags = family.tags if family else None
        own = _tags(response) if response else None
        if own is not None and (tags is None or tags.start != own.start):
            tags = own
        start, end = (tags.start, tags.end) if tags else (None, None)
        frame = (family.frame or None) if family and tags == family.tags else None
    if spec.get("cot_output") is False and not start:
        end = None  # without a start tag all that comes before the end one is thinking, and none is to come
    return CleaningRule(
        end_tokens=tuple(dict.fromkeys([*literals, *stops])),
        split_prefix=spec.get("output_split_prefix"),
        thinking_start=start,
        thinking_end=end,
        frame=frame,
        response=response,
        # a record that is replayed was cleaned by the rule of its own model
        keep_white_space=setting(spec, "white_space") == "keep" or spec.get("backend") == "replay",
    )


def who_separates(spec: Mapping[str, Any], rule: CleaningRule) -> str | None:
    """Who says where a model's thinking ends: the entry, its response template, its template's family, or nobody."""
    if spec.get("cot_end_tag"):
        return "entry"
    if rule.response is not None:
        return "response template"
    return "template family" if rule.thinking_end else None


def usable_response(name: str, template: Any) -> Mapping[str, Any] | None:
    """Return a model's response template, if it is one that tells an answer; otherwise that is warned of."""
    if template is None:
        return None
    try:
        if not isinstance(template, Mapping) or not isinstance(template.get("fields"), Mapping):
            raise TemplateError("it is no object with fields")
        if "content" not in template["fields"]:
            raise TemplateError("it has no field named content")
        response_regions(template, "", "")
    except TemplateError as e:
        warn_once(f"{name}: the model's response template can't be used, and tags separate its thinking instead: {e}")
        return None
    return template


def _tags(response: Mapping[str, Any]) -> Tags | None:
    """Return the tags around thinking, where a response template has them as plain texts."""
    for name in THINKING_FIELDS:
        start, end = (response["fields"].get(name, {}).get(key) for key in ("open", "close"))
        start, end = (each[0] if isinstance(each, list) and len(each) == 1 else each for each in (start, end))
        if isinstance(start, str) and isinstance(end, str):
            return Tags(end.strip() or end, start.strip() or start)
    return None
