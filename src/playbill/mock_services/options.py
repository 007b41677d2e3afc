"""The settings of a mock server: one frozen dataclass, for tests and for the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from playbill.backends.errors import ParameterError
from playbill.backends.registry.services import REMOTE, SERVICES
from playbill.mock_services.faults import Fault, FaultMix

__all__ = ["REASONING", "MockOptions", "ModelRule"]


@dataclass(frozen=True)
class ModelRule:
    """Models whose names match ``pattern`` (as in a shell) refuse the parameters named, as services do.

    A parameter is named as it stands in the request; for Google, as in ``generationConfig``.
    """

    pattern: str
    refuses: tuple[str, ...]


REASONING = ModelRule(
    "*reason*", ("max_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs")
)
"""What OpenAI's reasoning models refuse, for models with ``reason`` in their names."""


@dataclass(frozen=True)
class MockOptions:
    """How a mock server behaves. Without any option it answers everything at once.

    ``latency`` is in seconds, one number or the two ends of a range to draw from; ``chunk_seconds`` is the
    pause between the chunks of a stream. ``faults`` gives faults, as ``Fault`` or as text (``"429@2"``), the
    share of requests that each befalls; every draw depends on ``seed``, on the request and on how often the
    same request came before, not on the order of arrival. ``requests_per_second`` lets bursts of one second's
    worth pass, and ``concurrency`` is how many requests may be in work; more than that gets 429 with
    ``Retry-After``. With ``api_key``, other keys get the service's 401. Without ``models``, any model name is
    served. Models that Playbill's table of families knows refuse what their service refuses, unknown fields among it,
    and think where they would; ``lenient`` lets all pass. ``service`` is the service on OpenAI's wire that is
    imitated, where it isn't OpenAI's own.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 0
    latency: float | tuple[float, float] = 0.0
    chunk_seconds: float = 0.0
    faults: Mapping[Fault | str, float] = field(default_factory=dict)
    requests_per_second: float | None = None
    concurrency: int | None = None
    api_key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    rules: tuple[ModelRule, ...] = ()
    lenient: bool = False
    service: str | None = None
    idle_seconds: float | None = None
    keep_requests: int = 10_000
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        FaultMix(self.faults)
        low, high = self.latency_range
        if not (0 <= low <= high < math.inf):
            raise ParameterError(f"mock latency {self.latency}: give seconds, or a range (low, high) of seconds")
        if self.requests_per_second is not None and not 0 < self.requests_per_second < math.inf:
            raise ParameterError(f"mock rate limit {self.requests_per_second}: must be above 0 requests a second")
        if self.service is not None and (self.service not in SERVICES or SERVICES[self.service].wire is None):
            raise ParameterError(f"mock service {self.service}: known are {', '.join(REMOTE)}")
        if self.concurrency is not None and self.concurrency < 1:
            raise ParameterError(f"mock concurrency {self.concurrency}: must be 1 or more")

    @property
    def latency_range(self) -> tuple[float, float]:
        """Shortest and longest latency, in seconds."""
        return self.latency if isinstance(self.latency, tuple) else (self.latency, self.latency)
