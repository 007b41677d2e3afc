"""How the house stands: layers point one way, imports are light, public names are listed, examples run."""

from __future__ import annotations

import ast
import collections.abc
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import typing
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

import playbill
import playbill.backends
import playbill.replicas

ROOT = Path(playbill.__file__).parent
HEAVY = (
    "torch",
    "transformers",
    "xllamacpp",
    "huggingface_hub",
    "openai",
    "anthropic",
    "google.genai",
    "ray",
    "rich",
    "click",
)
# The layers of the package, and which others each may import.
BELOW = {
    "backends": {"backends"},
    "bench": {"backends", "bench"},
    "proof": {"backends", "proof"},
    "replicas": {"backends", "replicas"},
    "runs": {"backends", "replicas", "runs"},
    "serve": {"backends", "replicas", "runs", "mock_services", "serve"},
    "mock_services": {"backends", "mock_services"},
    "bridges": {"backends", "runs", "serve", "bridges"},
}
# The rooms of backends, from the ground up, and which others each may import. docs/design.md draws them.
ROOMS = {
    "errors": {"common"},
    "common": {"errors"},
    "registry": {"common", "errors"},
    "credentials": {"common", "errors", "registry"},
    "prompt": {"common", "errors", "registry"},
    "generation": {"registry", "prompt"},
    "answer": {"common", "errors", "registry", "prompt"},
    "weights": {"common", "errors", "registry", "credentials"},
    "engines": {"common", "errors", "registry", "credentials", "generation", "prompt", "answer", "weights"},
    "request": {"common", "errors", "registry", "generation", "prompt", "answer", "engines"},
    "model": {"common", "errors", "registry", "generation", "prompt", "answer", "engines", "request"},
    "loading": {"common", "errors", "registry", "credentials", "generation", "prompt", "engines", "model"},
}
ENGINES = {
    "checkpoint": set(),
    "huggingface_local": {"checkpoint"},
    "vllm": {"checkpoint"},
    "llamacpp": set(),
    "remote": set(),
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
    "playbill.serve.metrics": "prometheus_client",
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


def room_imports(room):
    """What the modules of a room of backends import from other rooms: the module that does, and the name."""
    found = ROOT / "backends" / room
    for path in found.rglob("*.py") if found.is_dir() else [found.with_suffix(".py")]:
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] == ["playbill", "backends"] and len(parts) > 2 and parts[2] != room:
                yield path, parts[2]


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_of_backends_imports_those_below_it_only(room):
    """Imports for types are counted too."""
    for path, other in room_imports(room):
        assert other in ROOMS[room], f"{path} imports from {other}"


def test_every_room_of_backends_is_drawn():
    """In the table above, and in docs/design.md."""
    there = {p.stem for p in (ROOT / "backends").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert there - {"__init__", "__pycache__"} == set(ROOMS)
    drawing = (Path(__file__).parents[1] / "docs" / "design.md").read_text(encoding="utf-8")
    assert [room for room in ROOMS if f"    {room} " not in drawing] == []


def test_twenty_questions_lead_to_a_file_or_folder():
    """Each path of the table "Where is it decided?" exists, at most two steps below its room."""
    page = (Path(__file__).parents[1] / "docs" / "design.md").read_text(encoding="utf-8")
    table = page.partition("### Where is it decided?")[2].partition("\n### ")[0]
    paths = re.findall(r"\| `([^`]+)` \|$", table, re.MULTILINE)
    assert len(paths) >= 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_an_engine_knows_no_other(engine):
    """What two of them share stands in a room of its own, or beside them."""
    for path in (ROOT / "backends" / "engines" / engine).rglob("*.py"):
        others = {name.split(".")[3] for name in imports(path) if name.startswith("playbill.backends.engines.")}
        assert others & set(ENGINES) <= ENGINES[engine] | {engine}, path


def test_a_folder_of_backends_is_taken_in_at_a_glance():
    """At most fifteen entries, so that a reader who lists it knows where to look."""
    for folder in [ROOT / "backends", *(p for p in (ROOT / "backends").rglob("*") if (p / "__init__.py").exists())]:
        entries = [p.name for p in folder.iterdir() if p.name not in ("__pycache__", "__init__.py")]
        assert len(entries) <= 15, folder


def test_no_class_name_occurs_twice_in_backends():
    """One name, one thing."""
    names = [
        node.name
        for path in (ROOT / "backends").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted(n for n in set(names) if names.count(n) > 1) == []


WORDS = (
    "KV cache",
    "prefix caching",
    "batch-invariant",
    "AIMD",
    "exponential backoff",
    "circuit breaker",
    "prefill",
    "detokenizer",
)


@pytest.mark.parametrize("word", WORDS)
def test_the_fields_words_are_used(word):
    """A reader who searches for the term finds the code."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "backends").rglob("*.py"))
    assert any(word.lower() in " ".join(text.split()).lower() for text in texts)


def types_in(annotation):
    """The classes that an annotation names, in whatever it is nested."""
    if inspect.isclass(annotation) and not typing.get_args(annotation):
        yield annotation
    for inner in typing.get_args(annotation):
        for each in inner if isinstance(inner, (list, tuple)) else [inner]:
            yield from types_in(each)


def signatures(name, thing):
    """What a public thing's functions, properties and attributes are annotated with."""
    if not inspect.isclass(thing):
        yield name, thing
        return
    yield name, thing
    for part, value in inspect.getmembers(thing):
        function = value.fget if isinstance(value, property) else value
        if (part == "__init__" or not part.startswith("_")) and (
            inspect.isfunction(function) or inspect.ismethod(function)
        ):
            yield f"{name}.{part}", function


@pytest.mark.parametrize("package", ["playbill.backends", "playbill.runs"])
def test_every_type_in_a_public_signature_is_public(package):
    """A caller can name whatever a public function takes or returns."""
    module = importlib.import_module(package)
    known = (module, playbill.backends, playbill.replicas)
    public = {getattr(m, n) for m in known for n in m.__all__ if inspect.isclass(getattr(m, n))}
    for name in module.__all__:
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        for where, signature in signatures(name, thing):
            scope = {**vars(collections.abc), "datetime": datetime, **vars(playbill.backends)}
            for part, annotation in typing.get_type_hints(signature, localns=scope).items():
                if part.startswith("_"):
                    continue
                for each in types_in(annotation):
                    if each.__module__.startswith("playbill") and not each.__name__.startswith("_"):
                        assert each in public, f"{where}: {part} is a {each.__module__}.{each.__name__}"


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
