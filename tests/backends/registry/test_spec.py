"""ModelSpec: holds any JSON, never changes, and unifies."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbill.backends import EntryError, ModelSpec, UnificationError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("pqr"), inner, max_size=2),
    max_leaves=4,
)
SPECS = st.dictionaries(st.sampled_from(["model_name", "backend", "k", "l"]), VALUES, max_size=4).map(
    ModelSpec.from_dict
)


def unified(first, second):
    try:
        return first.unify(second)
    except UnificationError:
        return None


def test_it_reads_as_attributes_and_as_a_mapping():
    """Both ways give the same; a missing key is an AttributeError or a KeyError that names it."""
    spec = ModelSpec.from_dict({"model_name": "m", "n": {"a": [1]}})
    assert spec.model_name == spec["model_name"] == "m"
    assert dict(spec) == {"model_name": "m", "n": {"a": [1]}}
    assert (len(spec), "n" in spec, spec.get("nope", 3)) == (2, True, 3)
    with pytest.raises(AttributeError, match="'m' has no key 'nope'"):
        _ = spec.nope
    with pytest.raises(KeyError):
        _ = spec["nope"]


def test_it_cannot_be_changed():
    """Neither by assignment, nor through what it was made of, nor through what it hands out."""
    data = {"model_name": "m", "n": {"a": [1]}}
    spec = ModelSpec.from_dict(data)
    data["n"]["a"].append(2)
    spec["n"]["a"].append(3)
    spec.n["a"].append(4)
    spec.to_dict()["n"]["a"].append(5)
    assert spec.to_dict() == {"model_name": "m", "n": {"a": [1]}}
    with pytest.raises(AttributeError, match="override"):
        spec.model_name = "other"
    with pytest.raises(AttributeError):
        del spec.model_name
    with pytest.raises(TypeError):
        spec["model_name"] = "other"


def test_it_gives_back_what_it_was_given_flat_and_without_defaults():
    """No default of the table turns up; the nested layout is flattened."""
    given_ = {"model_name": "m", "model_config": {"premade_chat_template": True}, "x_any": None}
    assert ModelSpec.from_dict(given_).to_dict() == {"model_name": "m", "x_any": None, "premade_chat_template": True}


def test_it_checks_nothing():
    """Typos and wrong types are held as they are; they are judged on listing, check and load."""
    data = {"model_name": 5, "eos_to_cul": [], "temperature": "hot"}
    assert ModelSpec.from_dict(data).to_dict() == data


@given(SPECS)
def test_equal_content_is_equal_and_hashes_alike(spec):
    """In whatever order the keys stand; copies and pickles are equal too."""
    again = ModelSpec.from_dict(dict(reversed(spec.to_dict().items())))
    assert again == spec
    assert hash(again) == hash(spec)
    assert {spec: 1}[again] == 1
    assert copy.copy(spec) == copy.deepcopy(spec) == pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("one", "other"),
    [({"k": 1}, {"k": True}), ({"k": 1}, {"k": "1"}), ({"k": [1]}, {"k": {"0": 1}}), ({}, {"k": None})],
)
def test_different_content_is_different(one, other):
    """True is not 1, and nothing is not null."""
    assert ModelSpec.from_dict(one) != ModelSpec.from_dict(other)


def test_a_spec_equals_no_dictionary():
    """Only a spec is a spec."""
    assert ModelSpec.from_dict({"k": 1}) != {"k": 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"x", (1,)])
def test_what_is_no_json_is_refused_with_its_path(value):
    """A spec can always be written down."""
    with pytest.raises(EntryError, match=r"n\.a\[0\]"):
        ModelSpec.from_dict({"n": {"a": [value]}})


def test_a_dictionary_in_itself_is_refused():
    """And doesn't hang or overflow."""
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(EntryError, match="nested too deeply"):
        ModelSpec({"n": loop})


def test_nested_objects_unify_key_by_key():
    """What only one side holds is added, at every depth; lists are values."""
    one = ModelSpec.from_dict({"model_name": "m", "n": {"a": 1, "d": {"x": 1}}})
    other = ModelSpec.from_dict({"model_name": "m", "n": {"b": 2, "d": {"y": 2}}, "l": [1]})
    assert one.unify(other).to_dict() == {"model_name": "m", "n": {"a": 1, "b": 2, "d": {"x": 1, "y": 2}}, "l": [1]}


def test_a_conflict_names_each_path_and_both_values():
    """All of them at once."""
    one = ModelSpec.from_dict({"n": {"a": 1, "b": [1]}, "k": True})
    with pytest.raises(UnificationError) as e:
        one.unify({"n": {"a": 2, "b": [1, 2]}, "k": 1})
    assert str(e.value) == "can't unify: n.a: 1 against 2; n.b: [1] against [1, 2]; k: True against 1"


@given(SPECS, SPECS, SPECS)
def test_unification_is_what_the_word_promises(a, b, c):
    """Both sides are in it, order doesn't matter, grouping doesn't, and a spec unifies with itself."""
    assert a.unify(a) == a
    assert a.unify(ModelSpec({})) == a
    both = unified(a, b)
    assert both == unified(b, a)
    if both is not None:
        assert both.unify(a) == both == both.unify(b)
    ab, bc = unified(a, b), unified(b, c)
    left = unified(ab, c) if ab is not None else None
    right = unified(a, bc) if bc is not None else None
    assert left == right


def test_overriding_replaces_and_remembers_who_did():
    """Unifying selects; overriding replaces. A fault of a value that was replaced is gone."""
    spec = ModelSpec.from_dict({"model_name": "m", "model_config": {"eos_to_cull": "a|b"}})
    assert [f.name for f in spec.findings()] == ["end-is-pattern"]
    over = spec.override({"temperature": 0.5}, "the command line")
    assert (over.temperature, over.sources()["temperature"], len(over.findings())) == (0.5, "the command line", 1)
    assert "temperature" not in spec
    by_path = ModelSpec(spec.to_dict(), sources={"eos_to_cull": spec.findings()[0].where}, findings=spec.findings())
    assert by_path.override({"eos_to_cull": "a"}).findings() == ()


def test_a_spec_that_never_was_made_says_so_plainly():
    """Reading one gives an AttributeError, no endless recursion."""
    with pytest.raises(AttributeError):
        _ = ModelSpec.__new__(ModelSpec).backend
