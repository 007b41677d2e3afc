"""Sum up a model's records, as data. Prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from playbill.backends.generation import Outcome

__all__ = ["ModelSummary", "Tally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """One model of a run.

    ``outcomes`` counts records by outcome. Tokens are those that engine or service counted, over all records;
    None where none was counted. ``new_records``, ``new_output_tokens`` and ``seconds`` (on the clock, loading
    aside) are of this start alone, and ``tokens_per_second`` is made of them. ``missing`` is how many turns
    are still to be asked. ``problem`` says why the model was not run to its end.
    """

    label: str
    records: int
    outcomes: Mapping[str, int]
    input_tokens: int | None
    output_tokens: int | None
    new_records: int = 0
    new_output_tokens: int = 0
    seconds: float = 0.0
    missing: int = 0
    problem: str | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens a second in this start; None where nothing was generated."""
        return self.new_output_tokens / self.seconds if self.new_output_tokens and self.seconds > 0 else None

    @property
    def errors(self) -> int:
        return self.outcomes.get(Outcome.ERROR.value, 0)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "tokens_per_second": self.tokens_per_second}


@dataclass(slots=True)
class Tally:
    """Counts records as they come."""

    records: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    input_tokens: int | None = None
    output_tokens: int | None = None

    def add(self, record: Mapping[str, Any]) -> None:
        self.records += 1
        self.outcomes[record["outcome"]] += 1
        usage = record.get("usage") or {}
        self.input_tokens = _plus(self.input_tokens, usage.get("input_tokens"))
        self.output_tokens = _plus(self.output_tokens, usage.get("output_tokens"))

    def summary(self, label: str, **of_this_start: Any) -> ModelSummary:
        """Return the totals under a label; ``of_this_start`` are further fields of ModelSummary."""
        return ModelSummary(
            label=label,
            records=self.records,
            outcomes={o.value: self.outcomes[o.value] for o in Outcome if self.outcomes[o.value]},
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            **of_this_start,
        )


def _plus(total: int | None, count: int | None) -> int | None:
    return total if count is None else (total or 0) + count
