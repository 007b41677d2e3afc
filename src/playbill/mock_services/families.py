"""What a real service would refuse of a request, and whether its model would think: by the table of model families.

Reads bodies, and knows nothing of how Playbill writes them: a request that Playbill sends is judged like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.backends.registry.service_models import ModelFamily, family_of, model_families, refusals
from playbill.backends.registry.services import SERVICES
from playbill.mock_services.faults import FaultKind
from playbill.mock_services.wires.base import Json, Listed, Problem, as_dict, as_int

if TYPE_CHECKING:
    from playbill.mock_services.answers import Ask
    from playbill.mock_services.http import HttpRequest
    from playbill.mock_services.wires import Wire

__all__ = ["judge_request", "listed_models", "would_think"]


@dataclass(frozen=True)
class ThinkingRequest:
    """What a body says of thinking, on whatever wire."""

    form: str | None = None
    """The form that it is asked for in, where the wire has several: "enabled", "disabled", "adaptive", …"""
    effort: str | None = None
    budget: int | None = None

    @property
    def off(self) -> bool:
        return self.form in ("disabled", "between_tools") or self.effort == "none" or self.budget == 0


def read_thinking(wire: str, body: Json) -> ThinkingRequest:
    """Return what a body says of thinking."""
    if wire == "anthropic":
        thinking = as_dict(body.get("thinking"))
        effort = as_dict(body.get("output_config")).get("effort")
        return ThinkingRequest(thinking.get("type"), effort, as_int(thinking.get("budget_tokens")))
    if wire == "google":
        config = as_dict(as_dict(body.get("generationConfig")).get("thinkingConfig"))
        level = config.get("thinkingLevel")
        return ThinkingRequest(None, level.lower() if level else None, as_int(config.get("thinkingBudget")))
    reasoning = as_dict(body.get("reasoning"))
    template = as_dict(body.get("chat_template_kwargs"))
    told = [as_dict(body.get("thinking")).get("type") != "disabled", reasoning.get("enabled") is not False]
    told += [template.get(name) is not False for name in ("enable_thinking", "thinking")]
    effort = body.get("reasoning_effort", reasoning.get("effort"))
    return ThinkingRequest(None if all(told) else "disabled", effort, as_int(reasoning.get("max_tokens")))


def service_of(wire: Wire, service: str | None) -> str:
    """Return the service whose rules hold: the one that is imitated, else the one whose wire it is."""
    return service or {"responses": "openai"}.get(wire.name, wire.name)


def judge_request(wire: Wire, ask: Ask, request: HttpRequest, service: str | None) -> Problem | None:
    """Return what the service would say against a request; None where it takes it."""
    name = service_of(wire, service)
    family = family_of(name, ask.model)
    if family is None:
        return None
    thinking = read_thinking(wire.name, ask.body)
    return (
        _judge_model(wire, ask, name, family)
        or _judge_fields(wire, ask, request, name)
        or _judge_thinking(family, thinking)
        or _judge_parameters(wire, ask, request, name, thinking)
    )


def listed_models(wire: Wire, service: str | None, names: tuple[str, ...]) -> list[Listed]:
    """Return the service's list of models: those that the mock was given, else one of each family that it knows."""
    name = service_of(wire, service)
    if not names:
        return [_listed(family, name, family.model) for family in model_families() if name in family.services]
    return [_listed(family_of(name, model), name, model) for model in names]


def _listed(family: ModelFamily | None, service: str, model: str) -> Listed:
    if family is None:
        return Listed(model)
    return Listed(model, family.retires.get(service), retired=service in family.retired, context=family.context)


def would_think(wire: Wire, ask: Ask, service: str | None) -> bool:
    """Tell whether the real model would think before it answers this request."""
    family = family_of(service_of(wire, service), ask.model)
    if family is None:
        return False
    told = read_thinking(wire.name, ask.body)
    asked = (
        told.form in ("enabled", "adaptive") or bool(told.budget) or (bool(told.effort) and family.thinking.by_effort)
    )
    return not told.off and (asked or family.thinking.default in ("on", "always"))


def _judge_model(wire: Wire, ask: Ask, service: str, family: ModelFamily) -> Problem | None:
    end = family.retires.get(service)
    if service in family.retired or (end is not None and end <= date.today().isoformat()):
        return Problem(FaultKind.NOT_FOUND, f"The model `{ask.model}` is no longer served", "model", "model_not_found")
    if wire.name == "openai" and family.api == "responses":
        words = "This model is only supported in v1/responses and not in v1/chat/completions."
        return Problem(FaultKind.NOT_FOUND, words, "model")
    return None


def _judge_fields(wire: Wire, ask: Ask, request: HttpRequest, service: str) -> Problem | None:
    """A field that the official client's types don't know, the service doesn't know either."""
    own = wire.name != "openai" or service == "openai"
    known = _known_fields(wire.name) if own else _fields_of_service(service)
    if wire.name == "anthropic" and request.headers.get("anthropic-version", "") < "2026-10-21":
        known |= {"temperature", "top_p", "top_k"}  # which the client's types, of the newest version, have no more
    unknown = sorted(ask.body.keys() - known) if known else []
    if not unknown:
        return None
    if wire.name == "anthropic":
        words = f"{unknown[0]}: Extra inputs are not permitted"
    elif wire.name == "google":
        words = f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.'
    else:
        words = f"Unrecognized request argument supplied: {unknown[0]}"
    return Problem(FaultKind.BAD_REQUEST, words, unknown[0])


@cache
def _known_fields(wire: str) -> frozenset[str]:
    """Return the fields of a request in the types of the service's official client; none where it isn't installed."""
    try:
        if wire == "anthropic":
            from anthropic.types import message_create_params as m

            return _annotated(m.MessageCreateParamsNonStreaming) | {"stream"}
        if wire == "openai":
            from openai.types.chat import completion_create_params as c

            return _annotated(c.CompletionCreateParamsNonStreaming) | {"stream"}
        if wire == "responses":
            from openai.types.responses import response_create_params as r

            return _annotated(r.ResponseCreateParamsNonStreaming) | {"stream"}
    except ImportError:
        return frozenset()
    # https://ai.google.dev/api/generate-content#request-body
    names = "contents systemInstruction generationConfig safetySettings tools toolConfig cachedContent labels store"
    return frozenset(names.split())


def _annotated(typed: Any) -> frozenset[str]:
    """Return the keys of a TypedDict, those of the classes that it is made of as well."""
    found: set[str] = set()
    for each in (typed, *getattr(typed, "__orig_bases__", ())):
        found |= set(getattr(each, "__annotations__", {}))
    return frozenset(found)


@cache
def _fields_of_service(service: str) -> frozenset[str]:
    """Return the fields that a compatible service documents: its parameters, and those of its models' thinking."""
    row = SERVICES[service]
    found = {"model", "messages", "stream", "reasoning_effort", *row.renamed.values(), *row.supported_parameters}
    found |= set() if service == "mistral" else {"stream_options"}
    found |= {"top_logprobs"} if "logprobs" in row.supported_parameters else set()
    found |= {"provider", "max_completion_tokens"} if service == "openrouter" else set()
    found |= row.always.keys()
    for family in model_families():
        if service in family.services:
            thinking = family.thinking
            found |= {name for part in (thinking.ask, thinking.off, thinking.show) if part for name in part}
    return frozenset(found)


def _judge_thinking(family: ModelFamily, told: ThinkingRequest) -> Problem | None:
    thinking = family.thinking
    if thinking.default == "unknown":
        return None
    if told.off and not thinking.can_be_off:
        return _bad("thinking", "thinking can't be disabled for this model")
    words = (*thinking.efforts, *thinking.responses_efforts)
    if told.effort is not None and told.effort not in words and (words or thinking.by_effort or told.effort != "none"):
        return _bad("reasoning_effort", f"Unsupported value: '{told.effort}' is not supported with this model")
    if told.form == "enabled" and thinking.budget is None and "enabled" not in str(thinking.ask):
        return _bad("thinking", "thinking.type: 'enabled' is not supported for this model")
    if told.form == "adaptive" and "adaptive" not in str((thinking.ask, thinking.show)):
        return _bad("thinking", "thinking.type: 'adaptive' is not supported for this model")
    if told.budget:
        least, most = thinking.budget or (None, None)
        if thinking.budget is None:
            return _bad("thinking", "this model takes no thinking budget")
        if (least is not None and told.budget < least) or (most is not None and told.budget > most):
            return _bad("thinking", f"the thinking budget {told.budget} is out of range: {least} to {most}")
    return None


def _judge_parameters(
    wire: Wire, ask: Ask, request: HttpRequest, service: str, thinking: ThinkingRequest
) -> Problem | None:
    """Judge sampling parameters by the family's rules, under the settings that the request has."""
    given = wire.parameters(ask.body)
    names = {name: SERVICES[service].renamed.get(name, name) for name in PARAMETERS}
    sent = {name: given[own] for name, own in names.items() if given.get(own) is not None}
    settings = {
        **sent,
        "api_version": request.headers.get("anthropic-version"),
        "reasoning_effort": thinking.effort,
        "thinking_mode": thinking.form in ("enabled", "adaptive"),
        "thinking": "off" if thinking.off else None,
        "require_parameters": as_dict(ask.body.get("provider")).get("require_parameters") is True,
    }
    for name in refusals(service, ask.model, settings):
        problem = wire.unsupported(names[name], sent[name]) if name in sent else None
        if problem is not None:
            return problem
    return None


def _bad(param: str, words: str) -> Problem:
    return Problem(FaultKind.BAD_REQUEST, words, param)
