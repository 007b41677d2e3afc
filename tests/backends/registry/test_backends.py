"""The backends that there are, and what becomes of strangers' packages that bring more."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from playbill.backends import BACKENDS, Backend, BackendUnavailable, load_model
from playbill.backends.registry.backends import backends_of
from playbill.backends.registry.fields.table import ENTRY_KEYS, EVERY, METADATA

STRANGER = """
from playbill.backends import Backend
MINE = Backend("mine", "a stranger's", "stranger_engine")
TAKEN = Backend("llamacpp", "a stranger's", "stranger_engine")
NOTHING = 3
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """An installed package with a backend, another of a name that is taken, and several broken ones."""
    (tmp_path / "stranger_backend.py").write_text(STRANGER)
    (tmp_path / "stranger_broken.py").write_text("import a_package_that_nobody_has")
    (tmp_path / "stranger_exits.py").write_text("raise RuntimeError('\\x1b[2J')")
    monkeypatch.syspath_prepend(tmp_path)
    values = ["stranger_broken:B", "stranger_exits:B", "stranger_backend:NOTHING", "stranger_backend:GONE"]
    values += ["stranger_backend:TAKEN", "stranger_backend:MINE"]
    yield [EntryPoint(f"p{i}", value, "playbill.engines") for i, value in enumerate(values)]
    for name in [name for name in sys.modules if name.startswith("stranger_")]:
        del sys.modules[name]


def test_a_broken_package_is_said_once_and_stops_no_other(stranger, caplog):
    """Its neighbours' backends are there; a built-in name can't be taken over."""
    with caplog.at_level(logging.WARNING):
        first, again = backends_of(stranger), backends_of(stranger)
    assert list(first) == list(again) == ["mine"]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)) == 5
    assert any("No module named 'a_package_that_nobody_has'" in line for line in said)
    assert any("'llamacpp' of stranger_backend:TAKEN is left out" in line for line in said)
    assert "\x1b" not in "".join(said)


def test_backends_are_found_by_name_and_by_nothing_else():
    """Whatever an entry says in its place."""
    assert BACKENDS["human"].name == "human"
    assert all(name not in BACKENDS for name in ("nope", "", None, 3, ["human"], {"a": 1}))
    assert BACKENDS.get([]) is None
    assert len(BACKENDS) == len(set(BACKENDS))


def test_what_is_missing_is_found_out_without_importing():
    """Also for parts of packages that aren't there."""
    row = Backend("b", "", "m", ("json", "no_such_package", "no_such_package.part"))
    assert row.missing() == ("no_such_package", "no_such_package.part")


def test_a_backend_whose_packages_are_missing_says_the_pip_line(place, monkeypatch):
    """Its code is not touched."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(
        BackendUnavailable, match=r'xllamacpp, which is not installed here; .*pip install "playbill\[llama'
    ):
        load_model("SmolLM2-135M-Instruct-Q4")


def test_every_reader_in_the_table_of_keys_is_a_backend():
    """A key that a backend reads or requires names one that exists, and a required key is read."""
    for key in ENTRY_KEYS.values():
        for name in (*key.read_by, *key.required_by):
            assert name in BACKENDS or name == EVERY[0]
        assert key.read_by == EVERY or set(key.required_by) <= set(key.read_by)


def test_every_key_that_is_said_to_be_read_is_read_somewhere():
    """Some code outside the tables names it; parameters are read through their own table."""
    import playbill.backends
    from playbill.backends.registry.backends import BUILT_IN
    from playbill.backends.registry.fields.parameters import PARAMETERS
    from playbill.backends.registry.services import REMOTE
    from playbill.backends.registry.unsupported import UNSUPPORTED

    code = "".join(
        path.read_text(encoding="utf-8")
        for room in ("backends", "replicas", "runs")
        for path in (Path(playbill.backends.__file__).parents[1] / room).rglob("*.py")
        if path.name != "unsupported.py"
        and (path.parent.name != "fields" or path.name in ("conflicts.py", "multimodality.py"))
    )
    engines = Path(playbill.backends.__file__).parent / "engines"
    built = {*REMOTE, *(name for name in BUILT_IN if (engines / name).exists() or (engines / f"{name}.py").exists())}
    for key in ENTRY_KEYS.values():
        refused = {backend for backend, why in UNSUPPORTED.get(key.name, {}).items() if why.refused}
        readers = set(BUILT_IN) if key.read_by == EVERY else set(key.read_by) - refused
        if readers and key.read_by != METADATA and key.name not in PARAMETERS and readers <= built:
            assert f'"{key.name}"' in code, key.name
