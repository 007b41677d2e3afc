"""What CONTRIBUTING.md and SECURITY.md name is there, and the files of a contributor's tools agree with each other."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from support.assets import ROOT


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_path_that_the_page_names_exists(page):
    """A newcomer who follows it finds each file and folder."""
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:src|tests|docs|tools|benchmarks)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_make_target_that_the_pages_name_exists():
    """`make test` and its like."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "CONTRIBUTING.md"))
    named = {word for call in re.findall(r"(?:^|`)make ([a-z -]+)", text, re.MULTILINE) for word in call.split()}
    assert {"demo", "test", "lint", "types"} <= named
    assert [target for target in named if f"\n{target}:" not in makefile] == []


def test_the_lock_names_versions_and_nothing_of_the_machine_that_wrote_it():
    """No address, no path, no local build of a package: each line is a name and a version."""
    head, *lines = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8").splitlines()
    assert head.startswith("# ")
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)] == []


def test_the_linters_before_a_commit_are_those_of_the_lock():
    """A commit that ruff lets pass here is formatted as `make lint` wants it; refresh both together."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (rev,) = (repo["rev"] for repo in hooks if repo["repo"].endswith("/ruff-pre-commit"))
    assert f"ruff=={rev.removeprefix('v')}" in (ROOT / "requirements-dev.lock").read_text(encoding="utf-8").split()


def test_the_workflow_tests_each_declared_python_on_each_system():
    """The Pythons of pyproject.toml's classifiers, on Linux, macOS and Windows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [name for c in project["classifiers"] for name in re.findall(r"Python :: (3\.\d+)$", c)]
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))["jobs"]
    assert {name: job["strategy"]["matrix"]["python"] for name, job in jobs.items()} == dict.fromkeys(jobs, declared)
    systems = {os for job in jobs.values() for os in job["strategy"]["matrix"].get("os", [job["runs-on"]])}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
