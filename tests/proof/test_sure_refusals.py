"""What every load will refuse, `check` calls an error; what it couldn't look at, it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from playbill.backends.registry.lookup import ModelRegistry
from playbill.proof.check import Options, check_all
from support.proof_planted import entry


def verdict(spec: dict, folder: Path, *, fetch: bool = True):
    path = folder / "r.json"
    path.write_text(json.dumps([spec]))
    registry = ModelRegistry.from_file(str(path))
    return next(iter(check_all(registry, registry, Options(fetch=fetch))))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The bytes of a GGUF file that llama.cpp loads, and a folder."""
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    from support.gguf_smollm2 import write_tiny

    folder = tmp_path_factory.mktemp("gguf")
    return write_tiny(folder)[0].read_bytes()


def test_a_cache_in_a_long_path_makes_no_model_unloadable(tiny, place, monkeypatch):
    """The path of a socket has a hundred characters at the most; that of a cache may have more."""
    monkeypatch.setenv("PLAYBILL_CACHE", str(place / ("deep" * 12) / ("deeper" * 12)))
    (place / "m.gguf").write_bytes(tiny)
    spec = {"model_name": "m", "backend": "llamacpp", "huggingface_id": str(place / "m.gguf"), "context_size": 512}
    found = verdict({**spec, "premade_chat_template": True, "eos_to_cull": "<|im_end|>"}, place)
    assert [f for f in found.findings if f.code == "PB225"] == []


PREMADE = {"premade_chat_template": True, "custom_chat_template": None}
DAMAGE = {
    "sound": (lambda b: b, None),
    "architecture": (lambda b: b.replace(b"\x05" + b"\0" * 7 + b"llama", b"\x05" + b"\0" * 7 + b"lxama", 1), "'lxama'"),
    "cut off": (lambda b: b[: len(b) * 2 // 3], "not within the file bounds"),
    "tensor": (
        lambda b: b.replace(b"blk.1.attn_q.weight", b"blk.1.attn_x.weight", 1),
        "'blk.1.attn_q.weight' not found",
    ),
    "tokenizer": (lambda b: b.replace(b"\x04" + b"\0" * 7 + b"gpt2", b"\x04" + b"\0" * 7 + b"gptx", 1), "'gptx'"),
    "header": (lambda b: b[:300], "no GGUF file that can be read"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_gguf_file_that_llama_cpp_does_not_take_is_an_error(tiny, place, damage):
    """In llama.cpp's own words, without loading the weights."""
    change, said = DAMAGE[damage]
    (place / "m.gguf").write_bytes(change(tiny))
    spec = {"model_name": "m", "backend": "llamacpp", "huggingface_id": str(place / "m.gguf"), "context_size": 512}
    found = verdict({**spec, "premade_chat_template": True, "eos_to_cull": "<|im_end|>"}, place)
    faults = [f for f in found.findings if f.code == "PB225"]
    assert found.wrong is (said is not None)
    assert len(faults) == (said is not None)
    assert said is None or said in faults[0].message
    assert found.unseen == ()


@pytest.fixture
def model_folder(place):
    """A folder with configuration, tokenizer and an index of weights in two parts, of which one is there."""
    pytest.importorskip("transformers")
    from support.smollm2 import smollm2_folder

    real, folder = smollm2_folder(), place / "model"
    folder.mkdir()
    for file in real.iterdir():
        if file.suffix in (".json", ".jinja", ".txt") and "index" not in file.name:
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def whole(size: int = 8) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * size


def index(*files: str) -> str:
    """An index that lists these files."""
    return json.dumps({"weight_map": {f"t{n}": f for n, f in enumerate(files)}})


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"model.safetensors": whole()}, None),
        ({}, "has no weights that transformers can load"),
        ({"model.safetensors": whole(3)}, "is cut off"),
        ({"model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"}, "is no safetensors file"),
        (
            {"model.safetensors.index.json": index("a.safetensors", "b.safetensors"), "a.safetensors": whole()},
            "lacks b",
        ),
        ({"model.safetensors.index.json": "{"}, "is no index of weights"),
    ],
)
def test_a_folder_without_whole_weights_is_an_error(model_folder, place, files, said):
    """By the files that are there, and how long each should be."""
    for name, content in files.items():
        (model_folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = verdict(entry(backend="huggingface_local", huggingface_id=str(model_folder), **PREMADE), place)
    faults = [f.message for f in found.findings if f.code == "PB225"]
    assert (len(faults) == 1 and said in faults[0]) if said else faults == []
    assert found.wrong is bool(said)


def test_what_was_not_looked_at_is_named(place, monkeypatch):
    """A hub that isn't asked or doesn't answer, a key that isn't there, a package that isn't installed."""
    hub = entry(huggingface_id="org/model")
    assert verdict(hub, place, fetch=False).unseen == ("the prompt path", "the weights")
    pytest.importorskip("huggingface_hub")
    verdict(hub, place, fetch=False)  # writes r.json
    command = [sys.executable, "-m", "playbill", "check", "r.json", "--fetch", "--json"]
    silent = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=place, env=silent, capture_output=True, text=True, timeout=100)
    (unreachable,) = json.loads(done.stdout)
    assert unreachable["not_looked_at"] == ["the prompt path", "the weights"]
    assert not unreachable["wrong"]
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    pytest.importorskip("openai")
    service = verdict({"model_name": "gpt-4o", "backend": "openai"}, place)
    assert service.unseen[0].startswith("the service, which a load here would not reach: no API key for openai")
    assert not service.wrong
    assert service.to_dict()["not_looked_at"] == list(service.unseen)
