"""How replicas do, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from playbill.backends.common.words import counted
from playbill.replicas import ReplicaStatus

__all__ = ["replicas_in_full", "replicas_in_short"]

_MOST_NAMED = 8


def replicas_in_short(statuses: Sequence[ReplicaStatus]) -> str:
    """Return how many replicas are ready, the range of their rates, and what the others wait for."""
    rates = [rate for status in statuses if (rate := status.tokens_per_second) is not None]
    ready = sum(status.state == "ready" for status in statuses)
    text = f"{ready} of {counted(len(statuses), 'replica')}"
    if len(rates) > 1:
        text += f" at {min(rates):.1f} to {max(rates):.1f} tok/s"
    others = Counter(status.state for status in statuses if status.state != "ready")
    return ", ".join([text, *(f"{count} {state}" for state, count in others.items())])


def replicas_in_full(statuses: Sequence[ReplicaStatus]) -> str:
    """Return how each replica does; where there are many, in short."""
    if len(statuses) > _MOST_NAMED:
        return replicas_in_short(statuses)
    return "; ".join(map(_in_full, statuses))


def _in_full(status: ReplicaStatus) -> str:
    if status.state != "ready":
        return f"replica {status.replica}: {status.state}"
    rate = status.tokens_per_second or 0
    return f"replica {status.replica} on {status.node}: {rate:.1f} tok/s, {status.in_flight} under way"
