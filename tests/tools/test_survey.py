"""The pages that sum up what was found in templates and registries are generated, and true."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import support.proof_planted as planted
from support.assets import models_folder

TOOLS = Path(__file__).parents[2] / "tools"


def tool(name: str):
    """A script of the tools folder as a module."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_page_of_templates_is_up_to_date():
    """If this fails: python tools/survey_templates.py FOLDER, with the folder that is named in the command."""
    pytest.importorskip("xllamacpp")
    command = [sys.executable, TOOLS / "survey_templates.py", models_folder(), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: {' '.join(map(str, command[:-1]))}"


def test_a_registry_is_summed_up_by_code(tmp_path):
    """Findings and entries are counted, and nothing of an entry is copied."""
    secret = {**planted.MOCK, "model_name": "secret-name", "colour": 1, "shape": 2}
    (tmp_path / "r.json").write_text(json.dumps([secret, planted.entry(padding_side="left"), "no entry"]))
    text = tool("survey_registries").section(tmp_path / "r.json")
    assert "3 entries: 1 of programmatic" in text
    assert "foreign-key | warning | 2 | 1 |" in text
    assert "1 entries could not be read" in text
    assert "secret-name" not in text
