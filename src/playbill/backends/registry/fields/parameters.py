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

__all__ = ["OFF", "PARAMETERS", "Bounds", "Parameter", "ParameterRules", "Parameters", "resolve_parameters"]


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
class Bounds:
    """The least and the greatest value, None where there is none; ``zero`` says that 0 is taken besides, as "off"."""

    least: int | None = None
    most: int | None = None
    zero: bool = False

    def hold(self, value: float) -> bool:
        """Tell whether a value is within them."""
        if self.zero and value == 0:
            return True
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        words = f"{self.least or 0} to {self.most}" if self.most is not None else f"{self.least or 0} or more"
        return f"{words}, or 0 for none" if self.zero else words


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRules:
    """What one model does with parameters that its backend takes.

    ``refused``: those that it doesn't take, with the reason and the way out. ``ignored``: those that are accepted
    without effect, with who says so, but for their values in ``neutral``, which ask for what happens anyway.
    ``exclusive``: groups of which it takes one alone. ``bounds``: the values that it takes.
    """

    refused: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    neutral: Mapping[str, Any] = field(default_factory=dict)
    exclusive: Sequence[frozenset[str]] = ()
    bounds: Mapping[str, Bounds] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameters:
    """``asked`` is what entry and caller asked for, ``effective`` what the engine was really given.

    ``not_sent`` are Playbill's own defaults that were left out, each with the reason; ``ignored`` what was sent though
    the service is known to ignore it, each with who says so.
    """

    asked: Mapping[str, Any] = field(default_factory=dict)
    effective: Mapping[str, Any] = field(default_factory=dict)
    not_sent: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)

    @property
    def not_greedy(self) -> str | None:
        """Why answers are samples whatever was asked for: ``temperature`` isn't sent, or has no effect; else None."""
        if "temperature" in self.not_sent:
            return f"temperature is not sent, {self.not_sent['temperature']}"
        return f"temperature is ignored: {self.ignored['temperature']}" if "temperature" in self.ignored else None

    def to_dict(self) -> dict[str, Any]:
        """Return the parts as JSON values; the last two only where they say something."""
        found = {"asked": dict(self.asked), "effective": dict(self.effective)}
        more = {"not_sent": dict(self.not_sent), "ignored": dict(self.ignored)}
        return {**found, **{name: part for name, part in more.items() if part}}


def check_parameter(name: str, value: Any) -> None:
    """Raise ParameterError for a parameter that doesn't exist, or a value of the wrong type."""
    known = PARAMETERS.get(name)
    if known is None:
        near = get_close_matches(name, PARAMETERS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "known are " + ", ".join(PARAMETERS)
        raise ParameterError(f"unknown generation parameter '{name}'; {hint}", name)
    if not known.type.accepts(value):
        raise ParameterError(f"{name}: {value!r} is not {known.type.name}", name, has_bad_value=True)


def resolve_parameters(
    entry: Mapping[str, Any],
    caller: Mapping[str, Any],
    supported: frozenset[str],
    backend: str,
    rules: ParameterRules | None = None,
) -> Parameters:
    """Put defaults, the entry's and the caller's parameters together; later ones win, None is "not asked".

    Playbill's own defaults are left out where ``supported`` lacks them or ``rules`` speak against them.
    Raises ParameterError for what entry or caller asked for and the backend or the model can't honour.
    """
    rules = rules or ParameterRules()
    asked = {name: entry[name] for name in PARAMETERS if entry.get(name) is not None}
    asked.update({name: value for name, value in caller.items() if value is not None})
    for name, value in asked.items():
        check_parameter(name, value)
    if entry.get("do_sample") is False and asked.get("temperature"):
        raise ParameterError(
            f"temperature: {asked['temperature']} samples, but the entry says do_sample: false, which is greedy; take "
            "one of them out",
            "temperature",
        )
    _check_asked(asked, supported, backend, rules)
    effective, not_sent = dict[str, Any](), dict[str, str]()
    for name, parameter in PARAMETERS.items():
        if parameter.default is None or name in asked:
            continue
        reason = _unsent(name, asked, supported, backend, rules)
        if reason is None:
            effective[name] = parameter.default
        else:
            not_sent[name] = reason
    ignored = {n: why for n, why in rules.ignored.items() if n in asked and asked[n] != rules.neutral.get(n)}
    return Parameters(asked=asked, effective={**effective, **asked}, not_sent=not_sent, ignored=ignored)


def _check_asked(asked: Mapping[str, Any], supported: frozenset[str], backend: str, rules: ParameterRules) -> None:
    """Raise ParameterError for what was asked for and can't be had."""
    for name in asked:
        if name in rules.refused:
            why = f": {rules.refused[name]}" if rules.refused[name] else ""
            raise ParameterError(f"the model refuses '{name}'{why}; take it out of the call or of the entry", name)
    unsupported = sorted(set(asked) - supported)
    if unsupported:
        names = ", ".join(f"'{n}'" for n in unsupported)
        raise ParameterError(
            f"the backend {backend} can't honour {names}; take it out of the call or of the entry"
            f" (it takes {', '.join(sorted(supported))})",
            unsupported[0],
        )
    for group in rules.exclusive:
        if len(both := sorted(group & asked.keys())) > 1:
            names = " and ".join(f"'{name}'" for name in both)
            raise ParameterError(f"the model takes one of {names} alone; take the other out", both[-1])
    for name, bounds in rules.bounds.items():
        value = asked.get(name)
        if value is not None and not bounds.hold(value):
            words = f"{name}: {value} is outside of what the model takes: {bounds}"
            raise ParameterError(words, name, has_bad_value=True)


def _unsent(
    name: str, asked: Mapping[str, Any], supported: frozenset[str], backend: str, rules: ParameterRules
) -> str | None:
    """Return why Playbill's own default of a parameter isn't sent; None where it is."""
    if name in rules.refused:
        return f"the model refuses it{f': {why}' if (why := rules.refused[name]) else ''}"
    if name not in supported:
        return f"the backend {backend} doesn't take it for this model"
    if name in rules.ignored and PARAMETERS[name].default != rules.neutral.get(name):
        return f"it would be ignored{f': {why}' if (why := rules.ignored[name]) else ''}"
    other = next((sorted(g & asked.keys() - {name}) for g in rules.exclusive if name in g and g & asked.keys()), [])
    return f"the model takes it or '{other[0]}' alone" if other else None
