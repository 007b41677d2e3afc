"""Choose who answers behind OpenRouter: the `provider` object of a request, from the entry's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.registry.fields.table import setting

__all__ = ["provider_choice"]


def provider_choice(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field of a request that says which providers may answer; nothing for other services.

    Unless the entry says otherwise, only providers may that take every parameter of the request: OpenRouter drops
    without a word what the others don't take. https://openrouter.ai/docs/features/provider-routing
    """
    if entry.get("backend") != "openrouter":
        return {}
    choice: dict[str, Any] = {"require_parameters": bool(setting(entry, "require_parameters"))}
    if providers := entry.get("providers"):
        choice |= {"only": list(providers), "order": list(providers)}
    if quantizations := entry.get("quantizations"):
        choice["quantizations"] = list(quantizations)
    return {"provider": choice}
