"""The registry: which files, in which order, what is found, and what becomes of bad entries."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playbill.backends import (
    EntryError,
    FileFormatError,
    ModelRegistry,
    ModelSpec,
    PlaybillError,
    UnificationError,
    UnknownModel,
    load_model,
)
from playbill.backends.common.findings import Severity
from playbill.backends.registry.fields.table import METADATA
from playbill.backends.registry.lookup import packaged_file, search_path, user_file
from playbill.backends.registry.schema import registry_schema, schema_file, schema_text

REAL = Path(__file__).parents[4] / "shared" / "data" / "registries"


def write(path, *entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))
    return path


def mock(name, **keys):
    return {"model_name": name, "backend": "programmatic", **keys}


def test_files_are_searched_in_the_decided_order(place, monkeypatch):
    """Caller's, PLAYBILL_REGISTRY's, ./model_registry.json, the user's, the packaged one; the first namesake wins."""
    files = {
        "caller": write(place / "a.json", mock("m", answers=["caller"])),
        "second": write(place / "a2.json", mock("m", answers=["second"])),
        "env": write(place / "b.json", mock("m", answers=["env"])),
        "env2": write(place / "b2.json", mock("m", answers=["env2"])),
        "here": write(place / "model_registry.json", mock("m", answers=["here"])),
        "user": write(user_file(), mock("m", answers=["user"])),
    }
    monkeypatch.setenv("PLAYBILL_REGISTRY", os.pathsep.join([str(files["env"]), str(files["env2"])]))
    registry = ModelRegistry.load([files["caller"], files["second"]])
    assert [entry.spec.answers for entry in registry.namesakes("m")] == [[name] for name in files]
    assert registry.files[-1] == packaged_file()
    assert registry.find("m").answers == ["caller"]


def test_a_file_named_twice_keeps_its_first_place(place):
    """Naming the user's own file puts it first, and it is read once."""
    other = write(place / "other.json", mock("m", answers=["other"]))
    write(user_file(), mock("m", answers=["user"]))
    write(place / "model_registry.json", mock("m", answers=["here"]))
    registry = ModelRegistry.load([user_file(), other, str(user_file())])
    assert [entry.spec.answers for entry in registry.namesakes("m")] == [["user"], ["other"], ["here"]]


def test_one_path_is_a_list_of_one(place):
    """A string is not taken for a list of characters."""
    path = write(place / "a.json", mock("mine"))
    assert ModelRegistry.load(str(path)).find("mine").backend == "programmatic"


@pytest.mark.parametrize("missing", ["nothing.json", "~nobody-of-that-name/r.json"])
def test_a_named_file_must_be_there(place, missing):
    """Only the usual places may be empty."""
    with pytest.raises(PlaybillError, match="no registry file"):
        ModelRegistry.load([missing])
    assert len(ModelRegistry.load()) > 0


def test_a_link_to_nothing_is_not_passed_over(place):
    """Who made ./model_registry.json a link meant something by it."""
    (place / "model_registry.json").symlink_to(place / "gone.json")
    with pytest.raises(PlaybillError, match="no registry file"):
        ModelRegistry.load()


def test_a_file_that_is_not_json_is_refused_with_line_and_column(place):
    """Also in the usual places: a malformed file is never skipped."""
    (place / "model_registry.json").write_text('[\n  {"model_name": "m",}\n]')
    with pytest.raises(FileFormatError, match=r"model_registry\.json:2:\d+: not JSON"):
        ModelRegistry.load()
    (place / "model_registry.json").write_text('{"model_name": "m"}')
    with pytest.raises(FileFormatError, match=r"model_registry\.json:1:1: a registry is a list"):
        ModelRegistry.load()


def test_shadowing_by_the_working_directory_is_said_once(place, caplog):
    """However often the registry is loaded; the line names both files."""
    write(place / "model_registry.json", mock("mock", answers=["mine"]))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert ModelRegistry.load().find("mock").answers == ["mine"]
    said = [r.getMessage() for r in caplog.records if "shadows" in r.getMessage()]
    assert len(said) == 1
    assert f"'mock' of {packaged_file()} $[" in said[0]
    assert str(place / "model_registry.json") in said[0]


def test_a_file_that_the_caller_names_shadows_without_a_word(place, caplog):
    """It was asked for by name."""
    write(place / "model_registry.json", mock("mock", answers=["mine"]))
    with caplog.at_level(logging.WARNING):
        ModelRegistry.load(["model_registry.json"])
    assert caplog.records == []


BAD = [
    {"model_name": "typo", "backend": "huggingface_local", "eos_to_cul": "</s>"},
    mock("fine"),
    {"backend": "programmatic"},
    "not an entry",
    {"model_name": ["a"], "backend": ["b"]},
    mock("fine too", x_note={"deep": [[1]]}),
]


def test_a_bad_entry_neither_vanishes_nor_disables_its_neighbours(place):
    """Every entry of the file is there, in order, and the bad ones are marked."""
    registry = ModelRegistry.from_file(write(place / "r.json", *BAD))
    assert [entry.usable for entry in registry] == [False, True, False, False, False, True]
    assert [entry.name for entry in registry] == ["typo", "fine", None, None, None, "fine too"]
    assert registry.find("fine").backend == "programmatic"
    for entry in registry:
        assert all(str(finding).startswith(entry.where) for finding in entry.findings)


def test_using_a_bad_entry_fails_with_every_problem_it_has(place):
    """The error lists them all, each with file, place and fix."""
    path = write(place / "r.json", *BAD)
    with pytest.raises(EntryError) as e:
        load_model("typo", registry=ModelRegistry.from_file(path))
    said = str(e.value)
    assert f"{path} $[0].eos_to_cul: unknown key; did you mean 'eos_to_cull'?" in said
    for key in ("huggingface_id", "premade_chat_template", "eos_to_cull"):
        assert f"{path} $[0]: '{key}' is missing" in said
    assert len(e.value.findings) == 4


def test_a_key_that_stands_twice_spoils_its_own_entry_only(place):
    """Which of the two is meant can't be known; the neighbours are sound."""
    (place / "r.json").write_text(
        '[{"model_name": "a", "backend": "human", "delay": 1, "delay": 2}, {"model_name": "b", "backend": "human"}]'
    )
    registry = ModelRegistry.from_file(place / "r.json")
    assert [entry.usable for entry in registry] == [False, True]
    with pytest.raises(EntryError, match=r"\$\[0\]\.delay: stands twice"):
        load_model("a", registry=registry)


@pytest.fixture
def two(place):
    return ModelRegistry.from_file(
        write(place / "r.json", mock("m", delay=1, x_n={"a": 1, "b": 2}), mock("m", delay=2, x_n={"a": 1, "b": 3}))
    )


def test_a_selector_takes_the_first_namesake_that_unifies(two):
    """The name alone takes the first; more than a name selects, at any depth."""
    assert two.find("m").delay == 1
    assert two.find({"model_name": "m", "delay": 2}).delay == 2
    assert two.find(ModelSpec.from_dict({"model_name": "m", "x_n": {"b": 3}})).delay == 2
    assert two.find({"model_name": "m", "temperature": 0.5}).to_dict() == {
        **mock("m", delay=1, x_n={"a": 1, "b": 2}),
        "temperature": 0.5,
    }


def test_namesakes_of_which_none_unifies_are_an_error_that_lists_each(two):
    """Always, even where the selector names a backend; each line has place, key and both values."""
    with pytest.raises(UnificationError) as e:
        two.find({"model_name": "m", "backend": "programmatic", "x_n": {"b": 4}})
    lines = str(e.value).splitlines()
    assert lines[0] == "2 entries are called 'm', and none agrees with the selector:"
    assert lines[1].endswith("r.json $[0]: x_n.b is 2, asked for 4")
    assert lines[2].endswith("r.json $[1]: x_n.b is 3, asked for 4")


def test_a_spec_with_a_backend_stands_alone_only_where_no_entry_has_its_name(two):
    """The same in find and in load_model."""
    alone = {"model_name": "other", "backend": "programmatic", "answers": ["hi"]}
    assert two.find(alone).to_dict() == alone
    with load_model(alone, registry=two) as model:
        assert model.generate([{"role": "user", "content": "x"}]).text == "hi"
    for use in (two.find, lambda selector: load_model(selector, registry=two)):
        with pytest.raises(UnificationError):
            use({**alone, "model_name": "m", "delay": 9})
        with pytest.raises(UnknownModel):
            use({"model_name": "other"})


def test_an_unknown_name_lists_the_nearest_and_the_files(place):
    """In whatever case it was typed."""
    with pytest.raises(UnknownModel) as e:
        ModelRegistry.load().find("SMOLLM2-135m-instruct-q5")
    assert "the nearest are SmolLM2-135M-Instruct-Q4" in str(e.value)
    assert str(packaged_file()) in str(e.value)
    with pytest.raises(UnknownModel, match="needs a 'model_name'"):
        ModelRegistry.load().find({"backend": "human"})


def test_each_value_knows_the_file_and_place_it_came_from(two):
    """What the caller added is the caller's."""
    spec = two.find({"model_name": "m", "temperature": 1})
    assert spec.sources()["delay"].endswith("r.json $[0].delay")
    assert spec.sources()["temperature"] == "the caller"


class Counting(dict):
    """An entry that counts how often it is looked at."""

    looks = 0

    def get(self, *args):
        Counting.looks += 1
        return super().get(*args)


def test_a_hundred_thousand_entries_load_once_and_are_found_without_a_scan(place):
    """Once the registry stands, a find touches only the entries of that name."""
    path = write(place / "big.json", *(mock(f"m{i}", delay=i) for i in range(100_000)))
    registry = ModelRegistry.from_file(path)
    path.unlink()  # nothing is read again
    for entry in registry:
        object.__setattr__(entry, "raw", Counting(entry.raw))
    Counting.looks = 0
    assert registry.find("m99999").delay == 99_999
    assert registry.find({"model_name": "m5", "delay": 5}).delay == 5
    assert len(registry) == 100_000
    assert Counting.looks < 20
    judged = [entry for entry in registry if "findings" in vars(entry) or "flat" in vars(entry)]
    assert len(judged) == 2


def test_the_packaged_registry_is_without_fault(place):
    """No error, no warning that isn't waived with a reason, and no name twice; where it ran, a model is described."""
    registry = ModelRegistry.from_file(packaged_file())
    names = [entry.name for entry in registry]
    assert len(set(names)) == len(names) > 250
    assert {"SmolLM2-135M-Instruct-Q4", "human", "terminal", "mock", "programmatic"} <= set(names)
    undescribed = set()  # their languages stand nowhere; models/ says why
    for entry in registry:
        said = [f for f in entry.findings if f.severity is not Severity.NOTE or "waived on" not in f.message]
        assert said == [], entry.name
        if "huggingface_id" in entry.spec:
            assert {"release_date", "open_weight"} <= set(entry.spec)
            if "languages" not in entry.spec:
                undescribed.add(entry.name)
    assert undescribed == {"QwQ-32B-Preview", *(f"Qwen2.5-Coder-{size}B-Instruct" for size in (7, 14, 32))}


def test_the_shipped_schema_is_the_generated_one():
    """If this fails: python -m playbill.backends.registry.schema"""
    assert schema_file().read_text(encoding="utf-8") == schema_text()


def schema_errors(*entries):
    return list(jsonschema.Draft202012Validator(registry_schema()).iter_errors(list(entries)))


def test_the_schema_is_one_and_accepts_the_packaged_registry():
    """Editors see no fault in what we ship, in either layout."""
    jsonschema.Draft202012Validator.check_schema(registry_schema())
    entries = json.loads(packaged_file().read_text(encoding="utf-8"))
    assert schema_errors(*entries) == []
    nested = [{"model_name": e.pop("model_name"), "backend": e.pop("backend"), "model_config": e} for e in entries]
    assert schema_errors(*nested) == []


@pytest.mark.parametrize(
    "mistake",
    [
        {"eos_to_cul": "</s>"},
        {"eos_to_cull": 3},
        {"premade_chat_template": "yes"},
        {"huggingface_id": ...},
        {"eos_to_cull": ...},
        {"backend": ...},
        {"context_size": "lots"},
        {"system_role": "folded"},
        {"temperature": -1},
        {"n_ctx": 0},
        {"waivers": [{"rule": "PB128", "reason": "r"}]},
        {"waivers": [{"rule": "retired-model", "reason": "r", "date": "2026-11-25"}]},
        {"waivers": [{"rule": "PB128", "reason": "", "date": "2026-11-25"}]},
        {"waivers": [{"rule": "PB128", "reason": "r", "date": "in January"}]},
    ],
)
def test_the_schema_sees_planted_mistakes(mistake):
    """A wrong type, a missing key, a typo: each in an otherwise right entry."""
    right = {
        "model_name": "m",
        "backend": "llamacpp",
        "huggingface_id": "o/m",
        "premade_chat_template": True,
        "eos_to_cull": "</s>",
    }
    assert schema_errors(right) == []
    wrong = {key: value for key, value in {**right, **mistake}.items() if value is not ...}
    assert schema_errors(wrong) != []


def test_the_schema_describes_every_key_and_says_who_reads_it():
    """What an editor shows beside a key is the table's own words."""
    from playbill.backends.registry.fields.table import ENTRY_KEYS

    properties = registry_schema()["items"]["properties"]
    assert set(ENTRY_KEYS) <= set(properties)
    for name, key in ENTRY_KEYS.items():
        assert key.summary in properties[name]["description"]
        assert key.read_by != METADATA or "Metadata" in properties[name]["description"]


RAW = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model_name", "backend", "eos_to_cull", "model_config", "k"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(RAW, max_size=4) | RAW)
def test_any_registry_file_is_read_or_refused(place, content):
    """Whatever JSON stands in it: no error but Playbill's, every entry listed, the file unharmed."""
    path = place / "r.json"
    text = json.dumps(content)
    path.write_text(text)
    try:
        registry = ModelRegistry.from_file(path)
    except FileFormatError:
        assert not isinstance(content, list)
    else:
        assert len(registry) == len(content)
        for entry in registry:
            assert entry.findings or entry.usable
            try:
                registry.find(entry.name or "no such name")
            except PlaybillError as e:
                assert str(e)  # noqa: PT017 - which of the two happens is the fuzzer's choice
    assert path.read_text() == text
    assert search_path()[-1].path == packaged_file()
