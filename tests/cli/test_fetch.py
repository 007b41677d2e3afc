"""`playbill fetch` against a hub of the tests' own, in a process of its own: the hub library reads its address once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.hub_server import COMMIT, Repo, serve

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
EMPTY = (2).to_bytes(8, "little") + b"{}"
"""A safetensors file without tensors."""
INDEX = {"metadata": {"total_size": 1000}, "weight_map": {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0]}}
SHARDED = Repo(
    {
        "config.json": b'{"model_type": "llama", "dtype": "bfloat16"}',
        "tokenizer.json": b"{}",
        "README.md": b"# not needed",
        "code.py": b"pass",
        "model.safetensors.index.json": json.dumps(INDEX).encode(),
        **dict.fromkeys(SHARDS, EMPTY),
    }
)
GGUFS = Repo({"tiny-q4.gguf": b"GGUF four", "tiny-q8.gguf": b"GGUF eight"})
ENTRIES = [
    {"model_name": "sharded", "backend": "huggingface_local", "huggingface_id": "lab/sharded", "eos_to_cull": "</s>"},
    {
        "model_name": "gguf",
        "backend": "llamacpp",
        "huggingface_id": "lab/gguf",
        "filename": "*q4*",
        "eos_to_cull": "</s>",
    },
    {"model_name": "asked", "backend": "openai_compatible", "model_id": "x", "base_url": "http://127.0.0.1:9/v1"},
]


@pytest.fixture
def fetch(tmp_path):
    """Call `playbill fetch … --json` with an empty home; give the exit code, the results and what was said."""
    entries = [{"premade_chat_template": True, **entry} if "huggingface_id" in entry else entry for entry in ENTRIES]
    (tmp_path / "model_registry.json").write_text(json.dumps(entries))

    def call(url: str, *names: str, **env: str) -> tuple[int, list[dict[str, Any]], str]:
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()
        }
        own = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / ".config"), "HF_ENDPOINT": url}
        command = [sys.executable, "-m", "playbill", "fetch", *names, "--json"]
        done = subprocess.run(
            command, env={**kept, **own, **env}, cwd=tmp_path, capture_output=True, text=True, timeout=100
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout), done.stderr

    return call


def unused_address() -> str:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


def names_of(result: dict[str, Any]) -> list[str]:
    return [Path(file).name for file in result["files"]]


def test_all_files_of_a_model_come_once_and_load_from_the_cache_afterwards(fetch):
    """Every part of the weights, and nothing that isn't needed; without a network the cache is enough, at once."""
    with serve({"lab/sharded": SHARDED, "lab/gguf": GGUFS}) as hub:
        code, (sharded, gguf), said = fetch(hub.url, "sharded", "gguf")
        assert (code, said) == (0, "")
        first = sorted(hub.downloads)
        assert fetch(hub.url, "sharded", "gguf")[0] == 0
        assert sorted(hub.downloads) == first
    assert names_of(sharded) == ["config.json", *SHARDS, "model.safetensors.index.json", "tokenizer.json"]
    assert names_of(gguf) == ["tiny-q4.gguf"]
    assert (sharded["revision"], gguf["revision"]) == (COMMIT, COMMIT)
    assert gguf["bytes"] == len(b"GGUF four")
    code, again, said = fetch(unused_address(), "sharded", "gguf")
    assert (code, again) == (0, [sharded, gguf])
    assert "can't be reached (ConnectError); files come from the hub's cache alone" in said
    assert fetch(unused_address(), "sharded", "gguf", HF_HUB_OFFLINE="1") == (0, [sharded, gguf], "")


LOOK = """
from playbill.backends.loading import find_spec, look_before_load, measure_model
spec = find_spec("sharded")
look = look_before_load(spec)
print(look.fault, "/", look.unseen, "/", measure_model(spec).weights)
"""


def test_what_was_fetched_is_looked_at_and_measured_without_asking(fetch, tmp_path):
    """The hub's cache is looked into as a folder is; before the fetch the weights are said to be missing."""

    def looked(url: str) -> tuple[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        own = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / ".config"), "HF_ENDPOINT": url}
        command = [sys.executable, "-c", LOOK]
        done = subprocess.run(command, env={**kept, **own}, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        return done.stdout.strip(), done.stderr

    with serve({"lab/sharded": SHARDED}) as hub:
        before, said = looked(hub.url)
        assert before == "None / the weights, which were not fetched / 1000", said
        assert fetch(hub.url, "sharded")[0] == 0
        hub.requests.clear()
        assert looked(hub.url) == ("None / None / 1000", "")
        assert hub.requests == []


def test_a_small_file_that_is_none_is_left_out(fetch):
    """A JSON file of gigabytes is no tokenizer's: it would fill the disk of whoever looks at the repository."""
    files = {**SHARDED.files, "training_log.json": b"{}"}
    with serve({"lab/sharded": Repo(files, sizes={"training_log.json": 10_000_000_000})}) as hub:
        code, (result,), said = fetch(hub.url, "sharded")
        assert "training_log.json" not in hub.downloads
    assert code == 0
    assert "training_log.json" not in names_of(result)
    assert "training_log.json is left out: it has more than 200,000,000 bytes" in said


def test_what_is_not_in_the_cache_is_said_with_the_way_out(fetch):
    """A cache with the small files alone, as a check leaves it, is not a model without weights."""
    small = Repo({name: content for name, content in SHARDED.files.items() if name not in SHARDS})
    with serve({"lab/sharded": small}) as hub:
        code, (lacking,), _ = fetch(hub.url, "sharded")
    assert code == 2
    assert "lacks 2 files that its index names" in lacking["error"]
    code, (offline,), _ = fetch(unused_address(), "sharded", HF_HUB_OFFLINE="1")
    assert code == 2
    assert "HF_HUB_OFFLINE forbids downloads" in offline["error"]
    assert "playbill fetch NAME" in offline["error"]
    code, results, said = fetch(unused_address(), "gguf", "asked", "nobody")
    assert code == 2
    assert "can't be reached, and lab/gguf is not (wholly) in the hub's cache" in results[0]["error"]
    assert results[1]["error"] is None
    assert "asked: nothing to fetch, openai_compatible has no files here" in said
    assert "no model is called 'nobody'" in results[2]["error"]
