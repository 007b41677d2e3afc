"""Weights from the hub: the real hub library against a hub of the tests' own, in a process of its own.

The hub library reads its address once, on import, hence the other process.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.hub_server import COMMIT, Repo, serve
from support.smollm2 import tiny_folder

ENTRY = {
    "model_name": "tiny",
    "backend": "huggingface_local",
    "huggingface_id": "lab/tiny",
    "premade_chat_template": True,
    "eos_to_cull": "<|im_end|>",
}
SECRET = "hf_neverToBeSeenAnywhere0123456789"
CLIENT = """
import json, sys
from playbill.backends import PlaybillError, load_model
from playbill.backends.loading import load_prompt_path
job = json.load(sys.stdin)
try:
    if job["load"]:
        with load_model(job["entry"], max_tokens=3) as model:
            answer = model.generate([{"role": "user", "content": "Hello"}])
            done = {"ids": list(answer.output_ids), "facts": dict(model.engine.facts())}
    else:
        _, path = load_prompt_path(job["entry"])
        done = {"stops": sorted(path.stops.id_set)}
except PlaybillError as e:
    done = {"error": type(e).__name__, "message": str(e)}
json.dump(done, sys.stdout)
"""


@dataclass(frozen=True)
class Client:
    """Another process with an empty home, in which a model is loaded or previewed."""

    home: Path

    def ask(self, url: str, entry: dict[str, Any], *, load: bool = False, **env: str) -> dict[str, Any]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        own = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / ".config"), "HF_ENDPOINT": url}
        done = subprocess.run(
            [sys.executable, "-c", CLIENT],
            input=json.dumps({"entry": entry, "load": load}),
            env={**kept, **own, **env},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return json.loads(done.stdout)

    def give_key(self, key: str, url: str) -> None:
        """Put a token into key.json, with the address that it may go to."""
        (self.home / "key.json").write_text(json.dumps({"huggingface": {"api_key": key, "base_url": url}}))


@pytest.fixture
def client(tmp_path):
    return Client(tmp_path)


def tiny_repo(**more: Any) -> Repo:
    folder = tiny_folder()
    return Repo(
        {path.name: path for path in folder.iterdir()} | {"README.md": b"# tiny", "onnx/model.json": b"{}"}, **more
    )


def test_weights_come_from_the_hub_once_and_say_their_commit(client):
    """A model is downloaded, answers, and says which commit it is of; a second load downloads nothing."""
    with serve({"lab/tiny": tiny_repo()}) as hub:
        first = client.ask(hub.url, ENTRY, load=True)
        downloaded = list(hub.downloads)
        again = client.ask(hub.url, ENTRY, load=True)
        assert hub.downloads == downloaded
    offline = client.ask("http://127.0.0.1:9", ENTRY, load=True)
    assert len(first["ids"]) == 3
    assert first["ids"] == again["ids"] == offline["ids"]
    assert first["facts"]["revision"] == COMMIT
    assert "model.safetensors" in downloaded
    assert "README.md" not in downloaded
    assert len(set(downloaded)) == len(downloaded)


def test_a_preview_downloads_no_weights(client):
    """What shows a prompt fetches the tokenizer and the configuration, and nothing else."""
    with serve({"lab/tiny": tiny_repo()}) as hub:
        assert client.ask(hub.url, ENTRY) == {"stops": [2]}
        assert "tokenizer.json" in hub.downloads
        assert not [name for name in hub.downloads if name.endswith(".safetensors")]


def test_a_gated_model_without_a_token_fails_before_any_download(client):
    """Where the entry says requires_api_key and there is no token, nothing is asked of the hub at all."""
    with serve({"lab/tiny": tiny_repo(gated=frozenset())}) as hub:
        found = client.ask(hub.url, {**ENTRY, "requires_api_key": True}, load=True)
        assert hub.requests == []
    assert found["error"] == "CredentialsError"
    assert "playbill keys set huggingface" in found["message"]
    assert "https://huggingface.co/settings/tokens" in found["message"]


def test_the_token_of_key_json_opens_a_gated_model(client):
    """With requires_api_key the token from key.json goes with every request, and only then."""
    with serve({"lab/tiny": tiny_repo(gated=frozenset({SECRET}))}, tokens=(SECRET,)) as hub:
        client.give_key(SECRET, hub.url)
        without = client.ask(hub.url, ENTRY)
        assert {token for _, path, token in hub.requests if "lab/tiny" in path} == {None}
        hub.requests.clear()
        assert client.ask(hub.url, {**ENTRY, "requires_api_key": True}) == {"stops": [2]}
        assert {token for _, path, token in hub.requests if "lab/tiny" in path} == {SECRET}
    assert without["error"] == "CredentialsError"
    assert '"requires_api_key": true' in without["message"]


def test_a_token_goes_to_no_other_host(client):
    """A token that belongs to another address is not sent, and the error says how to allow it."""
    with serve({"lab/tiny": tiny_repo()}, tokens=(SECRET,)) as hub:
        client.give_key(SECRET, "https://huggingface.co")
        found = client.ask(hub.url, {**ENTRY, "requires_api_key": True})
        assert hub.requests == []
    assert found["error"] == "CredentialsError"
    assert f"playbill keys allow huggingface {hub.url}" in found["message"]


def test_the_hub_librarys_own_login_is_used_where_key_json_has_no_token(client):
    """Without a section in key.json the token is the one of `hf auth login`, once it may go to this address."""
    (client.home / "key.json").write_text("{}")
    (client.home / "token").write_text(SECRET)
    with serve({"lab/tiny": tiny_repo(gated=frozenset({SECRET}))}, tokens=(SECRET,)) as hub:
        entry = {**ENTRY, "requires_api_key": True}
        found = client.ask(hub.url, entry, HF_TOKEN_PATH=str(client.home / "token"))
        section = json.dumps({"huggingface": {"allowed_urls": [hub.url]}})
        (client.home / "key.json").write_text(section)
        not_from_here = client.ask(hub.url, entry, HF_TOKEN_PATH=str(client.home / "token"))
        own = client.home / ".config" / "playbill" / "key.json"
        own.parent.mkdir(parents=True)
        own.write_text(section)
        allowed = client.ask(hub.url, entry, HF_TOKEN_PATH=str(client.home / "token"))
    assert found["error"] == "CredentialsError"
    assert "the hub library's login" in found["message"]
    assert not_from_here == found  # a file in the working directory gives a key of elsewhere no new home
    assert allowed == {"stops": [2]}


@pytest.mark.parametrize(
    ("entry", "kind", "words"),
    [
        ({"huggingface_id": "lab/tyni"}, "WeightsError", "has no model 'lab/tyni': huggingface_id is misspelt"),
        ({"revision": "v9"}, "WeightsError", "has no revision 'v9'"),
        ({"gguf_file": "tiny.gguf"}, "WeightsError", "has no file 'tiny.gguf' (gguf_file)"),
        ({"huggingface_id": "lab/gated"}, "CredentialsError", "lab/gated is gated: ask for access at"),
        ({"huggingface_id": "lab/empty"}, "WeightsError", "has no weights that transformers can load"),
        ({"huggingface_id": "lab/tiny/x"}, "WeightsError", "neither a folder here nor a repository's name"),
        ({"huggingface_id": "./lab/tiny"}, "WeightsError", "there is no folder lab/tiny"),
    ],
)
def test_what_the_hub_does_not_have_is_said(client, entry, kind, words):
    """Each thing that can be missing has its own message, which says what to do."""
    small = {"config.json": tiny_folder() / "config.json"}
    repos = {"lab/tiny": tiny_repo(), "lab/gated": tiny_repo(gated=frozenset()), "lab/empty": Repo(small)}
    with serve(repos) as hub:
        found = client.ask(hub.url, {**ENTRY, **entry}, load=True)
    assert found["error"] == kind
    assert words in found["message"]


@pytest.mark.parametrize(
    ("known", "kind", "words"),
    [((), "CredentialsError", "refuses the token"), ((SECRET,), "WeightsError", "your token's account has no access")],
)
def test_a_token_that_opens_nothing_is_told_apart(client, known, kind, words):
    """A wrong token and a right one without access are two things, and the token itself is never shown."""
    with serve({"lab/tiny": tiny_repo(gated=frozenset())}, tokens=known) as hub:
        client.give_key(SECRET, hub.url)
        found = client.ask(hub.url, {**ENTRY, "requires_api_key": True})
    assert found["error"] == kind
    assert words in found["message"]


def test_no_network_and_offline_mode_say_so(client):
    """A hub that nobody answers for, and one that must not be asked, end in messages that name the way out."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
        unreachable = client.ask(closed, ENTRY)
    offline = client.ask(closed, ENTRY, HF_HUB_OFFLINE="1")
    assert unreachable["error"] == offline["error"] == "WeightsError"
    assert "can't be reached" in unreachable["message"]
    assert "HF_HUB_OFFLINE" in offline["message"]


def test_the_asked_revision_is_the_one_that_is_loaded(client):
    """The key revision reaches the hub: the requests are for it, and not for the main branch."""
    with serve({"lab/tiny": tiny_repo(revisions=("v2", COMMIT))}) as hub:
        assert client.ask(hub.url, {**ENTRY, "revision": "v2"}) == {"stops": [2]}
        assert client.ask(hub.url, ENTRY)["error"] == "WeightsError"
