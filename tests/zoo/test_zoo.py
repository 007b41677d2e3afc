"""Each animal of the zoo behaves: a failure that other tools had in public, and what Playbill makes of the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from support.pages import ROOT
from zoo.animals import OPERATORS, differences, faults, files, name_of, read
from zoo.runners import KINDS, NEEDS, Ground, Services

LEAST = 80
FILES = {name_of(path): path for path in files()}


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """The local servers that all animals share."""
    with Services() as shared:
        yield shared


@pytest.mark.parametrize("name", FILES)
def test_an_animal_behaves(name, place, playbill, services, monkeypatch):
    """What happens is what its file calls right."""
    animal = read(FILES[name])
    if missing := [need for need in NEEDS.get(animal.kind, ()) if not find_spec(need)]:
        pytest.skip(f"needs {', '.join(missing)}")
    found = KINDS[animal.kind](animal.input, Ground(place, services, playbill, monkeypatch.setenv))
    assert list(differences(animal.right, found)) == [], f"{animal.symptom} ({animal.reference})"


@pytest.mark.parametrize("name", FILES)
def test_an_animals_file_has_its_form(name):
    """The fields, none of them empty, a reference that can be looked up, and a kind that exists."""
    assert list(faults(json.loads(FILES[name].read_text(encoding="utf-8")), KINDS)) == []


def test_the_zoo_is_large_and_no_two_animals_are_one():
    """As many as were promised, each with a symptom and an input of its own, and one of each kind."""
    animals = [read(path) for path in FILES.values()]
    assert len(animals) >= LEAST
    assert len({a.symptom for a in animals}) == len(animals)
    assert len({json.dumps([a.kind, a.input], sort_keys=True) for a in animals}) == len(animals)
    assert {a.kind for a in animals} == set(KINDS)


def test_every_kind_and_operator_is_on_the_page():
    """docs/howto/zoo.md has a row for each kind that there is, and for no other."""
    page = (ROOT / "docs" / "howto" / "zoo.md").read_text(encoding="utf-8")
    kinds = page.partition("## Kinds")[2].partition("`refused` is")[0]
    assert re.findall(r"^\| `(\w+)` \|", kinds, re.M) == sorted(KINDS)
    assert all(f"`{operator}`" in page for operator in OPERATORS)


@pytest.mark.parametrize(
    ("right", "found"),
    [
        ({"text": "a"}, {"text": "b"}),
        ({"text": "a"}, {}),
        ({"n": 1}, {"n": True}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"a": {"$holds": "x"}}, {"a": "y"}),
        ({"a": {"$holds": ["x", "y"]}}, {"a": None}),
        ({"a": {"$lacks": "x"}}, {"a": ["x"]}),
        ({"a": {"$without": ["b"]}}, {"a": {"b": 1}}),
        ({"a": {"$starts": "x"}}, {"a": "yx"}),
        ({"a": {"$size": 1}}, {"a": []}),
    ],
)
def test_a_difference_is_told(right, found):
    """The comparison can fail, in each of its ways."""
    assert list(differences(right, found))
