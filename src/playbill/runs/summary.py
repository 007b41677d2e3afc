"""Sum up a model's records, as data. Prints nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from playbill.backends.generation import Outcome
from playbill.runs.rates import Rate

__all__ = ["ModelSummary", "Tally", "fault_of", "kind_of_fault"]


_KINDS = 50
_FAILED = ("error", "context_exceeded", "refused")
_VARIABLE = re.compile(r"\d[\d.,]*|'[^']*'|\"[^\"]*\"")


def fault_of(record: Mapping[str, Any]) -> str | None:
    """Return what a record's turn failed with, in words; None where it didn't."""
    error = record.get("error")
    if record["outcome"] not in _FAILED or not isinstance(error, Mapping):
        return None
    return str(error.get("message") or error.get("type") or record["outcome"])


def kind_of_fault(message: str) -> str:
    """Return what messages of one kind have in common: they differ in numbers and in what is quoted.

    >>> kind_of_fault("call 7 fails: 'a'") == kind_of_fault("call 14 fails: 'b'")
    True
    """
    return _VARIABLE.sub("…", message)[:300]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """One model of a run.

    ``outcomes`` counts records by outcome. Tokens are those that engine or service counted, over all records;
    None where none was counted. ``new_records``, ``new_output_tokens`` and ``seconds`` (on the clock, loading
    aside) are of this start alone. ``tokens_per_second`` is over all records, by `playbill.runs.rates`, as in the
    report; None where nothing was generated, or in too short a time to tell. ``missing`` is how many turns
    are still to be asked. ``problem`` says why the model was not run to its end.
    """

    label: str
    records: int
    outcomes: Mapping[str, int]
    input_tokens: int | None
    output_tokens: int | None
    tokens_per_second: float | None = None
    new_records: int = 0
    new_output_tokens: int = 0
    seconds: float = 0.0
    missing: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    """What turns failed with: the first message of each kind, and how many there are of it."""
    problem: str | None = None
    fatal: bool = False
    """Whether the problem would stop every other model of this process as well."""

    @property
    def errors(self) -> int:
        return self.outcomes.get(Outcome.ERROR.value, 0)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Tally:
    """Counts records as they come."""

    records: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    input_tokens: int | None = None
    output_tokens: int | None = None
    rate: Rate = field(default_factory=Rate)
    faults: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By kind, the first message and how many there are."""

    def add(self, record: Mapping[str, Any]) -> None:
        self.records += 1
        self.outcomes[record["outcome"]] += 1
        if (fault := fault_of(record)) is not None:
            kind = kind_of_fault(fault)
            if kind in self.faults or len(self.faults) < _KINDS:
                first, count = self.faults.get(kind, (fault, 0))
                self.faults[kind] = first, count + 1
        self.rate.add(record)
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
            tokens_per_second=self.rate.per_second,
            faults=dict(self.faults.values()),
            **of_this_start,
        )


def _plus(total: int | None, count: int | None) -> int | None:
    return total if count is None else (total or 0) + count
