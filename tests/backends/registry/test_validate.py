"""Entries: the two layouts, and what is said of a bad one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbill.backends import ModelSpec, Severity, find_spec
from playbill.backends.registry.fields.legacy_regex import literals_of_regex
from playbill.backends.registry.fields.table import ENTRY_KEYS, UNREAD
from playbill.backends.registry.fields.types import parse_date, parse_token_count
from playbill.backends.registry.validate import flatten, judge_entry

HF = {
    "model_name": "m",
    "backend": "huggingface_local",
    "huggingface_id": "o/m",
    "premade_chat_template": True,
    "eos_to_cull": "<|im_end|>",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*ENTRY_KEYS, *UNREAD, "model_config", "eos_to_cul", "x_mine"]) | st.text(max_size=8)


def judged(entry, where="FILE $[3]"):
    return judge_entry(flatten(entry, where), where)


def errors(entry):
    return [str(f) for f in judged(entry) if f.severity is Severity.ERROR]


def test_a_right_entry_has_nothing_said_of_it():
    """The five mandatory keys are enough."""
    assert judged(HF) == ()


def test_a_near_miss_of_a_key_is_an_error_that_names_the_right_one():
    """A typo never passes; the line says file, place, fault and fix."""
    assert "FILE $[3].eos_to_cul: unknown key; did you mean 'eos_to_cull'?" in errors({**HF, "eos_to_cul": "x"})


@pytest.mark.parametrize("missing", sorted(HF))
def test_each_mandatory_key_is_missed(missing):
    """An entry without one of them can't be used, and the message names the key."""
    entry = {key: value for key, value in HF.items() if key != missing}
    said = errors(entry)
    if missing == "backend":  # what else is mandatory follows from it
        assert any("'backend' is missing" in line for line in said)
    else:
        assert [line for line in said if f"'{missing}' is missing" in line] == said


def test_all_problems_are_said_at_once_worst_first():
    """Nobody mends an entry one problem at a time."""
    found = judged({"model_name": "", "backend": "huggingface_lokal", "eos_to_cull": 3, "wholly_mine": 1})
    assert {f.code for f in found} >= {"PB103", "PB105", "PB112"}
    order = [list(Severity).index(f.severity) for f in found]
    assert order == sorted(order)
    assert any("did you mean 'huggingface_local'?" in str(f) for f in found)


def test_foreign_and_retired_keys_stop_nothing():
    """An unknown key is a warning, one that clemcore knew a note with the reason, and x_ is free."""
    found = {f.name: f.severity for f in judged({**HF, "colour": 1, "padding_side": "left", "x_colour": 1})}
    assert found == {"foreign-key": Severity.WARNING, "unread-key": Severity.NOTE}


def test_a_key_of_another_backend_is_said():
    """A key that the entry's backend doesn't read is not just passed over."""
    assert [f.name for f in judged({**HF, "gpu_layers_offloaded": 3})] == ["misplaced-key"]


@pytest.mark.parametrize("value", ["8192", 8192, "128k", "1M", "", " 32 K "])
def test_context_sizes_that_people_write_are_taken(value):
    """Numbers, numbers in strings, with k and M, and nothing."""
    assert judged({**HF, "context_size": value}) == ()


@pytest.mark.parametrize("value", [0, "0", -1, "lots", True, 1.5, "9" * 5000, "0k"])
def test_context_sizes_that_nobody_can_mean_are_errors(value):
    """Nothing unreadable counts as a number of tokens."""
    assert [f.name for f in judged({**HF, "context_size": value})] == ["wrong-type"]
    assert parse_token_count(value) is None


def test_k_is_1024_tokens():
    """As model makers count."""
    assert [parse_token_count(v) for v in ("128k", "1M", "8192", 8192, "")] == [131072, 1048576, 8192, 8192, None]


def test_a_flat_eos_is_a_literal():
    """Pipes and brackets mean themselves; a list is a list of literals."""
    for eos in ("<|im_end|>", "[EOS]", "", ["a", "b"]):
        assert flatten({**HF, "eos_to_cull": eos}).entry["eos_to_cull"] == eos
        assert judged({**HF, "eos_to_cull": eos}) == ()


def test_a_flat_eos_with_backslashes_is_reported_with_the_literal():
    """It is used as it stands, and probably was not meant so."""
    found = judged({**HF, "eos_to_cull": r"<\|im_end\|>"})
    assert [(f.name, f.severity) for f in found] == [("probable-regex", Severity.WARNING)]
    assert found[0].fix == 'write "<|im_end|>"'


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        (r"<\|im_end\|>", "<|im_end|>"),
        ("</s>", "</s>"),
        (r"\[EOS\]", "[EOS]"),
        ("<end_of_turn>\n*<eos>", ["<end_of_turn>", "<eos>"]),
        (r"<end_of_turn>\n*<eos>", ["<end_of_turn>", "<eos>"]),
        ("", ""),
        ("a|b", None),
        ("a.*", None),
        (r"\d+", None),
        ("a\\", None),
        ("(", None),
    ],
)
def test_a_nested_eos_is_a_regular_expression_read_back(pattern, literals):
    """In the nested layout an escaped literal is that literal; what is more than literals is an error."""
    assert literals_of_regex(pattern) == literals
    nested = {k: v for k, v in HF.items() if k not in ("premade_chat_template", "eos_to_cull")}
    nested["model_config"] = {"premade_chat_template": True, "eos_to_cull": pattern}
    flat = flatten(nested, "FILE $[0]")
    assert flat.entry["eos_to_cull"] == (pattern if literals is None else literals)
    assert [f.name for f in judge_entry(flat)] == (["end-is-pattern"] if literals is None else [])


@given(st.text(alphabet="<>|[]()/_abc.*+?$^", min_size=1, max_size=12))
def test_every_escaped_literal_is_read_back(literal):
    """Whatever characters it has."""
    import re

    assert literals_of_regex(re.escape(literal)) == literal


def test_the_nested_layout_gives_the_flat_one():
    """Both layouts of one entry are one entry, and each key remembers where it stood."""
    nested = {"model_name": "m", "backend": "mock", "model_config": {"n_ctx": 5}}
    flat = flatten(nested, "F $[1]")
    assert flat.entry == {"model_name": "m", "backend": "mock", "n_ctx": 5}
    assert flat.paths["n_ctx"] == "F $[1].model_config.n_ctx"


def test_a_key_said_twice_in_different_ways_is_an_error():
    """Once flat and once nested, with both values in the message; the same value twice is none."""
    assert (
        "says 'b', but FILE $[3].eos_to_cull says '<|im_end|>'"
        in errors({**HF, "model_config": {"eos_to_cull": "b"}})[0]
    )
    assert errors({**HF, "model_config": {"eos_to_cull": r"<\|im_end\|>"}}) == []


def test_a_template_that_is_not_used_is_said():
    """premade_chat_template wins, and the custom one isn't silently dropped."""
    assert [f.name for f in judged({**HF, "custom_chat_template": "{{ messages }}"})] == ["two-templates"]


def test_a_value_nested_without_end_is_an_error_of_its_entry():
    """It is left out before anything can stumble over it."""
    deep: object = 1
    for _ in range(400):
        deep = [deep]
    flat = flatten({**HF, "x_deep": deep})
    assert "x_deep" not in flat.entry
    assert any("nested too deeply" in f.message for f in flat.findings)


def test_findings_are_safe_to_print():
    """A key name from a stranger's file can't move the reader's cursor."""
    assert all("\x1b" not in str(f) for f in judged({**HF, "\x1b[2J": 1}))


@given(st.dictionaries(NAMES, JSON, max_size=6))
def test_any_entry_is_judged_and_none_raises(entry):
    """Whatever JSON stands in an entry, what is wrong with it is said in findings."""
    for finding in judged(entry):
        assert finding.where
        assert str(finding)


@pytest.mark.parametrize("name", sorted(ENTRY_KEYS))
def test_every_default_is_of_its_keys_type(name):
    """The table can't recommend what it would refuse."""
    key = ENTRY_KEYS[name]
    assert key.default is None or key.type.accepts(key.default)
    assert key.summary.endswith((".", "`.")) or key.summary[-1] in ".`"


def test_dates_are_iso():
    """A day, or a day with a time; nothing else."""
    assert parse_date("2026-11-23") is not None
    assert [parse_date(v) for v in ("23.11.2026", "", 2026, None)] == [None] * 4


@pytest.mark.parametrize(
    ("alias", "name", "value"), [("share_beginnings", "prefix_caching", False), ("torch_dtype", "dtype", "float16")]
)
def test_an_alias_is_read_under_the_name_that_is_shown(alias, name, value):
    """In its place among the keys, in either layout, from a dictionary as well; `check` names the better name."""
    raw = {"model_name": "m", alias: value, "x_last": 1}
    flat = flatten(raw, "f[0]")
    assert list(flat.entry) == ["model_name", name, "x_last"]
    assert (flat.entry[name], flat.paths[name]) == (value, f"f[0].{alias}")
    assert [(f.code, f.severity) for f in flat.findings] == [("PB126", Severity.NOTE)]
    assert ModelSpec.from_dict({"model_config": {alias: value}})[name] == value


def test_an_alias_beside_its_name_must_say_the_same():
    """Two values are an error that names both; one value said twice is none."""
    assert flatten({"dtype": "float16", "torch_dtype": "float16"}).findings == ()
    (finding,) = flatten({"dtype": "float16", "torch_dtype": "float32"}, "f[0]").findings
    assert (finding.code, finding.where) == ("PB109", "f[0].torch_dtype")


def test_an_alias_overrides_too():
    """`-p torch_dtype=float32` is `-p dtype=float32`."""
    assert find_spec("mock", overrides={"torch_dtype": "float32"})["dtype"] == "float32"
