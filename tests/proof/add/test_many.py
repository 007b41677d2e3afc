"""Entries for many models at once: from lists, folders and a hub; one failure stops no other, a kill loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from playbill.backends.errors import InputError
from playbill.proof.add.many import Derived, choose_new, expand_sources
from playbill.proof.add.sources import Proposal
from support import hub_server
from support.tiny_gguf import tiny_gguf

SOURCE = str(Path(__file__).parents[3] / "src")


def proposal(name: str) -> Proposal:
    return Proposal({"model_name": name, "backend": "human"}, {"model_name": "given", "backend": "given"})


def test_a_folder_of_models_gives_each_of_them(tmp_path):
    """One or two levels down; a folder that is a model, and what is no folder, stay as they are."""
    for name in ("a", "org/b", "org/c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "m.gguf").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    found = expand_sources([str(tmp_path), str(tmp_path / "a"), "org/m", "http://here/v1", str(tmp_path / "empty")])
    inside = [str(tmp_path / name) for name in ("a", "g", "org/b", "org/c")]
    assert found == [*inside, "org/m", "http://here/v1", str(tmp_path / "empty")]


def test_the_hubs_cache_gives_its_repositories(tmp_path, monkeypatch):
    """Only the cache that is in use: another one's files would not be found."""
    for name in ("models--org--m-1", "models--org--with--dashes", "datasets--org--d"):
        (tmp_path / "hub" / name / "snapshots").mkdir(parents=True)
    with pytest.raises(InputError, match="HF_HUB_CACHE="):
        expand_sources([str(tmp_path / "hub")])
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert expand_sources([str(tmp_path / "hub")]) == ["org/m-1", "org/with--dashes"]


def test_a_name_is_given_once(tmp_path):
    """What is in the file stays; of two sources with one name the first has it, and the other is told."""
    derived = [Derived("x/a", (proposal("a"),)), Derived("y/a", (proposal("a"),)), Derived("z", error="gone")]
    chosen = choose_new(derived, ())
    assert [p.values["model_name"] for p in chosen.proposals] == ["a"]
    assert [(d.source, "x/a" in (d.error or "")) for d in chosen.failed] == [("z", False), ("y/a", True)]


class Gate(dict):
    """The files of a repository that wait until they are let through."""

    def __init__(self, files, gate):
        super().__init__(files)
        self._gate = gate

    def get(self, name, default=None):
        self._gate.wait(60)
        return super().get(name, default)


@pytest.fixture
def environment(place):
    def environment(url):
        return {
            **{"HF_ENDPOINT": url, "HF_HOME": str(place / "hf"), "HOME": str(place), "PATH": "/usr/bin:/bin"},
            **{"PYTHONPATH": SOURCE, "OMP_WAIT_POLICY": "passive"},
        }

    return environment


def command(*more: str) -> list[str]:
    return [sys.executable, "-m", "playbill", "add", "--from", "ids.txt", "-y", "--state", "state.jsonl", *more]


def test_a_killed_call_goes_on_where_it_was(place, environment):
    """Six repositories of a hub, one of them missing and one that hangs: killed there, then called again."""
    pytest.importorskip("xllamacpp")
    file = tiny_gguf()
    gate = threading.Event()
    names = [f"org/m{i}" for i in range(4)]
    repos = {name: hub_server.Repo({"m.gguf": file}) for name in names}
    repos["org/stuck"] = hub_server.Repo(Gate({"m.gguf": file}, gate))
    (place / "ids.txt").write_text("\n".join(["# mine", *names[:2], "org/stuck", "org/missing", *names[2:]]))
    with hub_server.serve(repos) as hub:
        running = subprocess.Popen(
            command("--jobs", "2"), env=environment(hub.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        state, end = place / "state.jsonl", time.monotonic() + 120
        while (len(state.read_text().splitlines()) if state.exists() else 0) < 4:
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)
        running.kill()
        running.communicate()
        assert not (place / "model_registry.json").exists()
        gate.set()
        hub.requests.clear()
        done = subprocess.run(command("--json"), env=environment(hub.url), capture_output=True, text=True, check=False)
        asked = " ".join(path for _, path, _ in hub.requests)
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert [each["entry"]["model_name"] for each in said["added"]] == ["m0", "m1", "stuck", "m2", "m3"]
    assert [each["source"] for each in said["failed"]] == ["org/missing"]
    assert said["summary"]["entries"] == 5
    assert "5 added, 1 source gave none" in done.stderr
    assert [e["huggingface_id"] for e in json.loads((place / "model_registry.json").read_text())][2] == "org/stuck"
    assert "org/stuck" in asked
    assert "org/missing" in asked


def test_local_folders_are_added_and_judged_together(playbill, place):
    """Each is read by itself; a second call adds nothing and says what is there."""
    pytest.importorskip("xllamacpp")
    for name in ("one", "two"):
        folder = place / "models" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.gguf").write_bytes(tiny_gguf())
    (place / "models" / "broken").mkdir()
    (place / "models" / "broken" / "x.gguf").write_bytes(b"hello")
    code, out, err = playbill("add", "models", "-y", "--state", "state.jsonl")
    assert code == 1
    names = [entry["model_name"] for entry in json.loads((place / "model_registry.json").read_text())]
    assert names == ["one", "two"]
    assert "looked as deep as: the prompt path for 2" in out
    assert "model_registry.json: 2 added, 1 source gave none: the same call tries again" in err
    before = (place / "model_registry.json").read_text()
    code, out, err = playbill("add", "models", "-y", "--state", "state.jsonl")
    assert code == 1
    assert "0 added, 2 were there already" in err
    assert (place / "model_registry.json").read_text() == before
    code, _, err = playbill("add", "models/broken", "nothing.gguf", "-y")
    assert code == 2
    assert "none of 2 sources gave an entry; nothing was written" in err
