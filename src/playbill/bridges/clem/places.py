"""Find clemcore: the Python in whose environment games are played."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playbill.backends.errors import PlaybillError

__all__ = ["SIDE", "find_clem_python"]

SIDE = Path(__file__).parent / "side"
"""The folder of what runs in clemcore's environment."""

_FOLDERS = (".clem", ".venv", "venv")
_ASK = "from importlib.metadata import version; version('clemcore')"


def find_clem_python(named: str | None = None) -> Path:
    """Return the Python that has clemcore: the named one, ``PLAYBILL_CLEM_PYTHON``, this one, ``clem``'s, or one of a
    folder.

    Raises PlaybillError where there is none, saying how to make one.
    """
    if asked := named or os.environ.get("PLAYBILL_CLEM_PYTHON"):
        path = Path(shutil.which(asked) or asked)
        if not _has_clemcore(path):
            raise PlaybillError(f"{asked} is no Python that has clemcore; `{asked} -m pip install clemcore`")
        return path
    for path in _candidates():
        if _has_clemcore(path):
            return path
    raise PlaybillError(
        "clemcore is not to be found. It needs Python 3.10 to 3.12 and an environment of its own: "
        "`python3.12 -m venv .clem && .clem/bin/pip install clemcore`; or name a Python that has it with --clem-python"
    )


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable)
    if clem := shutil.which("clem"):
        yield from _python_of_script(Path(clem))
    for folder in _FOLDERS:
        for python in (Path(folder, "bin", "python"), Path(folder, "Scripts", "python.exe")):
            if python.exists():
                yield python.absolute()


def _python_of_script(script: Path) -> Iterator[Path]:
    """Yield the Python that an installed command runs with: it stands in its first line, or beside it."""
    for name in ("python", "python.exe"):
        if (beside := script.with_name(name)).exists():
            yield beside
    with script.open("rb") as file:
        first = file.readline(1000)
    if found := re.match(rb"#!\s*(\S+python[\w.]*)\s*$", first):
        yield Path(os.fsdecode(found[1]))


def _has_clemcore(python: Path) -> bool:
    try:
        done = subprocess.run([str(python), "-c", _ASK], capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
