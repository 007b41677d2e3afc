"""Say what was measured, for people: the machine, what computes, the self-test, and a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from playbill.backends.common.terminal import printable_json
from playbill.backends.engines.machine.memory import gibibytes
from playbill.backends.engines.self_test import self_test_words

__all__ = ["HEAD", "describe_load", "describe_machine_line", "missed", "table"]

HEAD = ("REQUESTS", "WAY", "MS A STEP", "TOKENS/S", "× PLAYBILL", "PROMPT TOKENS/S", "MEMORY", "LOAD S")
_SHOWN = ("class", "dtype", "bfloat16", "device", "threads", "attention", "kernels", "slots", "n_ctx", "gpu_layers")
_JUDGED = ("company_independent", "differs", "kind")


def describe_machine_line(machine: Mapping[str, Any]) -> str:
    """Return what is measured on, in a line."""
    cards = [f"{card['name']} ({gibibytes(card['memory'])}, driver {card['driver']})" for card in machine["cards"]]
    if cards:
        return f"device: {', '.join(cards)}"
    free = "" if machine["memory_free"] is None else f", {gibibytes(machine['memory_free'])} free"
    return f"device: no GPU; {machine['processor']}, {machine['cores']} cores{free}"


def describe_load(load: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a load says of its way of computing, a line each."""
    facts = load["facts"]
    for key in _SHOWN:
        if facts.get(key) is not None:
            yield f"{key}: {_plain(facts[key])}"
    if quantization := facts.get("quantization"):
        yield f"quantization: {_plain(quantization)}"
    batching = facts.get("batching")
    if isinstance(batching, Mapping):
        yield f"batching: {_plain({key: value for key, value in batching.items() if key not in _JUDGED[:2]})}"
        yield f"self-test: {self_test_words(facts)}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else printable_json(value, indent=None)


def table(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows of the table: by the number of requests, and within it in the order of the ways."""
    rates = [(rate, load, way) for way in results for load in way["loads"] for rate in load["rates"]]
    own = {rate["rows"]: rate["rate"] for rate, _, way in rates if way["way"] == "playbill"}
    return [
        (
            str(rate["rows"]) + ("" if rate["together"] == rate["rows"] else f" ({rate['together']} at once)"),
            way["way"],
            _number(rate["step_ms"], 1),
            _number(rate["rate"], 1) + ("*" if rate["new_tokens"] < rate["asked_tokens"] else ""),
            _number(rate["rate"] / own[rate["rows"]], 2) if rate["rate"] and own.get(rate["rows"]) else "-",
            _number(rate["prompt_rate"], 0),
            _memory(load),
            _number(load["seconds"], 1),
        )
        for rate, load, way in sorted(rates, key=lambda found: found[0]["rows"])
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _memory(load: Mapping[str, Any]) -> str:
    """Return the most that was taken: of GPUs by torch, else by the driver, else of the computer."""
    cards = [used for place, used in load["memory"].items() if place != "computer"]
    taken = cards or [used for used in load["cards_taken"] if used > 1 << 28]
    if taken:
        return gibibytes(sum(taken))
    return gibibytes(load["memory"]["computer"]) if "computer" in load["memory"] else "-"


def missed(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what wasn't measured or reads otherwise than it seems, with the reason, a line each."""
    for way in results:
        if way["error"] is not None:
            yield f"{way['way']}: not measured: {way['error']}"
        elif way["left"]:
            most = way["loads"][-1]["concurrency"]
            together = "one at a time" if most == 1 else f"{most} at once"
            yield f"{way['way']}: not measured with {', '.join(map(str, way['left']))} requests; it computes {together}"
    rates = [rate for way in results for load in way["loads"] for rate in load["rates"]]
    if any(rate["step_ms"] is None for rate in rates):
        yield "-: steps were too fast to be told from the prompts; measure with more --tokens, or when others rest"
    if any(rate["new_tokens"] < rate["asked_tokens"] for rate in rates):
        yield "*: some answers ended early, which this engine can't be kept from; the rate counts what came"
