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
from playbill.backends.registry.services import SERVICES, Service

__all__ = ["judge_hosted_model"]

_SOON = 60  # days


def judge_hosted_model(entry: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is known to go wrong with the model of a service's entry; ``paths`` tells where each key stands."""
    service, model = entry.get("backend"), entry.get("model_id") or entry.get("model_name")
    if not isinstance(service, str) or service not in SERVICES or not isinstance(model, str):
        return
    where = paths.get("model_id") or paths.get("model_name", "model_id")
    yield from _id_elsewhere(entry, model, paths)
    refused = refusals(service, model, entry)
    yield from _refused(entry, paths, refused)
    yield from _not_taken(entry, SERVICES[service], paths, refused)
    family = family_of(service, model)
    if family is None:
        return
    for group in family.exclusive:
        if len(both := sorted(name for name in group if entry.get(name) is not None)) > 1:
            message = f"{model} takes one of {' and '.join(both)} alone"
            yield rules.REFUSED_KEY.at(paths.get(both[-1], where), message, "take one of them out")
    yield from _thinking(entry, family, model, paths, where)
    yield from _budget(entry, family, model, paths, where)
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


def _not_taken(
    entry: Mapping[str, Any], service: Service, paths: Mapping[str, str], refused: Mapping[str, str]
) -> Iterator[Finding]:
    """Parameters that the service itself doesn't take, or not while a model thinks; the wires refuse the same."""
    asked = entry.get("thinking_mode") or entry.get("reasoning_model")
    thinks = bool(asked) and entry.get("reasoning_effort") != "none"
    for name in PARAMETERS:
        where = paths.get(name, name)
        if entry.get(name) is None or name in refused or where.startswith("the caller"):
            continue  # a call's own parameter is refused as that, when it is asked for
        if name == "max_thinking_tokens":
            if not thinks:
                ask = "thinking_mode" if service.wire in ("anthropic", "google") else "reasoning_model"
                message = "a budget of thinking tokens, and the entry doesn't ask for thinking"
                yield rules.REFUSED_KEY.at(where, message, f"set {ask} to true, or take it out")
        elif name not in service.supported_parameters:
            taken = ", ".join(sorted(service.supported_parameters))
            yield rules.REFUSED_KEY.at(where, f"{service.name} doesn't take this parameter", f"it takes {taken}")
        elif thinks and name in service.reasoning_refuses:
            message = f"{service.name} doesn't take this parameter from a model that thinks"
            yield rules.REFUSED_KEY.at(where, message, "take it out")


def _thinking(
    entry: Mapping[str, Any], family: ModelFamily, model: str, paths: Mapping[str, str], where: str
) -> Iterator[Finding]:
    thinking = family.thinking
    effort = entry.get("reasoning_effort")
    known = (*thinking.efforts, *thinking.responses_efforts)
    if effort == "none" and not thinking.can_be_off:
        message = f"{model} can't be told not to think, so effort 'none' can't be had"
        fix = f"write one of {', '.join(known)}" if known else "take it out"
        yield rules.REFUSED_KEY.at(paths.get("reasoning_effort", where), message, fix)
    elif isinstance(effort, str) and known and effort not in known and (effort != "none" or thinking.off is None):
        message = f"{model} knows no effort '{effort}'"
        yield rules.REFUSED_KEY.at(paths.get("reasoning_effort", where), message, f"write one of {', '.join(known)}")
    asked = entry.get("reasoning_model") or entry.get("thinking_mode") or effort == "none"
    if thinking.default in ("on", "always") and not asked and family.thinks(entry):
        message = f"{model} thinks unasked, and thinking counts towards max_tokens"
        fix = "set reasoning_model to true, so that max_tokens is left for the answer"
        if "none" in thinking.efforts:
            fix += ', or reasoning_effort to "none"'
        yield rules.THINKS_UNASKED.at(where, message, fix)


def _budget(
    entry: Mapping[str, Any], family: ModelFamily, model: str, paths: Mapping[str, str], where: str
) -> Iterator[Finding]:
    """A budget of thinking tokens: whether the model takes one, and within which bounds."""
    thinking, tokens = family.thinking, entry.get("max_thinking_tokens")
    by_mode = entry.get("thinking_mode") is True
    sent = by_mode or (tokens is not None and entry.get("backend") == "google" and entry.get("reasoning_model"))
    if not sent or thinking.ask is None:
        return
    where_tokens = paths.get("max_thinking_tokens", where)
    if thinking.budget is None:
        adaptive = '"adaptive"' if "adaptive" in str(thinking.ask) else None
        fix = f"set thinking_mode to {adaptive}" if adaptive else "set reasoning_model and reasoning_effort instead"
        message = f"{model} takes no budget of thinking tokens"
        yield rules.REFUSED_KEY.at(
            paths.get("thinking_mode" if by_mode else "max_thinking_tokens", where), message, fix
        )
        return
    if "thinkingLevel" in str(thinking.ask):
        message = f"{model} thinks by levels, and takes a budget for compatibility only"
        fix = f"write reasoning_effort, one of {', '.join(thinking.efforts)}, in its place"
        yield rules.BUDGET_FOR_LEVELS.at(where_tokens, message, fix)
        return
    least, most = thinking.budget
    off = tokens == 0 and "'thinkingBudget': 0" in str(thinking.off)
    if isinstance(tokens, int) and not off and not (least or 0) <= tokens <= (most if most is not None else tokens):
        bounds = f"{least} to {most}" if most is not None else f"{least} or more"
        message = f"{tokens} is outside of what {model} takes as a budget: {bounds}"
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
