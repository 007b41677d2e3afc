"""The clembench bridge without clemcore: what is written into a folder, and how clemcore is looked for."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from playbill.backends import FileFormatError, ModelRegistry, PlaybillError
from playbill.bridges.clem.places import SIDE, find_clem_python
from playbill.bridges.clem.prepare import prepare_folder

MINE = {"model_name": "mine", "backend": "programmatic", "answers": ["yes"]}


def entries(folder: Path):
    return json.loads((folder / "model_registry.json").read_text())


def test_a_prepared_folder_has_a_backend_that_clemcore_finds(place):
    """One file that ends in _api.py, with one class, that names this Python and nothing that isn't there."""
    prepare_folder(place, ["mine"])
    (backend,) = place.glob("*_api.py")
    tree = ast.parse(backend.read_text())
    assert [node.name for node in tree.body if isinstance(node, ast.ClassDef)] == ["Playbill"]
    assert repr(sys.executable) in backend.read_text()
    assert (SIDE / "playbill_clem_client.py").exists()


def test_entries_for_clemcore_come_first_and_others_stay(place):
    """A second call replaces what the first wrote, and nothing else."""
    (place / "model_registry.json").write_text(json.dumps([MINE]))
    prepare_folder(place, ["mine", "other"])
    prepare_folder(place, ["mine"])
    assert entries(place) == [{"model_name": "mine", "backend": "playbill"}, MINE]


def test_playbill_passes_over_entries_that_point_clemcore_to_it(place):
    """In a prepared folder a name still means the model that it meant before."""
    (place / "model_registry.json").write_text(json.dumps([MINE]))
    prepare_folder(place, ["mine", "mock"])
    registry = ModelRegistry.load()
    assert registry.find("mine").answers == ["yes"]
    assert [entry.name for entry in registry].count("mock") == 1


def test_a_registry_that_is_no_list_is_left_alone(place):
    """Nothing is written over what was not understood."""
    (place / "model_registry.json").write_text("{}")
    with pytest.raises(FileFormatError):
        prepare_folder(place, ["mine"])
    assert (place / "model_registry.json").read_text() == "{}"


def test_without_clemcore_the_message_says_how_to_get_it(place, monkeypatch):
    """No environment with clemcore is found: the lines that make one are said."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("PLAYBILL_CLEM_PYTHON", raising=False)
    with pytest.raises(PlaybillError, match="pip install clemcore"):
        find_clem_python()
    with pytest.raises(PlaybillError, match="no Python that has clemcore"):
        find_clem_python(sys.executable)


def test_models_whose_order_can_not_be_known_are_refused(place):
    """Several names after the first of two -m: who plays whom would be a guess, so the command says what to do."""
    command = [sys.executable, "-m", "playbill", "clem", "run", "-g", "taboo", "-m", "mock", "mock", "-m", "mock"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "each with its own -m" in done.stderr


@pytest.mark.parametrize("file", sorted(SIDE.glob("*.py")), ids=lambda path: path.stem)
def test_what_runs_in_clemcores_environment_needs_no_playbill(file):
    """It imports the standard library, clemcore, and each other, and is written for the oldest Python there."""
    for node in ast.walk(ast.parse(file.read_text(), feature_version=(3, 10))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names | {"clemcore", "playbill_clem_client"}, name


def start_child(folder, selector) -> subprocess.Popen[bytes]:
    """A child, started as the backend file in a prepared folder starts it."""
    prepare_folder(folder, ["mock"])
    tree = ast.parse((folder / "playbill_api.py").read_text())
    (told,) = (n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "COMMAND")
    child = subprocess.Popen(ast.literal_eval(told), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdin.write(json.dumps(selector).encode() + b"\n")
    child.stdin.flush()
    return child


def test_a_child_tells_where_it_answers_and_ends_with_who_started_it(place):
    """It names address, key and the entry it found; once stdin is closed it is gone."""
    pytest.importorskip("uvicorn")
    with start_child(place, {"model_name": "mock"}) as child:
        told = json.loads(child.stdout.readline())
        assert told["url"].startswith("http://127.0.0.1:")
        assert told["entry"]["backend"] == "programmatic"
        child.stdin.close()
        assert child.wait(timeout=30) == 0


def test_a_child_runs_no_code_of_the_working_directory(place):
    """A file there that is called like a module of Python is not imported."""
    pytest.importorskip("uvicorn")
    (place / "json.py").write_text("raise SystemExit('executed')")
    with start_child(place, {"model_name": "mock"}) as child:
        assert "url" in json.loads(child.stdout.readline())
        child.stdin.close()
        assert child.wait(timeout=30) == 0


def test_a_child_that_cannot_load_says_why(place):
    """The error is told as data, for clemcore's user to read."""
    pytest.importorskip("uvicorn")
    with start_child(place, {"model_name": "no-such-model"}) as child:
        told = json.loads(child.stdout.readline())
        assert "no model is called 'no-such-model'" in told["error"]
        assert child.wait(timeout=30) == 2
