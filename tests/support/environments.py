"""Environments of their own for tools that tests run: made under ``.venvs``, kept, and made anew when asked for more.

Knows no tool.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@cache
def environment(name: str, *requirements: str, below: tuple[int, int] = (4, 0)) -> Path:
    """The folder of an environment's commands. Where it can't be made the test is skipped, but never in CI.

    One whose ``requirements.txt`` has more than these serves as well: a benchmark's may share it.
    ``below`` is the first version of Python that the tool can't run on.
    """
    folder = ROOT / ".venvs" / name
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    made_with = folder / "requirements.txt"
    if made_with.exists() and set(requirements) <= set(made_with.read_text().split()):
        return commands
    python = _python(below)
    if python is None:
        pytest.skip(f"{name} needs a Python below {below[0]}.{below[1]}")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    # Our own pip, for theirs may be old, and slow to find versions that agree.
    pip = [sys.executable, "-m", "pip", "--python", str(commands / "python"), "--disable-pip-version-check"]
    done = subprocess.run([*pip, "install", "--quiet", *requirements], capture_output=True, text=True)
    if done.returncode:
        message = f"{name} could not be installed: {done.stderr[-500:]}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    made_with.write_text("\n".join(requirements))
    return commands


def _python(below: tuple[int, int]) -> str | None:
    if sys.version_info[:2] < below:
        return sys.executable
    names = [f"python3.{minor}" for minor in range(below[1] - 1, 10, -1)]
    return next((found for name in names if (found := shutil.which(name))), None)
