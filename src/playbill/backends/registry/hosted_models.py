"""Judge an entry by the family that its hosted model belongs to: what it refuses, how it thinks, when it retires.

The facts stand in `service_models`. Finds only what the entry itself shows; nothing is asked of a service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from playbill.backends.common.findings import Finding
from playbill.backends.registry import rules
from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.backends.registry.service_models import ModelFamily, family_of, parameters_taken, refusals
from playbill.backends.registry.services import SERVICES, Service
from playbill.backends.registry.thinking_plan import ThinkingPlan, ThinkingProblem, plan_thinking

__all__ = ["judge_hosted_model"]

_SOON = 60  # days


def judge_hosted_model(entry: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is known to go wrong with the model of a service's entry; ``paths`` tells where each key stands."""
    service, model = entry.get("backend"), entry.get("model_id") or entry.get("model_name")
    if not isinstance(service, str) or service not in SERVICES or not isinstance(model, str):
        return
    where = paths.get("model_id") or paths.get("model_name", "model_id")
    yield from _id_elsewhere(entry, model, paths)
    yield from _context_of_ollama(entry, paths)
    refused = refusals(service, model, entry)
    yield from _refused(entry, paths, refused)
    family = family_of(service, model)
    try:
        plan = plan_thinking(entry, SERVICES[service], family, model)
    except ThinkingProblem as e:
        yield rules.REFUSED_KEY.at(paths.get(e.key, where), e.message, e.fix)
    else:
        yield from _not_taken(entry, SERVICES[service], family, plan, paths, refused)
        yield from _thinking(entry, family, plan, model, paths, where)
    if family is None:
        return
    for group in family.exclusive:
        if len(both := sorted(name for name in group if entry.get(name) is not None)) > 1:
            message = f"{model} takes one of {' and '.join(both)} alone"
            yield rules.REFUSED_KEY.at(paths.get(both[-1], where), message, "take one of them out")
    if not entry.get("retired"):  # then the entry says it itself
        yield from _lifecycle(service, family, model, where)


def _refused(entry: Mapping[str, Any], paths: Mapping[str, str], reasons: Mapping[str, str]) -> Iterator[Finding]:
    for name, reason in reasons.items():
        if name in PARAMETERS and entry.get(name) is not None:
            why = f": {reason}" if reason else ""
            yield rules.REFUSED_KEY.at(paths.get(name, name), f"the model refuses this parameter{why}", "take it out")


def _id_elsewhere(entry: Mapping[str, Any], model: str, paths: Mapping[str, str]) -> Iterator[Finding]:
    """A model whose name at the service isn't said, though another key holds one."""
    other = entry.get("huggingface_id")
    if entry.get("model_id") is None and isinstance(other, str) and other != model:
        message = f"there is no model_id, so the service would be asked for {model!r}; this says {other!r}"
        yield rules.REFUSED_KEY.at(
            paths.get("huggingface_id", "huggingface_id"), message, f'write "model_id": "{other}"'
        )


def _context_of_ollama(entry: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[Finding]:
    """A context in the words of Ollama's own API, which the API that is spoken here ignores."""
    extra = entry.get("extra_body")
    options = extra.get("options") if isinstance(extra, Mapping) else None
    if entry.get("backend") == "ollama" and isinstance(options, Mapping) and "num_ctx" in options:
        message = "Ollama's API for OpenAI's clients ignores options, num_ctx among them"
        fix = "take it out, and start the server with OLLAMA_CONTEXT_LENGTH"
        yield rules.REFUSED_KEY.at(paths.get("extra_body", "extra_body"), message, fix)


def _not_taken(
    entry: Mapping[str, Any],
    service: Service,
    family: ModelFamily | None,
    plan: ThinkingPlan,
    paths: Mapping[str, str],
    refused: Mapping[str, str],
) -> Iterator[Finding]:
    """Parameters that the service itself doesn't take, or not while a model thinks; the wires refuse the same."""
    taken = parameters_taken(entry, service, family, thinks=plan.thinks)
    for name in PARAMETERS:
        where = paths.get(name, name)
        if entry.get(name) is None or name in refused or where.startswith("the caller"):
            continue  # a call's own parameter is refused as that, when it is asked for
        if name == "max_thinking_tokens":
            if not plan.thinks:
                message = "a budget of thinking tokens, and the entry doesn't ask for thinking"
                yield rules.REFUSED_KEY.at(where, message, "set thinking to on, or reasoning_model, or take it out")
        elif name not in taken:
            how = " as this entry sets its model up" if name in service.supported_parameters else ""
            message = f"{service.name} doesn't take this parameter{how}"
            yield rules.REFUSED_KEY.at(where, message, f"take it out; it takes {', '.join(sorted(taken))}")


def _thinking(
    entry: Mapping[str, Any],
    family: ModelFamily | None,
    plan: ThinkingPlan,
    model: str,
    paths: Mapping[str, str],
    where: str,
) -> Iterator[Finding]:
    """What the model does unasked, and a budget of thinking tokens: whether it takes one, and within which bounds."""
    if family is None:
        return
    service, thinking = SERVICES[entry["backend"]], family.thinking
    unasked = thinking.default in ("on", "always") and not plan.asked and not plan.off
    if unasked and service.keyless:  # elsewhere tokens are left for it
        message = f"{model} thinks unasked, and thinking counts towards max_tokens"
        fix = "set reasoning_model to true, so that max_tokens is left for the answer"
        fix += ", or thinking to off" if thinking.can_be_off else ""
        yield rules.THINKS_UNASKED.at(where, message, fix)
    tokens = entry.get("max_thinking_tokens")
    if plan.bounds is None or not isinstance(tokens, int) or not plan.takes_budget:
        return
    where_tokens = paths.get("max_thinking_tokens", where)
    if "thinkingLevel" in str(thinking.ask):
        message = f"{model} thinks by levels, and takes a budget for compatibility only"
        fix = f"write reasoning_effort, one of {', '.join(thinking.efforts)}, in its place"
        yield rules.BUDGET_FOR_LEVELS.at(where_tokens, message, fix)
    elif not plan.bounds.hold(tokens):
        message = f"{tokens} is outside of what {model} takes as a budget: {plan.bounds}"
        yield rules.REFUSED_KEY.at(where_tokens, message, "write a number within the bounds")


def _lifecycle(service: str, family: ModelFamily, model: str, where: str) -> Iterator[Finding]:
    end = family.retires.get(service)
    gone = service in family.retired or (end is not None and end <= date.today().isoformat())
    instead = f"take {family.successor}" if family.successor else "take a current model"
    if gone:
        since = f" since {end}" if end else ""
        yield rules.RETIRED_MODEL.at(
            where, f"{service} no longer serves {model}{since} (as of {family.as_of})", instead
        )
    elif end is not None and (date.fromisoformat(end) - date.today()).days <= _SOON:
        yield rules.RETIRED_MODEL.at(where, f"{service} ends {model} on {end}", instead)
    if family.rerouted and not gone:
        message = f"{service} answers with another model: {family.rerouted}"
        yield rules.RETIRED_MODEL.at(where, message, "name that one, so that the record says who answered")
