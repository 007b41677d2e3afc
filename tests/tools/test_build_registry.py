"""The packaged registry is what its sources in models/ say, and each of its facts has an origin."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from playbill.backends import load_model
from playbill.backends.registry.fields.table import ENTRY_KEYS
from playbill.backends.registry.lookup import packaged_file
from playbill.backends.registry.service_models import model_families
from playbill.backends.registry.validate import flatten, judge_entry
from playbill.proof.add.importing import import_registry

ROOT = Path(__file__).parents[2]
IN_USE = ROOT.parent / "shared" / "data" / "registries"
FILES = {
    "clembench 2024-03": "clembench_2024-03_58_entries_flat",
    "clemcore 2025-09": "clemcore_2025-09_230_entries_nested",
    "clemcore 3.7.2": "clemcore_3.7.2_18_entries",
    "clembench 3.0": "clembench_v3.0_22_entries",
}
OURS = {"waivers", "retired", "successor", "model_name"}
GPT = {"model_name": "m", "backend": "openai", "model_id": "o3-mini", "reasoning_model": True}


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("build_registry", ROOT / "tools" / "build_registry.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def items(tool):
    return [item for path in tool.sources() for item in tool.read_source(path)]


def test_the_packaged_registry_is_built_from_its_sources(tool):
    """If this fails: python tools/build_registry.py"""
    assert packaged_file().read_text(encoding="utf-8") == tool.build()


def test_every_entry_says_where_its_facts_are_from(tool, items):
    """A file of a registry in use, the table of families, or documents, key by key."""
    families = {f"the table of families: {family.name}" for family in model_families()}
    assert {item["origin"] for item in items} <= {*FILES, "documented", "Playbill itself: no model", *families}
    for item in items:
        told = {**item.get("decided", {}), **item.get("documented", {})}
        assert all(isinstance(reason, str) and reason for reason in told.values())
        assert item.keys() - set(tool.NOTES) <= ENTRY_KEYS.keys()


OUR_OWN = {"model_name", "backend", "huggingface_id", "premade_chat_template", "filename", "system_role"}


def test_what_is_documented_says_where_each_fact_stands(tool, items):
    """An address, a command, or another registry; names and what only Playbill reads are its own."""
    for item in items:
        if item["origin"] == "Playbill itself: no model":
            assert item.keys() == {"model_name", "backend", "origin"}
        elif item["origin"] == "documented":
            named = {key.strip() for keys in item["documented"] for key in keys.split(",")}
            assert item.keys() - set(tool.NOTES) - OUR_OWN <= named
            for where in item["documented"].values():
                assert where.startswith("as SmolLM2") or any(w in where for w in ("https://", "`playbill add`", *FILES))


def test_no_name_of_a_registry_in_use_is_missing(tool, items):
    """What isn't in the packaged one is listed with the reason."""
    if not IN_USE.is_dir():
        pytest.skip("the registries in use are not there")
    names = {e.name for name in FILES.values() for e in import_registry(IN_USE / f"{name}.json").entries}
    absent = json.loads(tool.ABSENT.read_text(encoding="utf-8"))
    assert names <= {item["model_name"] for item in items} | absent.keys()
    assert not absent.keys() & {item["model_name"] for item in items}


def test_what_was_not_decided_is_what_the_import_gives(items):
    """A value that differs from the file that it is from has its reason beside it."""
    if not IN_USE.is_dir():
        pytest.skip("the registries in use are not there")
    given: dict[str, dict[str, list]] = {}
    for label, name in FILES.items():
        for imported in import_registry(IN_USE / f"{name}.json").entries:
            given.setdefault(label, {}).setdefault(imported.name, []).append(imported.entry)
    for item in items:
        if item["origin"] not in FILES or item["model_name"] == "gpt-oss-120b-openrouter":  # which has another name
            continue
        reasoned = {key.strip() for keys in item.get("decided", {}) for key in keys.split(",")} | OURS
        asked = reasoned | ({"reasoning_model"} if "reasoning_effort" in reasoned else set())
        values = {k: v for k, v in item.items() if k not in ("origin", "decided") and k not in asked}
        candidates = given[item["origin"]][item["model_name"]]
        assert any(all(_same(v, c.get(k)) for k, v in values.items()) for c in candidates), item["model_name"]


def _same(ours, theirs):
    return ours == theirs or (isinstance(ours, dict) and isinstance(theirs, dict) and ours.items() <= theirs.items())


def test_asking_for_a_retired_model_says_so(caplog, place):
    """The entry stays; whoever loads it hears since when, and what to take."""
    entry = {"model_name": "old", "backend": "programmatic", "retired": "2026-10-23", "successor": "new"}
    load_model(entry).close()
    assert "old is retired: its service has it no more since 2026-10-23; take new" in caplog.text
    assert [f.name for f in judge_entry(flatten({**GPT, "retired": True}))] == []


def test_a_waiver_turns_a_warning_into_a_note_that_says_why():
    """With date and reason; an error can't be waived, and a waiver without a reason is none."""
    waiver = {"rule": "PB128", "reason": "old results name it", "date": "2026-11-25"}
    found = judge_entry(flatten({**GPT, "waivers": [waiver]}))
    assert [(f.name, f.severity) for f in found] == [("retired-model", "note")]
    assert "(waived on 2026-11-25: old results name it)" in found[0].message
    refused = judge_entry(flatten({**GPT, "top_k": 5, "waivers": [{**waiver, "rule": "PB123"}]}))
    assert ("refused-key", "error") in [(f.name, f.severity) for f in refused]
    assert "wrong-type" in [f.name for f in judge_entry(flatten({**GPT, "waivers": [{"rule": "PB128"}]}))]
