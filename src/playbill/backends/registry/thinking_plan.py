"""Decide how one entry's model is asked to think: which piece of the body says so, and how many tokens it gets.

What a family of models takes is data in `playbill.backends.registry.service_models`; what only a wire knows, the
form of a budget and of a level, stays with the wire. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from playbill.backends.errors import ParameterError
from playbill.backends.registry.fields.parameters import Bounds
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.service_models import (
    ModelFamily,
    Thinking,
    asks_for_thinking,
    extra_body_thinks,
    is_told_not_to_think,
)
from playbill.backends.registry.services import Service

__all__ = ["ThinkingPlan", "ThinkingProblem", "merged", "plan_thinking"]


class ThinkingProblem(ParameterError):
    """What an entry says of thinking can't be had; ``key`` is where it stands, ``fix`` what to write instead."""

    def __init__(self, key: str, message: str, fix: str) -> None:
        super().__init__(f"{key}: {message}; {fix}")
        self.key = key
        self.message = message
        self.fix = fix


@dataclass(frozen=True, kw_only=True, slots=True)
class ThinkingPlan:
    """What an entry says of thinking, judged by the family of its model.

    ``asked`` is whether the entry asks for thinking or says that the model thinks, ``unasked`` whether the model is
    known to think without being asked; ``off`` whether it was told not to. ``fragment`` is a piece of the body that
    the family wants, with "$effort" and "$budget" filled by `filled`. ``room`` is how many tokens its maker advises to
    leave (None: not known), ``bounds`` the least and the greatest budget that the family takes, and ``takes_budget``
    whether `max_thinking_tokens` goes into the request.
    """

    asked: bool = False
    unasked: bool = False
    off: bool = False
    effort: str | None = None
    mode: Any = None
    fragment: Mapping[str, Any] = field(default_factory=dict)
    room: int | None = None
    bounds: Bounds | None = None
    takes_budget: bool = False

    @property
    def thinks(self) -> bool:
        """Whether tokens are left for thinking beside those of the answer."""
        return not self.off and (self.asked or self.unasked)

    @property
    def sends_budget(self) -> bool:
        """Whether the request will hold a budget of thinking tokens."""
        return not self.off and (self.mode is True or "$budget" in str(self.fragment))

    def filled(self, budget: int) -> dict[str, Any]:
        """Return the fragment with the effort and the budget (in tokens) in their places."""
        values = {"$effort": self.effort, "$budget": budget}
        found: dict[str, Any] = _fill(self.fragment, values)
        return found


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    """Put values in the places of their names; a place without a value is left out."""
    if isinstance(value, Mapping):
        filled = {name: _fill(inner, values) for name, inner in value.items()}
        return {name: inner for name, inner in filled.items() if inner is not None and inner != {}}
    return values[value] if isinstance(value, str) and value in values else value


def plan_thinking(entry: Mapping[str, Any], service: Service, family: ModelFamily | None, model: str) -> ThinkingPlan:
    """Judge what an entry says of thinking. ``model`` is the model's id, for words.

    Raises ThinkingProblem for what the family is known to refuse, and for `thinking` that nobody knows how to ask for.
    """
    wish, effort = entry.get("thinking"), entry.get("reasoning_effort")
    in_body = extra_body_thinks(entry)
    also = family is not None and not family.thinking.by_effort  # how much is written at all, thinking or not
    _check_extra_body(wish, None if also else effort, in_body)
    if is_told_not_to_think(entry):
        return _off(wish, effort, family, model)
    if effort == "none":
        raise ThinkingProblem(
            "reasoning_effort", "thinking: on and effort 'none' contradict each other", "take one out"
        )
    if in_body is False and (family is None or family.thinking.can_be_off):
        return ThinkingPlan(off=True, effort=effort if also else None)  # extra_body itself is the fragment
    mode = setting(entry, "thinking_mode")
    asked = asks_for_thinking(entry, family)
    if family is None:
        if wish == "on":
            raise _unknown(model, "to think")
        by_budget = mode is True or (service.wire == "google" and asked and not effort)
        return ThinkingPlan(asked=asked, effort=effort, mode=mode, takes_budget=by_budget)
    thinking = family.thinking
    if thinking.default == "none" and (wish == "on" or mode):
        raise ThinkingProblem("thinking" if wish == "on" else "thinking_mode", f"{model} can't think", "take it out")
    _check_effort(effort, thinking, model)
    _check_mode(mode, thinking, model)
    unasked = thinking.default in ("on", "always")
    fragment: Mapping[str, Any] = {}
    if wish == "on":
        fragment = _asking(thinking, model, effort)
    if (wish == "on" or unasked) and not mode and thinking.show is not None and thinking.text_api is None:
        fragment = merged(fragment, thinking.show)  # so that the record has the thoughts, or their summary
    plan = ThinkingPlan(
        asked=asked,
        # A server of one's own has a context of its own size, which a reserve could exceed.
        unasked=unasked and not service.keyless,
        effort=effort,
        mode=mode,
        fragment=fragment,
        room=thinking.reserve,
        bounds=_bounds(thinking),
    )
    return replace(plan, takes_budget=plan.sends_budget or _takes_budget(plan, service, thinking))


def _takes_budget(plan: ThinkingPlan, service: Service, thinking: Thinking) -> bool:
    """Tell whether a budget that was asked for is sent: Google's models take one beside thinking that nobody asked for,
    unless they are told an effort; those that think by levels have no budget in the table."""
    known = thinking.ask is not None
    return service.wire == "google" and plan.thinks and not plan.effort and (thinking.budget is not None or not known)


def _bounds(thinking: Thinking) -> Bounds | None:
    if thinking.budget is None:
        return None
    return Bounds(thinking.budget[0], thinking.budget[1], zero="'thinkingBudget': 0" in str(thinking.off))


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return two objects as one, those inside of them as well; the second wins."""
    found = dict(one)
    for name, value in other.items():
        mine = found.get(name)
        found[name] = merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return found


def _off(wish: Any, effort: Any, family: ModelFamily | None, model: str) -> ThinkingPlan:
    """Return the plan of a model that is told not to think; ``wish`` and ``effort`` are what the entry says."""
    kept = None if effort == "none" else effort
    if family is None or family.thinking.default == "unknown":
        known = family.thinking.off if family is not None else None
        if wish == "off" and known is None:
            raise _unknown(model, "not to think")
        # What nobody knows is sent in the words of the entry.
        return ThinkingPlan(off=True, effort=effort if known is None else kept, fragment=known or {})
    thinking = family.thinking
    if not thinking.can_be_off:
        words = [word for word in (*thinking.efforts, *thinking.responses_efforts) if word != "none"]
        fix = f"take it out, or write one of {', '.join(words)} as reasoning_effort" if words else "take it out"
        key = "thinking" if wish == "off" else "reasoning_effort"
        raise ThinkingProblem(key, f"{model} can't be told not to think", fix)
    off = thinking.off or {}
    if kept is not None and thinking.off_efforts and kept not in thinking.off_efforts:
        words = list(thinking.off_efforts)
        message = f"{model} takes no effort '{kept}' while its thinking is off"
        raise ThinkingProblem("reasoning_effort", message, f"write one of {', '.join(words)}")
    if kept is not None and not thinking.off_efforts and thinking.default != "none":
        message = f"thinking: off and effort '{kept}' contradict each other"
        raise ThinkingProblem("reasoning_effort", message, "take one of them out")
    return ThinkingPlan(off=True, effort=kept, fragment=off)


def _check_extra_body(wish: Any, effort: Any, in_body: bool | None) -> None:
    """Raise ThinkingProblem where the entry's keys and the fields in its ``extra_body`` contradict each other."""
    if in_body is None:
        return
    told = "on" if in_body else "off"
    if wish in ("on", "off") and wish != told:
        raise ThinkingProblem(
            "thinking", f"thinking: {wish}, but extra_body switches it {told}", "take one of them out"
        )
    if effort is not None and (effort != "none") is not in_body:
        message = f"effort '{effort}', but extra_body switches thinking {told}"
        raise ThinkingProblem("reasoning_effort", message, "take one of them out")


def _asking(thinking: Thinking, model: str, effort: str | None) -> Mapping[str, Any]:
    """Return the fragment that asks for thinking."""
    by_itself = thinking.default in ("on", "always")
    if thinking.ask is None:
        if by_itself:
            return {}
        raise _unknown(model, "to think")
    if "$effort" in str(thinking.ask) and effort is None and not by_itself:
        words = ", ".join(word for word in thinking.efforts if word != "none")
        fix = f"write reasoning_effort, one of {words}" if words else "write reasoning_effort, as high"
        raise ThinkingProblem("thinking", f"{model} is asked to think by an effort", fix)
    return thinking.ask


def _check_effort(effort: Any, thinking: Thinking, model: str) -> None:
    """Raise ThinkingProblem for a word that the family doesn't take, as far as its words are known."""
    known = (*thinking.efforts, *thinking.responses_efforts)
    if effort and not known and (thinking.default == "none" or not thinking.takes_effort):
        raise ThinkingProblem("reasoning_effort", f"{model} takes no effort", "take it out")
    if isinstance(effort, str) and known and effort not in known:
        message = f"{model} knows no effort '{effort}'"
        raise ThinkingProblem("reasoning_effort", message, f"write one of {', '.join(dict.fromkeys(known))}")


def _check_mode(mode: Any, thinking: Thinking, model: str) -> None:
    """Raise ThinkingProblem for a form of thinking that the family doesn't know."""
    if thinking.ask is None or thinking.default == "unknown":
        return
    adaptive = "adaptive" in str(thinking.ask)
    if mode is True and thinking.budget is None:
        fix = 'set thinking_mode to "adaptive"' if adaptive else "write thinking: on in its place"
        raise ThinkingProblem("thinking_mode", f"{model} takes no budget of thinking tokens", fix)
    if mode == "adaptive" and not adaptive:
        raise ThinkingProblem("thinking_mode", f"{model} doesn't think adaptively", "write thinking: on in its place")


def _unknown(model: str, what: str) -> ThinkingProblem:
    message = f"nobody knows how {model} is told {what}"
    return ThinkingProblem("thinking", message, "write what its service wants into extra_body, and take this out")
