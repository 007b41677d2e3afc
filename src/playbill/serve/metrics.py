"""Count what the server did, for Prometheus. Knows no web server and no model."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

__all__ = ["Metrics"]


# What is counted: the metric's name, what it says, and its labels.
_COUNTERS = {
    "requests": ("playbill_requests", "Generations by model and outcome.", ("model", "outcome")),
    "refused": ("playbill_refused_requests", "Requests refused before a model saw them.", ("code",)),
    "vanished": ("playbill_vanished_clients", "Clients that left before their answer.", ()),
    "tokens": ("playbill_tokens", "Tokens in and out, by model.", ("kind", "model")),
    "seconds": ("playbill_generation_seconds", "Seconds from submission to the last token.", ("model",)),
    "loads": ("playbill_model_loads", "How often a model was loaded.", ("model",)),
    "unloads": ("playbill_model_unloads", "How often a model was unloaded.", ("model",)),
}


class Metrics:
    """Counters, and gauges that are read when somebody looks; of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters = {
            what: Counter(name, summary, labels, registry=self._registry)
            for what, (name, summary, labels) in _COUNTERS.items()
        }

    def count(self, what: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter of the table above."""
        counter = self._counters[what]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Report what ``read`` returns, under this name."""
        Gauge(name, help, registry=self._registry).set_function(read)

    def render(self) -> str:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry).decode()
