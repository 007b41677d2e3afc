"""Counts of what the server did, in Prometheus' text format. Knows no web server and no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["Metrics"]

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    kind: str
    help: str


_COUNTERS = {
    "requests": _Metric("playbill_requests_total", "counter", "Generations by model and outcome."),
    "refused": _Metric("playbill_refused_requests_total", "counter", "Requests refused before a model saw them."),
    "vanished": _Metric("playbill_vanished_clients_total", "counter", "Clients that left before their answer."),
    "tokens": _Metric("playbill_tokens_total", "counter", "Tokens in and out, by model."),
    "seconds": _Metric("playbill_generation_seconds_total", "counter", "Seconds from submission to the last token."),
    "loads": _Metric("playbill_model_loads_total", "counter", "How often a model was loaded."),
    "unloads": _Metric("playbill_model_unloads_total", "counter", "How often a model was unloaded."),
}


class Metrics:
    """Counters, and gauges that are read when somebody looks. Used from one thread, the event loop's."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Labels], float] = {}
        self._gauges: list[tuple[_Metric, Callable[[], float]]] = []

    def count(self, what: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter of the table above."""
        key = (what, tuple(sorted(labels.items())))
        self._counts[key] = self._counts.get(key, 0) + amount

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Report what ``read`` gives, under this name."""
        self._gauges.append((_Metric(name, "gauge", help), read))

    def render(self) -> str:
        """All of it, in Prometheus' text format."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for what, metric in _COUNTERS.items():
            yield from _header(metric)
            for (counted, labels), value in self._counts.items():
                if counted == what:
                    yield f"{metric.name}{_shown(labels)} {value:g}"
        for metric, read in self._gauges:
            yield from _header(metric)
            yield f"{metric.name} {read():g}"


def _header(metric: _Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"


def _shown(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
