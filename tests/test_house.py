"""How the house stands: layers point one way, imports are light, public names are listed, examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import playbill
import playbill.backends

ROOT = Path(playbill.__file__).parent
HEAVY = (
    "torch",
    "transformers",
    "xllamacpp",
    "huggingface_hub",
    "openai",
    "anthropic",
    "google.genai",
    "rich",
    "click",
)
BELOW = {
    "backends": {"backends"},
    "proof": {"backends", "proof"},
    "runs": {"backends", "runs"},
    "serve": {"backends", "runs", "serve"},
    "bridges": {"backends", "runs", "serve", "bridges"},
}
# Modules that need what is not everywhere installed; each names it.
NEEDS = {
    "playbill.backends.engines.huggingface_local": "torch",
    "playbill.backends.engines.llamacpp": "xllamacpp",
    "playbill.backends.engines.remote": "httpx2",
    "playbill.backends.engines.remote.wires.openai": "openai",
    "playbill.backends.engines.remote.wires.anthropic": "anthropic",
    "playbill.backends.engines.remote.wires.google": "google.genai",
    "playbill.mock_services": "h11",
    "playbill.serve.app": "starlette",
    "playbill.serve.guard": "starlette",
    "playbill.serve.pool": "psutil",
    "playbill.serve.server": "uvicorn",
    "playbill.bridges.clem.child": "uvicorn",
    "playbill.bridges.clem.play": "uvicorn",
    "playbill.bridges.clem.side": "clemcore",
}


def is_there(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False


def modules(package="playbill"):
    found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    return sorted(
        m.name
        for m in found
        if not m.name.endswith("__main__")
        and all(is_there(need) for start, need in NEEDS.items() if m.name.startswith(start))
    )


@pytest.mark.parametrize("module", ["playbill", "playbill.backends"])
def test_importing_loads_nothing_heavy(module):
    """No engine, no SDK, nothing of the command line; not even the template's interpreter."""
    code = f"import sys, {module}; print([m for m in {(*HEAVY, 'jinja2')!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def imports(path):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("layer", sorted(BELOW))
def test_layers_point_one_way(layer):
    """A layer knows those below it, and no other."""
    for path in (ROOT / layer).rglob("*.py"):
        for name in imports(path):
            if name.startswith("playbill."):
                part = name.split(".")[1]
                assert part in BELOW[layer] | {"__version__"}, f"{path} imports {name}"


def test_public_names_are_listed_sorted_and_there():
    """What is listed can be had, and stands where a reader looks for it."""
    names = playbill.backends.__all__
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    assert all(hasattr(playbill.backends, name) for name in names)


def test_every_error_and_every_name_of_the_contract_is_public():
    """An outsider needs no private module to catch or to make a thing."""
    errors = importlib.import_module("playbill.backends.errors").__all__
    promised = {"ModelSpec", "ModelRegistry", "render", "load_model", "Model", "Generation", "PlaybillError"}
    assert promised | {name for name in errors if name != "TemplateFault"} <= set(playbill.backends.__all__)
    for name in errors:
        error = getattr(importlib.import_module("playbill.backends.errors"), name)
        assert not issubclass(error, Exception) or issubclass(error, playbill.backends.PlaybillError)


@pytest.mark.parametrize("name", playbill.backends.__all__)
def test_every_public_name_is_documented(name):
    """Classes, functions, and what a class offers."""
    thing = getattr(playbill.backends, name)
    if not inspect.isclass(thing) and not inspect.isfunction(thing):
        return
    assert inspect.getdoc(thing), name
    assert not (thing.__doc__ or "").startswith(f"{name}("), "a generated docstring says nothing"


@pytest.mark.parametrize("name", modules())
def test_modules_say_what_they_are_and_list_what_exists(name):
    """Each opens with a docstring, and its __all__ has no name that isn't there."""
    module = importlib.import_module(name)
    assert module.__doc__
    assert all(hasattr(module, public) for public in getattr(module, "__all__", ()))


@pytest.mark.parametrize("name", modules("playbill.backends"))
def test_the_examples_in_docstrings_run(name, place):
    """And print what they say."""
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_some_examples_are_there():
    """The test above would pass without any."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [t for n in modules("playbill.backends") for t in finder.find(importlib.import_module(n)) if t.examples]
    assert len(found) >= 6


def test_modules_and_functions_are_short():
    """A module has at most 400 lines, a function at most 60."""
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}: {node.name}"
