"""The tests of bodies and headers, with the lowest and with the newest official clients that the extras admit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from support.environments import ROOT, environment

EXTRAS = ("openai", "anthropic", "google", "serve")
JUDGES = ("test_sdk_types.py", "test_headers.py", "test_silence.py")


def requirements():
    """What Playbill and the extras of the services need, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *(r for name in EXTRAS for r in project["optional-dependencies"][name])]
    return sorted(set(listed))


def lowest(requirement):
    """The requirement, pinned to the lowest version that it admits."""
    bounds = [s.version for s in Requirement(requirement).specifier if s.operator == ">="]
    return f"{Requirement(requirement).name}=={bounds[0]}"


CLIENTS = [r for r in requirements() if re.match("openai|anthropic|google-genai|httpx2", r)]


def test_the_clients_have_upper_bounds_on_majors():
    """A new major changed what is sent unasked, twice."""
    assert len(CLIENTS) == 4
    for requirement in map(Requirement, CLIENTS):
        specifiers = {s.operator: s.version for s in requirement.specifier}
        assert int(specifiers["<"]) == int(specifiers[">="].partition(".")[0]) + 1, requirement


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("which", ["lowest", "newest"])
def test_bodies_and_headers_with_the_clients_that_the_extras_admit(which):
    """Bodies by the clients' own types, headers at a socket, and what is prevented or said."""
    pins = [lowest(r) for r in CLIENTS] if which == "lowest" else CLIENTS
    others = [r for r in requirements() if r not in CLIENTS]
    bare = [r.replace(" ", "") for r in (*pins, *others, "pytest>=9", "pytest-timeout>=2.4")]
    commands = environment(f"clients-{which}", *bare)
    if which == "newest":  # an environment that is kept gets older
        pip = [sys.executable, "-m", "pip", "--python", str(commands / "python"), "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", *pins], check=True)
    done = subprocess.run(
        [commands / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *JUDGES],
        cwd=os.path.dirname(__file__),
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"\d{3} passed", done.stdout), "they were not skipped"
    assert "skipped" not in done.stdout
