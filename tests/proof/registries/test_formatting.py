"""Formatting a registry changes how it looks, and nothing that it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbill.backends.errors import FileFormatError, InputError
from playbill.backends.registry.fields.table import ALIASES, ENTRY_KEYS, UNREAD
from playbill.backends.registry.lookup import ModelRegistry, packaged_file
from playbill.proof.registries.formatting import format_file, registry_text

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEY = st.sampled_from([*ENTRY_KEYS, *ALIASES, *UNREAD, "x_mine", "thinking_budget", "colour"])
ENTRY = st.dictionaries(KEY | TEXT, VALUE, max_size=6)
NESTED = st.builds(lambda entry, inner: {**entry, "model_config": inner}, ENTRY, ENTRY)
ITEMS = st.lists(ENTRY | NESTED | VALUE, max_size=4)


def specs(path: Path):
    """What each entry says, what is found wrong with it, and the order of what stands inside of its values."""
    for entry in ModelRegistry.from_file(path):
        found = sorted((f.code, f.message) for f in entry.findings)
        inside = {key: json.dumps(value) for key, value in entry.flat.entry.items()}
        yield entry.spec, found, inside, json.dumps(entry.raw, sort_keys=True)


@settings(deadline=None)
@given(items=ITEMS, indent=st.sampled_from([None, 1, 4, "\t"]), escaped=st.booleans(), sort=st.booleans())
def test_the_specs_before_and_after_are_equal(tmp_path_factory, items, indent, escaped, sort):
    """Whatever stands in a file; and what is formatted once stays as it is."""
    path = tmp_path_factory.getbasetemp() / "before.json"
    path.write_text(json.dumps(items, indent=indent, ensure_ascii=escaped), encoding="utf-8", newline="")
    before = [*specs(path)]
    text = format_file(path, sort=sort)
    path.write_text(text, encoding="utf-8")
    after = [*specs(path)]
    assert format_file(path, sort=sort) == text
    if sort:
        before, after = (sorted(each, key=lambda e: e[3]) for each in (before, after))
    assert after == before


@settings(deadline=None)
@given(entries=st.lists(st.fixed_dictionaries({"model_name": st.sampled_from("abAB"), "seed": st.integers(0, 9)})))
def test_sorting_keeps_which_of_several_namesakes_is_found(tmp_path_factory, entries):
    """Entries go by their names, and those of one name stay in their order."""
    path = tmp_path_factory.getbasetemp() / "sorted.json"
    path.write_text(json.dumps(entries))
    after = json.loads(format_file(path, sort=True))
    assert [e["model_name"].lower() for e in after] == sorted(e["model_name"].lower() for e in entries)
    for name in "abAB":
        assert [e for e in after if e["model_name"] == name] == [e for e in entries if e["model_name"] == name]


def test_keys_get_the_order_of_the_table_and_values_keep_theirs():
    """Unknown keys come last, as they stood; a template may see the order inside of a value."""
    entry = {"x_b": 1, "colour": 2, "seed": 3, "share_beginnings": True, "backend": "b", "model_name": "m", "x_a": 4}
    entry |= {"chat_template_kwargs": {"z": 1, "a": 2}}
    text = registry_text([entry])
    keys = ["model_name", "backend", "chat_template_kwargs", "share_beginnings", "seed", "x_b", "colour", "x_a"]
    assert list(json.loads(text)[0]) == sorted(keys, key=lambda k: text.index(f'"{k}":'))
    assert sorted(json.loads(text)[0]) == sorted(keys)
    assert list(json.loads(text)[0])[-3:] == ["x_b", "colour", "x_a"]
    assert '"chat_template_kwargs": {"z": 1, "a": 2}' in text


def test_what_can_not_be_seen_is_escaped():
    """A mark of direction, a hard space, a byte order mark, a character beyond sixteen bits; letters are not."""
    text = registry_text([{"eos_to_cull": "\u202e\u00a0\ufeff\U000e0001é界😀\n"}])
    assert r'"\u202e\u00a0\ufeff\udb40\udc01é界😀\n"' in text


def test_long_lists_are_filled_and_short_values_stay_in_a_line():
    """No line of a list is longer than 120 columns."""
    text = registry_text([{"languages": [f"l{i}" for i in range(60)], "license": {"name": "a", "url": "b"}}])
    assert max(map(len, text.splitlines())) <= 120
    assert len(text.splitlines()) < 14
    assert '"license": {"name": "a", "url": "b"}' in text
    nested = registry_text([{"waivers": [{"rule": "PB128", "reason": "r" * 80, "date": "2026-11-25"}] * 2}])
    assert nested.count("\n      {") == 2


@pytest.mark.parametrize("text", ["{}", "[", "[NaN]", '[{"a": 1, "a": 2}]', '[{"b": [{"a": 1, "a": 1}]}]'])
def test_what_can_not_be_kept_is_refused(tmp_path, text):
    """No registry, no JSON, and a key that stands twice: which one was meant can't be known."""
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=r"r\.json"):
        format_file(path)
    with pytest.raises(InputError, match="nothing"):
        format_file(tmp_path / "nothing.json")


def test_the_packaged_registry_is_formatted():
    """Whoever copies from it gets what `lint` leaves as it is."""
    assert format_file(packaged_file()) == packaged_file().read_text(encoding="utf-8")
