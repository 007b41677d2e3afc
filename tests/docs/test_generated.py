"""Generated docs are up to date, and what they show is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.backends.registry.fields.table import ENTRY_KEYS
from playbill.backends.registry.validate import flatten, judge_entry

ROOT = Path(__file__).parents[2]


def test_generated_docs_are_up_to_date():
    """If this fails: python tools/gendocs.py"""
    done = subprocess.run([sys.executable, ROOT / "tools" / "gendocs.py", "--check"], capture_output=True, text=True)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_every_key_has_its_line():
    """With its meaning."""
    page = (ROOT / "docs" / "reference" / "entries.md").read_text(encoding="utf-8")
    table = page.partition("<!-- generated: keys -->")[2].partition("<!-- end: keys -->")[0]
    for name in {*ENTRY_KEYS} - {*PARAMETERS}:
        assert table.count(f"\n| `{name}` |") == 1
    for name in PARAMETERS:
        assert page.count(f"\n| `{name}` |") == 1


def test_the_example_entry_is_right():
    """Nothing is said of it."""
    page = (ROOT / "docs" / "reference" / "entries.md").read_text(encoding="utf-8")
    example = re.search(r"```json\n(\[.*?\n\])\n```", page, re.DOTALL)
    assert example
    assert [judge_entry(flatten(entry)) for entry in json.loads(example[1])] == [()]
