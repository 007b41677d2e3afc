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
IN_USE = Path(__file__).parents[3] / "shared" / "data" / "registries"


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


@pytest.mark.slow
def test_the_tables_of_the_registries_in_use_are_up_to_date():
    """If this fails: python tools/survey_registries.py FILE..., with the files that are named in the command."""
    if not IN_USE.is_dir():
        pytest.skip("the registries in use are not there")
    command = [sys.executable, TOOLS / "survey_registries.py", "--check", *sorted(IN_USE.glob("*.json"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: {' '.join(map(str, command))}"


def test_each_entry_has_its_line_in_the_table(tmp_path):
    """Usable, usable and why changed, refused and why: with what clemcore did."""
    nested = {"model_name": "b", "backend": "anthropic", "model_id": "claude-haiku-4-5"}
    entries = [
        {**planted.MOCK, "model_name": "a"},
        {**nested, "model_config": {"thinking_mode": True, "thinking_budget": 2048}},
        {**nested, "model_name": "c", "model_config": {"thinking_mode": True, "thinking_budget": 5}},
        {"model_name": "d", "backend": "alephalpha"},
    ]
    (tmp_path / "r.json").write_text(json.dumps(entries))
    page = tool("survey_registries").entry_page(tmp_path / "r.json")
    lines = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    assert [(line[0].strip("| "), line[1]) for line in lines] == [
        ("a", "usable"), ("b", "usable, changed"), ("c", "refused"), ("d", "refused")
    ]  # fmt: skip
    assert "'thinking_budget' is read as 'max_thinking_tokens'" in lines[1][2]
    assert "4,000" in lines[1][3]
    assert "1024 or more" in lines[2][2]
    assert "closed its API" in lines[3][2]
    assert "Of 4, 2 can be used, 1 of these" in page


def test_each_entry_with_pictures_has_its_line_in_the_table_of_pictures(tmp_path):
    """Those that run here first; a refused one says what is in the way. One that takes none isn't there."""
    sees = {"multimodality": {"single_image": True}}
    entries = [
        {"model_name": "a", "backend": "openai", "model_id": "gpt-4o", **sees},
        {**planted.entry(huggingface_id="OpenGVLab/InternVL2-8B"), "backend": "huggingface_local", **sees},
        {**planted.MOCK, "model_name": "blind"},
    ]
    (tmp_path / "r.json").write_text(json.dumps(entries))
    page = tool("survey_registries").picture_page([tmp_path / "r.json"])
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    assert [line[2:4] for line in lines] == [["huggingface_local", "refused"], ["openai", "usable"]]
    assert "PB151" in lines[0][4]
    assert "1 that run here, of which 0 can be used, and 1 of services" in page


def test_a_registry_is_summed_up_by_code(tmp_path):
    """Findings and entries are counted, and nothing of an entry is copied."""
    secret = {**planted.MOCK, "model_name": "secret-name", "colour": 1, "shape": 2}
    (tmp_path / "r.json").write_text(json.dumps([secret, planted.entry(padding_side="left"), "no entry"]))
    text = tool("survey_registries").section(tmp_path / "r.json")
    assert "3 entries: 1 of programmatic" in text
    assert "foreign-key | warning | 2 | 1 |" in text
    assert "1 entries could not be read" in text
    assert "secret-name" not in text
