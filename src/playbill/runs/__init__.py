"""Runs: dialogues in, records out. Knows models only as `playbill.backends.Model`, and no command line."""

from playbill.runs.folder.merge import Merged, merge
from playbill.runs.folder.store import read_records
from playbill.runs.inputs.dialogue import Dialogue
from playbill.runs.inputs.inputs import InputFile, Inputs, open_inputs
from playbill.runs.inputs.shard import Shard
from playbill.runs.observer import Observer, Plan, Silent, Tick, Workload
from playbill.runs.result import RunInterrupted, RunResult
from playbill.runs.run import run
from playbill.runs.selection import parse_model
from playbill.runs.summary import ModelSummary

__all__ = [
    "Dialogue",
    "InputFile",
    "Inputs",
    "Merged",
    "ModelSummary",
    "Observer",
    "Plan",
    "RunInterrupted",
    "RunResult",
    "Shard",
    "Silent",
    "Tick",
    "Workload",
    "merge",
    "open_inputs",
    "parse_model",
    "read_records",
    "run",
]
