"""What changed between two registries: entries by name, keys by what they mean for requests."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.proof.registries.compare import Effect, compare_registries

GPT = {"model_name": "g", "backend": "openai", "model_id": "gpt-5.2"}
GGUF = {"model_name": "l", "backend": "llamacpp", "huggingface_id": "org/l", "premade_chat_template": True}


def changed(old, new, **options):
    def registry(name, entries):
        return ModelRegistry([RegistryEntry(name, i, entry) for i, entry in enumerate(entries)])

    return compare_registries(registry("old.json", old), registry("new.json", new), **options)


@pytest.mark.parametrize(
    ("old", "new", "path", "effect"),
    [
        (GPT, {**GPT, "temperature": 1}, "temperature", Effect.ANSWERS),
        (GPT, {**GPT, "model_id": "gpt-5.1"}, "model_id", Effect.ANSWERS),
        ({**GPT, "extra_body": {"a": 1}}, {**GPT, "extra_body": {"a": True}}, "extra_body.a", Effect.ANSWERS),
        (GPT, {**GPT, "colour": 1}, "colour", Effect.ANSWERS),
        (GPT, {**GPT, "concurrency": 2}, "concurrency", Effect.PACE),
        (GPT, {**GPT, "license": "MIT"}, "license", Effect.PEOPLE),
        (GPT, {**GPT, "x_note": "n"}, "x_note", Effect.PEOPLE),
        (GPT, {**GPT, "retired": True}, "retired", Effect.SAID),
        (GPT, {**GPT, "dtype": "float32"}, "dtype", Effect.NOTHING),
        (GGUF, {**GGUF, "padding_side": "left"}, "padding_side", Effect.NOTHING),
        ({**GGUF, "requires_api_key": True}, GGUF, "requires_api_key", Effect.ACCESS),
        (GGUF, {**GGUF, "context_size": 4096}, "context_size", Effect.ANSWERS),
    ],
)
def test_each_change_says_what_it_means(old, new, path, effect):
    """By the table of keys, and by whether the entry's backend reads the key."""
    (change,) = changed([old], [new])
    assert [(key.path, key.effect) for key in change.keys] == [(path, effect)]
    back = changed([new], [old])[0].keys[0]
    assert (back.old, back.new, back.had, back.has) == (
        change.keys[0].new, change.keys[0].old, change.keys[0].has, change.keys[0].had
    )  # fmt: skip


def test_a_layout_an_order_of_keys_and_an_alias_are_no_change():
    """Entries are compared as they are read."""
    nested = {"model_name": "l", "backend": "llamacpp", "model_config": {"huggingface_id": "org/l", "seed": 1}}
    flat = {"seed": 1, "huggingface_id": "org/l", "backend": "llamacpp", "model_name": "l"}
    assert changed([nested], [flat]) == []
    assert changed([{**GGUF, "share_beginnings": True}], [{**GGUF, "prefix_caching": True}]) == []


def test_entries_come_go_and_are_renamed_where_that_is_evident():
    """Renamed is what differs in its name and in what is for people only; two that could be meant are neither."""
    new_name = {**GGUF, "model_name": "l2", "license": "MIT"}
    (renamed,) = changed([GPT, GGUF], [new_name, GPT])
    assert (renamed.kind, renamed.name, renamed.new_name) == ("renamed", "l", "l2")
    assert [key.path for key in renamed.keys] == ["license"]
    twins = changed([GGUF], [new_name, {**new_name, "model_name": "l3"}])
    assert [(c.kind, c.name) for c in twins] == [("added", "l2"), ("added", "l3"), ("removed", "l")]
    bare = changed([{"model_name": "a", "backend": "human"}], [{"model_name": "b", "backend": "human"}])
    assert [c.kind for c in bare] == ["added", "removed"]
    assert [c.matters for c in (renamed, *twins)] == [True, False, False, True]


def test_namesakes_are_told_apart():
    """Equal ones belong together first, then those of one backend; which is found first matters."""
    other = {**GPT, "backend": "openrouter", "model_id": "openai/gpt-5.2"}
    assert changed([GPT, other], [GPT, {**other, "license": "x"}])[0].keys[0].path == "license"
    reordered = changed([GPT, other], [other, GPT])
    assert [(c.kind, c.name, c.matters) for c in reordered] == [("reordered", "g", True)]
    assert "new.json $[0]" in reordered[0].notes[0]
    gone = changed([GPT, other], [{**other, "seed": 1}])
    assert [(c.kind, [k.path for k in c.keys]) for c in gone] == [("changed", ["seed"]), ("removed", [])]


def test_what_can_not_be_used_any_more_matters():
    """Even where no key that changes answers differs."""
    (change,) = changed([GPT], [{**GPT, "license": 5}])
    assert (change.usable, change.matters) == ((True, False), True)
    assert changed([{**GPT, "license": 5}], [GPT])[0].usable == (False, True)


def test_the_request_shows_what_a_change_does():
    """The bodies that both entries make are compared; nothing is sent."""
    pytest.importorskip("openai")
    (change,) = changed([{**GPT, "reasoning_effort": "low"}], [{**GPT, "reasoning_effort": "high"}], requests=True)
    assert change.request == ('request reasoning_effort: "low" -> "high"',)
    (same,) = changed([GPT], [{**GPT, "temperature": 0.0}], requests=True)
    assert same.request == ("the request is the same",)
    assert changed([GGUF], [{**GGUF, "seed": 1}], requests=True)[0].request == ()


ITEM = st.dictionaries(
    st.sampled_from(["model_name", "backend", "seed", "license", "x_a"]), st.sampled_from(["a", "b", 1]), max_size=4
)
ITEMS = st.lists(ITEM | st.none() | st.just([]), max_size=4)


@settings(deadline=None)
@given(old=ITEMS, new=ITEMS)
def test_any_two_registries_can_be_compared(old, new):
    """One with itself gives nothing, and two that differ in what they say give something, there and back."""
    assert changed(old, old) == []
    there, back = changed(old, new), changed(new, old)
    assert bool(there) == bool(back)
    json.dumps([change.to_dict() for change in there])
    if sorted(map(json.dumps, (sorted(e.items(), key=str) if e else e for e in old))) != sorted(
        map(json.dumps, (sorted(e.items(), key=str) if e else e for e in new))
    ):
        assert there
