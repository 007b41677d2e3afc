"""Consent to run Python code from a model's repository: an entry may ask for it, and only the caller can give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.engines.base import Context
from playbill.backends.errors import EntryError
from playbill.backends.registry.fields.table import setting

__all__ = ["code_asked", "trusted"]


def trusted(entry: Mapping[str, Any], context: Context) -> bool:
    """Tell whether code of the repository may run. Raises EntryError where the entry asks and the caller is silent."""
    asks = code_asked(entry)
    if asks and not context.trust_remote_code:
        raise EntryError(
            f"{entry.get('model_name')}: the entry asks to run Python code from {entry['huggingface_id']} "
            "(trust_remote_code); if you trust it, say so with --trust-remote-code, or in Python with "
            "load_model(…, trust_remote_code=True)"
        )
    return asks


def code_asked(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry asks that code of the repository runs."""
    return bool(setting(entry, "trust_remote_code"))
