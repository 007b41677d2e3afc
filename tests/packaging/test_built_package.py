"""The built sdist and wheel: complete, installable far from the clone, and usable without any extra."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

from support.assets import ROOT

NEEDED = (
    "playbill/py.typed",
    "playbill/backends/model_registry.json",
    "playbill/backends/model_registry.schema.json",
    "playbill/backends/registry/service_models.json",
    "playbill/demo/dialogues.jsonl",
    "playbill/runs/report/page.html",
    "playbill/runs/report/page.css",
    "playbill/runs/report/page.js",
    "playbill/bridges/clem/side/playbill_clem_client.py",
    "playbill/bridges/clem/side/playbill_clem_worker.py",
    "playbill/backends/prompt/template/_worker.py",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    if "No matching distribution" in done.stdout + done.stderr or "ConnectionError" in done.stdout:
        pytest.skip("the package index can't be reached, so there is nothing to build with")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_sdist_and_wheel_hold_all_that_is_read_at_run_time(built):
    """Data files beside the code are in both, and the wheel holds no tests."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in NEEDED if name not in names] == []
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert [name for name in NEEDED if f"src/{name}" not in inside] == []
    assert {"README.md", "CHANGELOG.md", "LICENSE", "docs/design.md"} <= inside


def test_the_wheel_works_in_an_environment_far_from_the_clone(built, tmp_path):
    """Without an extra: the version, the list, a run of the packaged dialogues, its audit and its page."""
    (wheel,) = built.glob("*.whl")
    place = tmp_path / "env"
    venv.create(place, with_pip=True)
    bin_ = place / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(bin_ / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    subprocess.run(pip, check=True, timeout=250)
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "PATH": os.environ["PATH"]}

    def playbill(*words: str) -> str:
        command = [str(bin_ / "playbill"), *words]
        done = subprocess.run(command, cwd=cwd, env=home, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert playbill("--version").startswith("playbill")
    assert "mock" in playbill("list")
    where = subprocess.run(
        [str(bin_ / "python"), "-c", "import playbill.demo, playbill.backends; print(playbill.demo.__path__[0])"],
        env=home, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert str(place) in where
    playbill("run", os.path.join(where, "dialogues.jsonl"), "-m", "mock", "-o", "out")
    records = [json.loads(line) for line in (cwd / "out" / "mock" / "records.jsonl").read_text().splitlines()]
    assert len(records) >= 14
    assert {record["outcome"] for record in records} == {"answered"}
    playbill("audit", "out")
    assert playbill("report", "out").strip() == os.path.join("out", "report.html")
