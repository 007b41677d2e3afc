"""Check a service for an entry: its free list of models first, then one request of the fewest tokens that it admits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from difflib import get_close_matches

from playbill.backends.common.findings import Finding
from playbill.backends.engines.base import ListedModel, ServiceEngine
from playbill.backends.errors import PlaybillError
from playbill.backends.generation import Generation, Outcome
from playbill.backends.model import Model
from playbill.proof.rules import live as rules

__all__ = ["judge_service"]

_HELLO = [{"role": "user", "content": "Say hello."}]
_FAILED = (Outcome.ERROR, Outcome.CONTEXT_EXCEEDED, Outcome.REFUSED)
_CUT_AT_ONCE = "output limit was reached"
"""How OpenAI refuses, with 400, an answer that the limit doesn't let begin; all else of the request was taken."""


def judge_service(model: Model, engine: ServiceEngine, where: str) -> Iterator[Finding]:
    """Yield what the service says against the entry, in its own words: of the key, the model, and one request."""
    asked = str(model.spec.get("model_id") or model.name)
    try:
        listed = engine.list_models()
    except PlaybillError as e:
        yield rules.LIVE_FAILS.at(where, f"asked for its list of models: {e}")
        return
    own = next((one for one in listed or () if _named(one.name, asked)), None)
    if own is not None:
        yield from _lifecycle(own, where)
    limits = engine.least_limits()
    answer = model.generate(_HELLO, **{name: n for name, n in limits.items() if name in engine.supported_parameters})
    failed = answer.outcome in _FAILED and _CUT_AT_ONCE not in _words(answer)
    near = _near(listed or (), asked)
    if failed:
        unlisted = f"; its list of models hasn't {asked}{near}" if listed and own is None else ""
        yield rules.LIVE_FAILS.at(where, f"{_words(answer)}{unlisted}")
        return
    if listed and own is None:
        yield rules.NOT_LISTED.at(where, f"{asked} answered, and the service's list of models hasn't it{near}")
    for name, why in answer.params.not_sent.items():
        if why.startswith("the service refused it"):
            yield rules.DEFAULT_REFUSED.at(where, f"{name}: {why}", f'write "refuses": ["{name}"]')
    context = engine.context_in_use() or (own.context if own is not None else None)
    if context is not None:
        yield rules.CONTEXT_TOLD.at(where, f"the service says that the context is {context:,} tokens long")


def _words(answer: Generation) -> str:
    return str((answer.error or {}).get("message", answer.outcome.value))


def _named(listed: str, asked: str) -> bool:
    """Tell whether a listed name is the one that was asked for: whole, or what follows its folders."""
    listed, asked = (name.lower().removesuffix(":latest") for name in (listed, asked))
    return asked in (listed, listed.rpartition("/")[2]) or listed == asked.partition(":")[0]


def _near(listed: Sequence[ListedModel], asked: str) -> str:
    found = get_close_matches(asked, [one.name for one in listed], n=3)
    return f" (near are {', '.join(found)})" if found else ""


def _lifecycle(model: ListedModel, where: str) -> Iterator[Finding]:
    gone = model.stage == "retired" or (model.stage is None and model.ends is not None and model.ends <= _today())
    if gone or model.ends is not None or model.stage == "deprecated":
        since = f" since {model.ends}" if model.ends else ""
        when = f" on {model.ends}" if model.ends else ", and no date"
        said = f"is {model.stage or 'gone'}{since}" if gone else f"ends{when}"
        yield rules.LISTED_END.at(where, f"the service's own list says that {model.name} {said}")


def _today() -> str:
    return date.today().isoformat()
