"""Folders of runs for fuzzing: fresh ones, and what it means that one can be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from playbill.runs.audit.ours import read_line
from playbill.runs.folder.fields import wrong_field
from playbill.runs.folder.store import read_records
from support.fuzzing import command

__all__ = ["fresh", "read_back", "readable_line"]


def fresh(place: Path) -> Path:
    """A path at which nothing is."""
    folder = place / "run"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def readable_line(line: bytes) -> None:
    """Hold one written record against each of our readers."""
    record = json.loads(line)
    assert wrong_field(record) is None, wrong_field(record)
    assert read_line(line) is not None


def read_back(folder: Path) -> None:
    """Hold a run's folder against all that reads it: records, audit, replay and report. None may refuse it."""
    for path in folder.glob("*/records.jsonl"):
        for record in read_records(path):
            assert wrong_field(record) is None, wrong_field(record)
        for line in path.read_bytes().splitlines(keepends=True):
            readable_line(line)
    for name in ("audit", "replay", "report"):
        code, _, err = command(name, str(folder))
        assert code != 2, err
