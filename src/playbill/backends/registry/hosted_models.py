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
from playbill.backends.registry.service_models import ModelFamily, family_of, refusals
from playbill.backends.registry.services import SERVICES
from playbill.backends.registry.thinking_plan import ThinkingProblem, plan_thinking

__all__ = ["judge_hosted_model"]

_SOON = 60  # days


def judge_hosted_model(entry: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is known to go wrong with the model of a service's entry; ``paths`` tells where each key stands."""
    service, model = entry.get("backend"), entry.get("model_id") or entry.get("model_name")
    if not isinstance(service, str) or service not in SERVICES or not isinstance(model, str):
        return
    family = family_of(service, model)
    where = paths.get("model_id") or paths.get("model_name", "model_id")
    yield from _thinking(entry, family, model, paths, where)
    if family is None:
        return
    yield from _refused(entry, paths, refusals(service, model, entry))
    for group in family.exclusive:
        if len(both := sorted(name for name in group if entry.get(name) is not None)) > 1:
            message = f"{model} takes one of {' and '.join(both)} alone"
            yield rules.REFUSED_KEY.at(paths.get(both[-1], where), message, "take one of them out")
    yield from _lifecycle(service, family, model, where)


def _refused(entry: Mapping[str, Any], paths: Mapping[str, str], reasons: Mapping[str, str]) -> Iterator[Finding]:
    for name, reason in reasons.items():
        if name in PARAMETERS and entry.get(name) is not None:
            why = f": {reason}" if reason else ""
            yield rules.REFUSED_KEY.at(paths.get(name, name), f"the model refuses this parameter{why}", "take it out")


def _thinking(
    entry: Mapping[str, Any], family: ModelFamily | None, model: str, paths: Mapping[str, str], where: str
) -> Iterator[Finding]:
    """What the entry says of thinking, what the model does unasked, and the bounds of a budget."""
    service = SERVICES[entry["backend"]]
    try:
        plan = plan_thinking(entry, service, family, model)
    except ThinkingProblem as e:
        yield rules.REFUSED_KEY.at(paths.get(e.key, where), e.message, e.fix)
        return
    unasked = family is not None and family.thinking.default in ("on", "always") and not plan.asked and not plan.off
    if family is not None and unasked and service.keyless:  # elsewhere tokens are left for it
        message = f"{model} thinks unasked, and thinking counts towards max_tokens"
        fix = "set reasoning_model to true, so that max_tokens is left for the answer"
        fix += ", or thinking to off" if family.thinking.can_be_off else ""
        yield rules.THINKS_UNASKED.at(where, message, fix)
    tokens = entry.get("max_thinking_tokens")
    if plan.bounds is not None and plan.sends_budget and isinstance(tokens, int):
        least, most = plan.bounds
        if (least is not None and tokens < least) or (most is not None and tokens > most):
            bounds = f"{least or 0} to {most}" if most is not None else f"{least} or more"
            message = f"{tokens} is outside of what {model} takes as a budget: {bounds}"
            path = paths.get("max_thinking_tokens", where)
            yield rules.REFUSED_KEY.at(path, message, "write a number within the bounds")


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
