"""Generation parameters: their table, and what was asked for against what is in effect.

An engine says which parameters it supports, and this module judges by that. Knows no backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from playbill.backends.errors import ParameterError
from playbill.backends.registry.fields import types as v

__all__ = ["OFF", "PARAMETERS", "Parameter", "Parameters", "resolve_parameters"]


@dataclass(frozen=True)
class Parameter:
    """One generation parameter. ``default`` is Playbill's own, and None means that Playbill sets none.

    ``off`` is the value with which a sampler does nothing, where there is one. ``aliases`` are names under which
    clemcore's registries have it.
    """

    name: str
    type: v.ValueType
    summary: str
    default: Any = None
    off: Any = None
    aliases: tuple[str, ...] = ()


_TABLE = (
    Parameter("temperature", v.NUMBER, "Sampling temperature; 0 is greedy.", 0.0),
    Parameter("max_tokens", v.POSITIVE, "Most tokens of the answer, thinking apart.", 300),
    Parameter(
        "max_thinking_tokens",
        v.COUNT,
        "Most tokens of thinking, for models that think.",
        aliases=("thinking_budget", "reasoning_budget"),
    ),
    Parameter("top_p", v.SHARE, "Nucleus sampling: the share of probability kept; 1 is off.", off=1.0),
    Parameter("top_k", v.COUNT, "How many of the likeliest tokens are kept; 0 is off.", off=0),
    Parameter("min_p", v.SHARE, "The least probability, relative to the likeliest token's; 0 is off.", off=0.0),
    Parameter("repetition_penalty", v.FACTOR, "Factor against tokens that occurred; 1 is off.", off=1.0),
    Parameter("presence_penalty", v.SIGNED, "Added penalty for tokens that occurred; 0 is off.", off=0.0),
    Parameter("frequency_penalty", v.SIGNED, "Added penalty for each occurrence of a token; 0 is off.", off=0.0),
    Parameter("seed", v.COUNT, "Seed of the sampling."),
    Parameter("stop", v.LITERALS, "Texts at which the answer ends; they are not part of it."),
    Parameter("logprobs", v.COUNT, "How many likeliest tokens are reported at each place; 0 is none."),
)

PARAMETERS: dict[str, Parameter] = {p.name: p for p in _TABLE}
OFF: Mapping[str, Any] = {p.name: p.off for p in _TABLE if p.off is not None}
"""What local engines are told of a sampler that nobody asked for, so that none of their own defaults is in effect."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """``asked`` is what entry and caller asked for, ``effective`` what the engine was really given."""

    asked: Mapping[str, Any] = field(default_factory=dict)
    effective: Mapping[str, Any] = field(default_factory=dict)


def check_parameter(name: str, value: Any) -> None:
    """Raise ParameterError for a parameter that doesn't exist, or a value of the wrong type."""
    known = PARAMETERS.get(name)
    if known is None:
        near = get_close_matches(name, PARAMETERS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "known are " + ", ".join(PARAMETERS)
        raise ParameterError(f"unknown generation parameter '{name}'; {hint}")
    if not known.type.accepts(value):
        raise ParameterError(f"{name}: {value!r} is not {known.type.name}")


def resolve_parameters(
    entry: Mapping[str, Any],
    caller: Mapping[str, Any],
    supported: frozenset[str],
    backend: str,
    *,
    refused: Mapping[str, str] | None = None,
    ignored: frozenset[str] = frozenset(),
    exclusive: Sequence[frozenset[str]] = (),
) -> Parameters:
    """Put defaults, the entry's and the caller's parameters together; later ones win, None is "not asked".

    ``refused`` are parameters that the model doesn't take, with the reason and the way out; ``ignored`` those that its
    service accepts and ignores. ``exclusive`` are groups of which the model takes one alone. Playbill's own defaults
    are left out for all three, and where ``supported`` lacks them.
    Raises ParameterError for what entry or caller asked for and the backend or the model can't honour.
    """
    asked = {name: entry[name] for name in PARAMETERS if entry.get(name) is not None}
    asked.update({name: value for name, value in caller.items() if value is not None})
    for name, value in asked.items():
        check_parameter(name, value)
    if entry.get("do_sample") is False and asked.get("temperature"):
        raise ParameterError(
            f"temperature: {asked['temperature']} samples, but the entry says do_sample: false, which is greedy; take "
            "one of them out"
        )
    reasons = refused or {}
    for name in asked:
        if name in reasons:
            why = f": {reasons[name]}" if reasons[name] else ""
            raise ParameterError(f"the model refuses '{name}'{why}; take it out of the call or of the entry")
    unsupported = sorted(set(asked) - supported)
    if unsupported:
        names = ", ".join(f"'{n}'" for n in unsupported)
        raise ParameterError(
            f"the backend {backend} can't honour {names}; take it out of the call or of the entry"
            f" (it takes {', '.join(sorted(supported))})"
        )
    for group in exclusive:
        if len(both := sorted(group & asked.keys())) > 1:
            names = " and ".join(f"'{name}'" for name in both)
            raise ParameterError(f"the model takes one of {names} alone; take the other out")
    beside = {name for group in exclusive if group & asked.keys() for name in group}
    unasked = supported - reasons.keys() - ignored - beside
    defaults = {p.name: p.default for p in PARAMETERS.values() if p.default is not None and p.name in unasked}
    return Parameters(asked=asked, effective={**defaults, **asked})
