"""Check an entry against the entries around it, and keys against each other. Opens no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from playbill.backends.common.findings import Finding
from playbill.backends.registry.fields.table import LOCAL
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.backends.registry.spec import not_here, path_in
from playbill.backends.weights.wheel import PREFIX
from playbill.proof.checks.at_hand import is_path
from playbill.proof.rules import template as rules
from playbill.proof.rules.path import GENERIC_TEMPLATE

__all__ = ["contradictions", "missing_files", "shadows"]


def shadows(entry: RegistryEntry, registry: ModelRegistry) -> Iterator[Finding]:
    """Yield a finding where an entry of the same name comes first, in the same file or in another."""
    namesakes = registry.namesakes(entry.name) if entry.name else ()
    first = namesakes[0] if namesakes else entry
    if first.where == entry.where:
        return
    if first.file == entry.file:
        message = f"'{entry.name}' is already the name of {first.where}, which is found first"
        yield rules.DUPLICATE_NAME.at(entry.where, message, "rename one of them")
    else:
        yield rules.SHADOWED.at(entry.where, f"'{entry.name}' is found in {first.where} first")


def contradictions(entry: Mapping[str, Any], where: str) -> Iterator[Finding]:
    premade, own = entry.get("premade_chat_template"), entry.get("custom_chat_template")
    if entry.get("backend") in LOCAL and premade is False and not own:
        message = "premade_chat_template is false and there is no custom_chat_template: a generic one is used"
        yield GENERIC_TEMPLATE.at(where, message, "set custom_chat_template to what the model was trained on")
    if entry.get("cot_start_tag") and not entry.get("cot_end_tag"):
        message = f"cot_start_tag is {entry['cot_start_tag']!r}, and there is no cot_end_tag"
        yield rules.HALF_THINKING.at(where, message, "add cot_end_tag")


def missing_files(entry: Mapping[str, Any], where: str) -> Iterator[Finding]:
    source = entry.get("huggingface_id")
    if not isinstance(source, str) or entry.get("backend") not in LOCAL:
        return
    path = path_in(entry, "huggingface_id")
    if is_path(source) and not source.startswith(PREFIX) and not path.exists():
        message = f"huggingface_id names a file or folder that isn't here: {path.absolute()}"
        yield rules.MISSING_FILES.at(where, message + not_here(entry, "huggingface_id"), "mend the path")
