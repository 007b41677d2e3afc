"""`playbill demo`: it puts its files into a folder, runs them, and leaves what a user changed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from playbill.backends import ModelRegistry, Severity
from playbill.backends.registry.backends import BACKENDS
from playbill.cli.demo import MODEL, put_files
from playbill.proof import Options, check_all
from support.pages import ROOT


def test_it_ends_with_records_and_a_report(playbill, place):
    """Their paths are the last lines on stdout."""
    code, out, err = playbill("demo", "-m", "mock")
    assert code == 0, err
    *_, records, report = out.splitlines()
    assert records == "records: playbill-demo/run/mock/records.jsonl"
    assert report == "report:  playbill-demo/run/report.html"
    assert len((place / "playbill-demo/run/mock/records.jsonl").read_text().splitlines()) == 34
    assert "<html" in (place / "playbill-demo/run/report.html").read_text()[:200]


def test_a_folder_can_be_named_and_models_join_the_same_run(playbill, place):
    """A second model is run beside the first, and the report has both."""
    assert playbill("demo", "there", "-m", "mock")[0] == 0
    code, out, _ = playbill("demo", "there", "-m", "scripted")
    assert code == 0
    assert "there/run/scripted/records.jsonl" in out
    manifest = json.loads((place / "there/run/manifest.json").read_text())
    assert list(manifest["models"]) == ["mock", "scripted"]


def test_a_changed_file_is_never_overwritten(playbill, place):
    """It is used as it is, which is said."""
    put_files(place / "playbill-demo")
    dialogues = place / "playbill-demo" / "dialogues.jsonl"
    dialogues.write_text('{"id": "mine", "turns": ["Hello!"]}\n')
    code, _, err = playbill("demo", "-m", "mock")
    assert code == 0
    assert dialogues.read_text() == '{"id": "mine", "turns": ["Hello!"]}\n'
    assert "playbill-demo/dialogues.jsonl differs from the packaged file; it stays as it is" in err
    assert len((place / "playbill-demo/run/mock/records.jsonl").read_text().splitlines()) == 1


def test_without_the_packages_it_says_what_to_type(playbill, place):
    """The line to install, and the demo that needs nothing; nothing is run."""
    backend = next((b for b in BACKENDS.values() if b.missing()), None)
    if backend is None:
        pytest.skip("every backend is installed here")
    code, _, err = playbill("demo", "-m", json.dumps({"model_name": "any", "backend": backend.name}))
    assert code == 2
    assert backend.install in err
    assert "playbill demo -m mock" in err
    assert not (place / "playbill-demo" / "run").exists()


def test_a_folder_that_cannot_be_made_is_an_error(playbill, place):
    """A file stands where the folder would be."""
    (place / "taken").write_text("")
    code, _, err = playbill("demo", "taken", "-m", "mock")
    assert code == 2
    assert "name another folder: playbill demo FOLDER" in err


@pytest.mark.parametrize("name", ["model_registry.json", "services.json", "clembench-registry.json"])
def test_the_packaged_registries_are_right(name, tmp_path):
    """No entry has an error or a warning."""
    put_files(tmp_path)
    registry = ModelRegistry.from_file(tmp_path / name)
    verdicts = check_all(list(registry), registry, Options(fetch=False))
    assert [(v.name, f.code) for v in verdicts for f in v.findings if f.severity is not Severity.NOTE] == []


def test_the_demo_model_stands_in_one_place():
    """The demo's warm model, and clembench's sample, have the weights of the packaged entry."""
    wanted = next(entry for entry in ModelRegistry.load() if entry.name == MODEL).flat.entry["huggingface_id"]
    folder = Path(str(files("playbill.demo")))
    for name in ("model_registry.json", "clembench-registry.json"):
        ids = [entry.get("huggingface_id") for entry in json.loads((folder / name).read_text())]
        assert wanted in ids


def test_make_demo_runs_the_same_dialogues():
    """The Makefile's demo reads the packaged file and names the same model."""
    makefile = (ROOT / "Makefile").read_text()
    assert f"DEMO_MODEL := {MODEL}" in makefile
    assert "DEMO_INPUT := src/playbill/demo/dialogues.jsonl" in makefile


def test_the_command_line_stays_fast():
    """`playbill demo --help` imports no report and no rich."""
    code = "import sys, playbill.cli.demo; print({'rich', 'playbill.runs.report'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
