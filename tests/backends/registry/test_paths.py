"""Relative paths in an entry: to the folder of the file that holds it, wherever Playbill runs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from datetime import datetime

import pytest

from playbill.backends import EntryError, ModelRegistry, WeightsError, find_spec, load_prompt_path, load_spec
from playbill.backends.credentials import Credentials
from playbill.backends.engines import replay
from playbill.backends.engines.base import Context
from playbill.backends.registry.fields.table import ENTRY_KEYS, PATHS
from playbill.backends.registry.lookup import user_file
from playbill.backends.registry.spec import ModelSpec, path_in
from playbill.backends.weights.adapter import adapter_folder
from playbill.backends.weights.gguf import find_weights
from playbill.proof.add.importing import import_registry

HF = {"backend": "huggingface_local", "premade_chat_template": True, "eos_to_cull": "</s>"}
GGUF = {**HF, "backend": "llamacpp"}
SERVER = {"backend": "openai_compatible", "base_url": "https://127.0.0.1:9/v1"}
ENTRIES = [
    {**HF, "model_name": "folder", "huggingface_id": "weights/tiny"},
    {**HF, "model_name": "dotted", "huggingface_id": "./weights/tiny", "peft_model": "weights/adapter"},
    {**GGUF, "model_name": "gguf", "huggingface_id": "weights/a.gguf"},
    {**GGUF, "model_name": "in-folder", "huggingface_id": "weights", "filename": "*b.gguf"},
    {**SERVER, "model_name": "service", "ca_bundle": "ca.pem"},
    {"model_name": "again", "backend": "replay", "records": "run"},
]  # fmt: skip


def fill(folder):
    """All that the entries name, and a registry beside it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<s>", "</s>", "[unk]", "Hi"])}, unk_token="[unk]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens(["<s>", "</s>"])
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "</s>",
        "chat_template": "{% for m in messages %}{{ m.content }}</s>{% endfor %}",
    }
    files = {
        "weights/tiny/config.json": {"model_type": "llama"},
        "weights/tiny/tokenizer_config.json": told,
        "weights/adapter/adapter_config.json": {},
        "weights/adapter/adapter_model.safetensors": {},
        "weights/a.gguf": {},
        "weights/b.gguf": {},
        "ca.pem": {},
        "run/records.jsonl": {},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    (folder / "run" / "records.jsonl").write_text("")
    (folder / "weights/tiny/tokenizer.json").write_text(words.to_str())
    (folder / "model_registry.json").write_text(json.dumps(ENTRIES))
    return folder


@pytest.fixture(params=["here", "variable", "config"])
def home(request, place, tmp_path, monkeypatch):
    """The folder of a registry that `ModelRegistry.load()` reads, by each way there is; Playbill runs elsewhere, but
    where the file is the one of the working directory."""
    pytest.importorskip("transformers")
    if request.param == "here":
        return fill(place)
    if request.param == "config":
        return fill(user_file().parent)
    folder = fill(tmp_path / "far")
    named = os.path.relpath(folder / "model_registry.json")  # itself relative to the working directory
    monkeypatch.setenv("PLAYBILL_REGISTRY", named)
    return folder


def test_a_file_that_the_caller_names_leads_to_its_folder(place, tmp_path):
    """Also where its name is itself relative to the working directory."""
    pytest.importorskip("transformers")
    folder = fill(tmp_path / "far")
    spec = ModelRegistry.load([os.path.relpath(folder / "model_registry.json")]).find("gguf")
    assert find_weights(spec, Credentials.load()).path == folder / "weights" / "a.gguf"


def test_each_key_leads_to_the_folder_of_its_file(home):
    """Weights, adapters, certificates and records; the spec itself keeps what is written."""
    keys = Credentials.load()
    spec, path = load_prompt_path("folder")
    assert (spec.huggingface_id, path.template.source) == ("weights/tiny", "premade")
    dotted = find_spec("dotted")
    assert load_prompt_path(dotted)[1] is not None
    assert adapter_folder(dotted, keys) == home / "weights" / "adapter"
    assert find_weights(find_spec("gguf"), keys).path == home / "weights" / "a.gguf"
    assert find_weights(find_spec("in-folder"), keys).path == home / "weights" / "b.gguf"
    with pytest.raises(EntryError, match=r"ca_bundle .*ca.pem holds no certificates"):
        load_spec(find_spec("service"))
    again = replay.load(find_spec("again"), Context(credentials=keys, date=datetime(2026, 1, 1)))
    assert again.engine.facts()["records"] == str(home / "run" / "records.jsonl")
    again.engine.close()


def test_a_later_change_of_the_working_directory_changes_nothing(home, tmp_path, monkeypatch):
    """Also for specs that were copied, unified or sent to another process."""
    spec = find_spec("gguf")
    monkeypatch.chdir(tmp_path)
    again = [spec, pickle.loads(pickle.dumps(spec)), spec.override({"temperature": 1.0}), spec.unify({"seed": 1})]
    again.append(ModelSpec.from_dict({"model_name": "gguf", "huggingface_id": "weights/a.gguf"}).unify(spec))
    assert {path_in(each, "huggingface_id") for each in again} == {home / "weights" / "a.gguf"}


def test_what_the_caller_says_is_relative_to_the_working_directory(place, tmp_path):
    """Overrides, and specs from a dictionary."""
    registry = ModelRegistry.from_file(fill(tmp_path / "far") / "model_registry.json")
    shutil.copytree(tmp_path / "far", place, dirs_exist_ok=True)
    (place / "model_registry.json").unlink()
    mine = find_spec("gguf", registry=registry, overrides={"huggingface_id": "weights/b.gguf"})
    assert find_weights(mine, Credentials.load()).path.absolute() == place / "weights" / "b.gguf"
    assert path_in(ModelSpec.from_dict(ENTRIES[2]), "huggingface_id").absolute() == place / "weights" / "a.gguf"


def test_a_path_that_only_the_working_directory_has_is_an_error_that_says_so(place, tmp_path, playbill):
    """It was read so once, and whoever relied on that is told what to do."""
    fill(place)
    there = tmp_path / "far" / "model_registry.json"
    there.parent.mkdir()
    (place / "model_registry.json").rename(there)
    registry = ModelRegistry.from_file(there)
    asked = {
        "dotted": (load_prompt_path, "folder"),
        "gguf": (lambda spec: find_weights(spec, Credentials.load()), "file or folder"),
        "service": (load_spec, "ca_bundle"),
    }
    for name, (load, key) in asked.items():
        with pytest.raises((WeightsError, EntryError)) as refused:
            load(find_spec(name, registry=registry))
        assert f"there is no {key}" in str(refused.value)
        assert "is there, but paths in an entry are relative to the file that holds it" in str(refused.value)
    code, out, _ = playbill("check", "gguf", "--registry", str(there))
    assert code == 1
    assert "PB122" in out
    assert "paths in an entry are relative" in out


def test_show_says_where_a_path_leads(place, tmp_path, playbill):
    """In words and in JSON; a name of the hub leads nowhere here."""
    there = fill(tmp_path / "far") / "model_registry.json"
    _, out, _ = playbill("show", "folder", "--registry", str(there))
    assert f"(that is {tmp_path / 'far' / 'weights' / 'tiny'})" in out
    _, out, _ = playbill("show", "dotted", "--registry", str(there), "--json")
    assert json.loads(out)["paths"].keys() == {"huggingface_id", "peft_model"}
    _, out, _ = playbill("show", "SmolLM2-135M-Instruct", "--json")
    assert json.loads(out)["paths"] == {}


def test_an_import_into_another_folder_writes_paths_whole(place, tmp_path, playbill):
    """Beside the old file they stay as they are."""
    there = fill(tmp_path / "far")
    moved = {e["model_name"]: e for e in import_registry(there / "model_registry.json", place).registry}
    assert moved["dotted"]["huggingface_id"] == str(there / "weights" / "tiny")
    assert moved["dotted"]["peft_model"] == str(there / "weights" / "adapter")
    assert moved["service"]["ca_bundle"] == str(there / "ca.pem")
    assert import_registry(there / "model_registry.json", there).registry[1]["huggingface_id"] == "./weights/tiny"
    _, _, err = playbill("import", str(there / "model_registry.json"), "-o", "new.json")
    assert "'ca.pem' is relative to the folder of the old file" in err


def test_each_key_of_the_table_that_speaks_of_files_is_a_path_or_known_to_be_none():
    """A glob inside a folder, and a template, are no paths."""
    inside = {"filename", "gguf_file", "additional_files", "slow_tokenizer", "dtype"}
    speaking = {k for k, key in ENTRY_KEYS.items() if {"file", "folder"} & set(key.summary.lower().split())}
    assert speaking - inside <= PATHS | {"custom_chat_template", "key_section", "bos_string", "eos_string"}
