"""What comes of a run, finished or interrupted, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from playbill.runs.folder.record import Record
from playbill.runs.folder.store import read_records
from playbill.runs.summary import ModelSummary

__all__ = ["RunInterrupted", "RunResult"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run: its folder, a summary for each model, and where each one's records are."""

    folder: Path
    models: Mapping[str, ModelSummary]
    files: Mapping[str, Path]

    @property
    def ok(self) -> bool:
        """Whether every turn of every model was recorded, none of them as an `error`."""
        return not any(m.errors or m.missing or m.problem for m in self.models.values())

    def records(self, label: str | None = None) -> Iterator[Record]:
        """Yield the records of one model, or of all, as they stand in their files."""
        for path in self.files.values() if label is None else [self.files[label]]:
            if path.exists():
                yield from read_records(path)


class RunInterrupted(KeyboardInterrupt):
    """A signal ended a run. What was finished is recorded, and ``result`` says how far it came.

    ``drained``: it was SIGTERM or SIGUSR1, and what was running was finished first.
    """

    def __init__(self, result: RunResult, *, drained: bool = False) -> None:
        how = "asked to end" if drained else "interrupted"
        if not any(summary.records for summary in result.models.values()):
            said = f"{how} before anything was recorded; the same call begins anew"
        elif drained:
            said = f"{how}; running answers were finished, and the same call goes on in {result.folder}"
        else:
            said = f"{how}; {result.folder} keeps what is finished, and the same call goes on there"
        super().__init__(said)
        self.result = result
        self.drained = drained
