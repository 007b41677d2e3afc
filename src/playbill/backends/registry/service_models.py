"""What families of hosted models refuse: dated rows of data, each with its source.

A row says which generation parameters the models of a family don't take, and which value of an entry key makes
them take these after all. The table of services says what a service takes; this one what its models don't.
Knows no wire and judges no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

__all__ = ["MODEL_FAMILIES", "ModelFamily", "family_of", "refused_by_model"]


@dataclass(frozen=True, kw_only=True)
class ModelFamily:
    """A family of models at some services.

    ``patterns`` are shell patterns for the model's id, in lower case and without a maker's prefix (``openai/``).
    ``refuses`` are the parameters that it doesn't take, unless the entry gives the key ``taken_with_key`` one of
    the values ``taken_with_values`` (None among them: also where the entry has no such key).
    """

    services: frozenset[str]
    patterns: tuple[str, ...]
    refuses: frozenset[str]
    source: str
    as_of: str
    taken_with_key: str | None = None
    taken_with_values: tuple[str | None, ...] = ()

    def takes_all(self, entry: Mapping[str, Any]) -> bool:
        """Tell whether the entry sets the key with which this family takes what it otherwise refuses."""
        return self.taken_with_key is not None and entry.get(self.taken_with_key) in self.taken_with_values


_CLAUDE = frozenset(["temperature", "top_p", "top_k"])
_OPENAI = frozenset(["temperature", "top_p", "logprobs", "presence_penalty", "frequency_penalty"])
_OPENAI_SERVICES = frozenset(["openai", "azure"])
_MIGRATION = "https://platform.claude.com/docs/en/api/migration-2026-10-21"
_LATEST = "https://developers.openai.com/api/docs/guides/latest-model"

MODEL_FAMILIES: tuple[ModelFamily, ...] = (
    # API version 2026-10-21 takes no sampling parameter for any model, not even at its default value. The version
    # before it takes them for these models.
    ModelFamily(
        services=frozenset(["anthropic"]),
        patterns=(
            "claude-haiku-4-5*",
            "claude-opus-4-5*",
            "claude-opus-4-6*",
            "claude-sonnet-4-5*",
            "claude-sonnet-4-6*",
        ),
        refuses=_CLAUDE,
        taken_with_key="api_version",
        taken_with_values=("2023-06-01",),
        source=_MIGRATION,
        as_of="2026-11-25",
    ),
    # Opus 4.7 and everything later takes default values only, with either version.
    ModelFamily(
        services=frozenset(["anthropic"]),
        patterns=("claude-*",),
        refuses=_CLAUDE,
        source=_MIGRATION,
        as_of="2026-11-25",
    ),
    # Other models behind Anthropic's wire (gateways): the version decides.
    ModelFamily(
        services=frozenset(["anthropic"]),
        patterns=("*",),
        refuses=_CLAUDE,
        taken_with_key="api_version",
        taken_with_values=("2023-06-01",),
        source=_MIGRATION,
        as_of="2026-11-25",
    ),
    # "When reasoning effort is not none, remove temperature, top_p, and top_logprobs"; penalties are refused too.
    # Effort none is the default of these:
    ModelFamily(
        services=_OPENAI_SERVICES,
        patterns=("gpt-5.1*", "gpt-5.2*", "gpt-5.3*", "gpt-5.4*"),
        refuses=_OPENAI,
        taken_with_key="reasoning_effort",
        taken_with_values=("none", None),
        source=_LATEST,
        as_of="2026-11-25",
    ),
    # These take effort none, but don't default to it.
    ModelFamily(
        services=_OPENAI_SERVICES,
        patterns=("gpt-5.5*", "gpt-5.6*", "gpt-6-luna*", "gpt-6.1-terra*"),
        refuses=_OPENAI,
        taken_with_key="reasoning_effort",
        taken_with_values=("none",),
        source=_LATEST,
        as_of="2026-11-25",
    ),
    ModelFamily(
        services=_OPENAI_SERVICES,
        patterns=("o1*", "o3*", "o4*", "gpt-5*", "gpt-6*"),
        refuses=_OPENAI,
        source=_LATEST,
        as_of="2026-11-25",
    ),
    ModelFamily(
        services=frozenset(["google"]),
        patterns=("gemini-4*",),
        refuses=frozenset(["presence_penalty", "frequency_penalty"]),
        source="https://dev.to/aihubmix (Gemini 4, 2026-11), quoting Google",
        as_of="2026-11-25",
    ),
)
"""In this order: the first row that matches counts."""


def family_of(service: str, model_id: str) -> ModelFamily | None:
    """Return the row for a model at a service; None where the table knows none."""
    name = model_id.lower().rpartition("/")[2]
    for family in MODEL_FAMILIES:
        if service in family.services and any(fnmatchcase(name, pattern) for pattern in family.patterns):
            return family
    return None


def refused_by_model(service: str, model_id: str, entry: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters that the model is known to refuse, as its entry sets it up."""
    family = family_of(service, model_id)
    return frozenset() if family is None or family.takes_all(entry) else family.refuses
