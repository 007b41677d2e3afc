"""The limits that the project sets itself, counted from its own code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_house_keeps_its_limits():
    """No module over 400 lines, no import cycle, no test that asserts nothing, at most ten patches."""
    done = subprocess.run([sys.executable, ROOT / "tools" / "measure.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
