"""Counted things in messages: one helper, and no place that goes without it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import playbill
from playbill.backends.common.words import counted

SOURCE = Path(playbill.__file__).parent
# A count that a message puts before a plural. What can't be one (a limit, a time, a list) is none of these.
_COUNT = re.compile(
    r"\{(?:len\([^{}]*\)|[\w.]*(?:\.dialogues|\.records|\.turns|\.deaths|_tokens|attempts|messages|counts\.\w+)"
    r"|count|twice|failed|turns|redone)\}[ ](?:\w+[ ])?"
    r"(?:dialogues|conversations|models|replicas|records|turns|entries|tokens|attempts|messages|characters|ids|calls"
    r"|problems)\b"
)


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries"), (1234567, "1234567 entries")]
)
def test_a_number_and_its_noun_agree(number, said):
    """Zero and many take the plural, one the singular."""
    assert counted(number, "entry") == said


def test_no_message_counts_by_itself():
    """No source file writes `model(s)`, or a count before a fixed plural where the count may be one."""
    several = "images|shown"  # these are known to be more than one
    found = [
        f"{path.relative_to(SOURCE)}: {match[0]}"
        for path in SOURCE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        for match in re.finditer(rf"\}} \w+\(s\)|{_COUNT.pattern}", line)
        if not re.search(several, match[0])
    ]
    assert found == []


@pytest.mark.parametrize("name", ["one", "two"])
def test_the_commands_of_a_small_run_agree(playbill, place, name):
    """run, audit, replay, list and check say `1 dialogue`, never `1 dialogues`, and `2 dialogues` likewise."""
    dialogues = [{"id": str(n), "turns": ["Hello!"]} for n in range(2 if name == "two" else 1)]
    (place / "in.jsonl").write_text("".join(json.dumps(d) + "\n" for d in dialogues))
    (place / "mine.json").write_text(json.dumps([{"model_name": "m", "backend": "programmatic"}]))
    said = ""
    for command in ("run in.jsonl -m mock -o out", "audit out", "replay out", "check mine.json", "list mock"):
        said += "".join(map(str, playbill(*command.split())[1:]))
    noun = "1 dialogue" if name == "one" else "2 dialogues"
    assert f"{noun}," in said
    assert not re.search(r"(?<![\d,.])1 \w+s\b(?<!\bis)", said), said
    assert "(s)" not in said
