"""Families of hosted models: what each refuses, ignores and thinks, from a dated table of data with sources.

The table of services says what a service takes; this one what its models don't, and how they think. The rows stand in
``service_models.json``; the first that matches counts. Marks in a row's ``source``: [D] official document, [T] type,
docstring or code of an official SDK, [L] another project's code or table, [S] a blog, an issue, a public repository.
What is not known is None or "unknown". Facts that no code acts on, as contexts and dates of release, are there for
people and for tools/compare_service_models.py. Knows no wire.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from playbill.backends.registry.services import RESPONSES_PARAMETERS, Service

__all__ = [
    "ModelFamily",
    "ModelRule",
    "Thinking",
    "api_of",
    "asks_for_thinking",
    "extra_body_thinks",
    "family_of",
    "ignored_by_model",
    "is_told_not_to_think",
    "model_families",
    "parameters_taken",
    "refusals",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A setting of the request: ``key`` has one of ``values``; None among them means that it isn't set.

    Keys are entry keys, and ``thinking``: "on" or "off", whether the model will think.
    """

    key: str
    values: tuple[str | bool | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRule:
    """What happens to some generation parameters: ``effect`` is "refused", "ignored" or "advised_against".

    The rule doesn't hold where all of ``unless`` hold, nor for the values in ``values``, by parameter.
    """

    effect: str
    parameters: frozenset[str]
    unless: tuple[Condition, ...] = ()
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    says: str = ""

    def holds(self, settings: Mapping[str, Any]) -> bool:
        """Tell whether the rule holds under these settings of a request."""
        return not self.unless or not all(settings.get(c.key) in c.values for c in self.unless)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thinking:
    """How a family thinks.

    ``default`` is "none" (it can't), "off", "on", "always" or "unknown". ``ask`` and ``off`` are fragments of a
    request's body that ask for thinking or switch it off; "$effort" and "$budget" stand for values. ``efforts`` are
    the words that are taken; ``takes_effort`` is false where it is known that none is. ``budget`` is the least and the
    greatest number of tokens. ``text`` says what comes back unasked: "shown", "summary", "empty", "in_answer", "no" or
    "unknown". ``reserve``: tokens that the maker advises to leave for it.
    """

    default: str = "none"
    ask: Mapping[str, Any] | None = None
    off: Mapping[str, Any] | None = None
    off_efforts: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    takes_effort: bool = True
    responses_efforts: tuple[str, ...] = ()
    default_effort: str | None = None
    budget: tuple[int | None, ...] | None = None
    text: str = "unknown"
    show: Mapping[str, Any] | None = None
    text_api: str | None = None
    reserve: int | None = None

    @property
    def can_be_off(self) -> bool:
        """Whether effort none is honoured: the model doesn't think unasked, or there is a way to switch it off."""
        return self.off is not None or "none" in self.efforts or self.default not in ("on", "always")

    @property
    def by_effort(self) -> bool:
        """Whether an effort word asks for thinking; with others it says how much the model writes at all."""
        return self.ask is not None and ("$effort" in str(self.ask) or "reasoning_effort" in self.ask)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFamily:
    """A family of models at some services.

    ``patterns`` are shell patterns in lower case: one with a slash matches the whole id, one without what follows
    the last slash. ``model`` is a representative id. Of each group in ``exclusive`` it takes one parameter alone.
    ``retires`` has the date of shutdown by service, ``retired`` the services where the family is gone. ``rerouted``:
    another model answers to these ids.
    """

    name: str
    services: frozenset[str]
    patterns: tuple[str, ...]
    model: str
    source: str
    as_of: str
    rules: tuple[ModelRule, ...] = ()
    exclusive: tuple[frozenset[str], ...] = ()
    thinking: Thinking = field(default_factory=Thinking)
    api: str = "chat"
    limit: str | None = None
    context: int | None = None
    max_output: int | None = None
    images: bool | None = None
    released: str | None = None
    retires: Mapping[str, str] = field(default_factory=dict)
    not_before: str | None = None
    retired: frozenset[str] = frozenset()
    rerouted: str | None = None
    successor: str | None = None
    status: str = ""
    note: str = ""

    def thinks(self, entry: Mapping[str, Any]) -> bool:
        """Tell whether a model of the family thinks, as the entry sets it up."""
        if is_told_not_to_think(entry) or self.thinking.default == "none":
            return False
        if extra_body_thinks(entry) is False and self.thinking.can_be_off:
            return False
        return asks_for_thinking(entry, self) or self.thinking.default in ("on", "always")

    def rules_in_force(self, entry: Mapping[str, Any], effect: str) -> Iterator[ModelRule]:
        """Yield the rules of one effect that hold for an entry."""
        settings = {**entry, "thinking": "on" if self.thinks(entry) else "off"}
        if is_told_not_to_think(entry) and entry.get("reasoning_effort") is None:  # the effort that is sent then
            settings["reasoning_effort"] = (self.thinking.off or {}).get("reasoning_effort")
        routing = (entry.get("extra_body") or {}).get("provider")
        if isinstance(routing, Mapping) and "require_parameters" in routing:  # it wins over the entry's key
            settings["require_parameters"] = routing["require_parameters"]
        yield from (rule for rule in self.rules if rule.effect == effect and rule.holds(settings))


@cache
def model_families() -> tuple[ModelFamily, ...]:
    """Return all rows, in the order in which they are looked up."""
    text = files("playbill.backends.registry").joinpath("service_models.json").read_text(encoding="utf-8")
    return tuple(_family(row) for row in json.loads(text))


def _family(row: dict[str, Any]) -> ModelFamily:
    thinking: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.pop("thinking", {}).items()}
    rules = tuple(_rule(rule) for rule in row.pop("rules", ()))
    exclusive = tuple(frozenset(names) for names in row.pop("exclusive", ()))
    sets: dict[str, Any] = {name: frozenset(row.pop(name, ())) for name in ("services", "retired")}
    patterns = tuple(row.pop("patterns"))
    return ModelFamily(
        **row, **sets, patterns=patterns, rules=rules, exclusive=exclusive, thinking=Thinking(**thinking)
    )


def _rule(row: Mapping[str, Any]) -> ModelRule:
    return ModelRule(
        effect=row["effect"],
        parameters=frozenset(row["parameters"]),
        unless=tuple(Condition(key=c["key"], values=tuple(c["values"])) for c in row.get("unless", ())),
        values={name: tuple(values) for name, values in row.get("values", {}).items()},
        says=row.get("says", ""),
    )


_MODELS_OF = {"azure_claude": "anthropic"}
"""Services that serve another one's models, as these refuse and think there; when they retire is their own affair."""


def family_of(service: str, model_id: str) -> ModelFamily | None:
    """Return the row for a model at a service; None where the table knows none."""
    return _family_of(_MODELS_OF.get(service, service), model_id)


@lru_cache(maxsize=4096)
def _family_of(service: str, model_id: str) -> ModelFamily | None:
    whole = model_id.lower().lstrip("~")
    last = whole.rpartition("/")[2]
    for family in model_families():
        if service in family.services and any(fnmatchcase(whole if "/" in p else last, p) for p in family.patterns):
            return family
    return None


def is_told_not_to_think(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry switches thinking off, by either of its keys."""
    wish = entry.get("thinking")
    return wish == "off" or (entry.get("reasoning_effort") == "none" and wish != "on")


def asks_for_thinking(entry: Mapping[str, Any], family: ModelFamily | None) -> bool:
    """Tell whether an entry asks for thinking, or says that its model thinks."""
    if entry.get("thinking_mode") or entry.get("reasoning_model") or entry.get("thinking") == "on":
        return True
    if extra_body_thinks(entry):
        return True
    return family is not None and family.thinking.by_effort and bool(entry.get("reasoning_effort"))


def extra_body_thinks(entry: Mapping[str, Any]) -> bool | None:
    """Tell whether the fields in ``extra_body`` switch thinking on or off; None where they say neither.

    Known are the forms of OpenRouter and Together (``reasoning``), OpenAI (``reasoning_effort``), Anthropic and
    DeepSeek (``thinking``), Google (``generationConfig``), Alibaba (``enable_thinking``) and of servers of one's own
    (``chat_template_kwargs``).
    """
    body = entry.get("extra_body")
    if not isinstance(body, Mapping):
        return None
    reasoning, config = _object(body, "reasoning"), _object(_object(body, "generationConfig"), "thinkingConfig")
    template, form = _object(body, "chat_template_kwargs"), _object(body, "thinking").get("type")
    switches = (reasoning.get("enabled"), template.get("enable_thinking"), template.get("thinking"))
    said = [value for value in (*switches, body.get("enable_thinking")) if isinstance(value, bool)]
    said += [form != "disabled"] if form in ("disabled", "enabled", "adaptive") else []
    said += [word != "none" for word in (reasoning.get("effort"), body.get("reasoning_effort")) if word is not None]
    said += [
        budget != 0 for budget in (reasoning.get("max_tokens"), config.get("thinkingBudget")) if budget is not None
    ]
    said += [True] if config.get("thinkingLevel") is not None else []
    return said[0] if said else None


def _object(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = holder.get(key)
    return value if isinstance(value, Mapping) else {}


def parameters_taken(
    entry: Mapping[str, Any], service: Service, family: ModelFamily | None, *, thinks: bool
) -> frozenset[str]:
    """Return the generation parameters that a service takes from a model, but for what the family's rules refuse."""
    taken = service.supported_parameters
    if service.wire == "openai" and api_of(entry) == "responses":
        taken &= RESPONSES_PARAMETERS
    # What the service says of its reasoning models in general counts where nothing is known of the family.
    unknown = family is None or family.thinking.default == "unknown"
    return taken - service.reasoning_refuses if thinks and unknown else taken


def api_of(entry: Mapping[str, Any]) -> str:
    """Return the API of a service's entry on OpenAI's wire: "chat" or "responses"; its choice, else its family's."""
    if entry.get("api"):
        return str(entry["api"])
    family = family_of(str(entry.get("backend")), str(entry.get("model_id") or entry.get("model_name")))
    return "responses" if family is not None and family.api == "responses" else "chat"


def refusals(service: str, model_id: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that the model is known to refuse, as its entry sets it up: name to reason.

    A value that the entry sets, and that the model takes all the same, is not among them.
    """
    family = family_of(service, model_id)
    found: dict[str, str] = {}
    for rule in family.rules_in_force(entry, "refused") if family is not None else ():
        for name in rule.parameters:
            if entry.get(name) is None or entry[name] not in rule.values.get(name, ()):
                found.setdefault(name, rule.says)
    return found


def ignored_by_model(service: str, model_id: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that the service accepts and ignores for this model: name to what its documents say."""
    family = family_of(service, model_id)
    rules = family.rules_in_force(entry, "ignored") if family is not None else ()
    return {name: rule.says for rule in rules for name in rule.parameters}
