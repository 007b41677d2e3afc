"""Judge a run as a whole: what changed within it. Knows no layout of records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from playbill.runs.audit.call import Call
from playbill.runs.audit.judging import CannotTell, Group, Verdict

__all__ = ["drift", "params_differ"]

_FACTS = {
    "model": "the serving model",
    "fingerprint": "the fingerprint of the serving system",
    "provider": "the provider",
    "template": "the template",
    "template_hash": "the template",
    "weights": "the weights",
}


def drift(call: Call, group: Group) -> Verdict:
    if not call.facts:
        return CannotTell("neither a serving model nor a template or weights are recorded")
    said = []
    for name, value in call.facts.items():
        if name in _FACTS and group.changed(name, value):
            said.append(f"{_FACTS[name]} is now {value!r}, other than before in this run")
    return "; ".join(said) or None


def params_differ(call: Call, group: Group) -> Verdict:
    effective = call.effective or call.sent
    if not effective and not call.asked:
        return CannotTell("no parameters are recorded")
    said = [
        f"{name}: {_json(wanted)} was asked for, {_json(effective.get(name))} was in effect"
        for name, wanted in call.asked.items()
        if name in call.effective and not _same(wanted, effective[name])
    ]
    said += [
        f"{name}: {_json(call.effective[name])} was in effect, {_json(value)} was sent"
        for name, value in call.sent.items()
        if name in call.effective and not _same(value, call.effective[name])
    ]
    params = _of_run(call)
    if params != group.params:
        group.params = params
        if group.changed("params", _json(params)) and not said:
            said.append(f"the parameters are now {_json(params)}, others than before in this run")
    return "; ".join(said) or None


def _of_run(call: Call) -> Mapping[str, Any]:
    """Return the parameters that should be the same for all calls of a run: a seed may differ, and so may the room
    left."""
    if call.outcome is not None:
        return {k: v for k, v in call.asked.items() if k != "seed"}
    return {k: v for k, v in call.effective.items() if k != "seed"}


def _same(one: Any, other: Any) -> bool:
    numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
    return bool(abs(one - other) < 1e-9) if numbers else _json(one) == _json(other)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
