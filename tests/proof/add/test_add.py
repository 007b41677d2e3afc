"""`playbill add` and what is behind it: entries derived from files, the hub and servers; text put into a file."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import support.proof_planted as planted
from playbill.backends import Context, Credentials, InputError
from playbill.backends.errors import FileFormatError, PlaybillError, WeightsError
from playbill.proof.add.insert import plan_insertion
from playbill.proof.add.sources import propose
from playbill.proof.add.sources.size import count_parameters, shown_count
from playbill.proof.add.web import Server, ServerError
from support import hub_server

NEW = {"model_name": "new", "backend": "programmatic"}


def context(credentials=()) -> Context:
    return Context(credentials=Credentials(credentials), date=datetime(2026, 11, 23))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "[ ]\n",
        '[{"model_name": "a"}]',
        '[{"model_name":"a"},{"model_name":"b"}]\n\n',
        '[\n    {\n        "model_name":   "a"\n    }\n]',
        '\ufeff[\r\n\t{"model_name": "ä"}\r\n]\r\n',
    ],
)
def test_what_is_in_the_file_stays_byte_for_byte(tmp_path, text):
    """An entry is put before the closing bracket; all other text, line ends and marks stay."""
    path = tmp_path / "r.json"
    path.write_bytes(text.encode())
    plan_insertion(path, [NEW]).write()
    after = path.read_bytes().decode()
    head, tail = text[: text.rindex("]")].rstrip(), text[text.rindex("]") :]
    assert after.startswith(head)
    assert after.endswith(tail)
    assert json.loads(after.removeprefix("\ufeff"))[-1] == NEW
    assert json.loads(after.removeprefix("\ufeff"))[:-1] == json.loads(text.removeprefix("\ufeff"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.lists(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), VALUES, max_size=4), max_size=4)


@settings(deadline=None)
@given(entries=ENTRIES, indent=st.sampled_from([None, 0, 1, 2, 4, "\t"]), end=st.sampled_from(["", "\n", "  \r\n"]))
def test_any_registry_takes_an_entry(entries, indent, end, tmp_path_factory):
    """Whatever stands in a file, in whatever indentation, it is still there afterwards."""
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(entries, indent=indent) + end, encoding="utf-8", newline="")
    plan_insertion(path, [NEW]).write()
    assert json.loads(path.read_text(encoding="utf-8")) == [*entries, NEW]


@pytest.mark.parametrize("text", ["{}", "[", '[{"a": 1},]', "", "[1e999]"])
def test_a_broken_file_is_an_error_and_stays(tmp_path, text):
    """What is no registry is not mended by an insertion."""
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=r"r\.json"):
        plan_insertion(path, [NEW])
    assert path.read_text() == text


def test_a_name_that_is_there_already_is_refused(tmp_path):
    """The place of the old entry is named; the new one would never be found."""
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{"model_name": "other"}, NEW]))
    with pytest.raises(InputError, match=r"\$\[1\].*--name"):
        plan_insertion(path, [NEW])


def test_a_file_that_changes_meanwhile_is_not_overwritten(tmp_path):
    """Between the question and the answer somebody else may write."""
    path = tmp_path / "r.json"
    insertion = plan_insertion(path, [NEW])
    path.write_text("[]")
    with pytest.raises(InputError, match="changed"):
        insertion.write()
    assert path.read_text() == "[]"


def test_the_gguf_file_gives_an_entry_that_passes_live(playbill, place):
    """One command on SmolLM2's GGUF file; then `check --live` finds nothing but
    perhaps rounding in a batch."""
    pytest.importorskip("xllamacpp")
    from support.smollm2 import GGUF, gguf_folder

    code, out, err = playbill("add", str(gguf_folder() / GGUF), "--name", "smol", "-y")
    assert (code, err) == (0, "1 entry: 0 errors, 0 warnings, 1 note\n")
    assert "PB223 own-system-prompt" in out  # "You are a helpful AI assistant named SmolLM, …"
    assert "general.size_label in the GGUF file" in out
    entry = json.loads((place / "model_registry.json").read_text())[0]
    wanted = {"model_name": "smol", "backend": "llamacpp", "eos_to_cull": "<|im_end|>", "context_size": 8192}
    assert {
        **wanted,
        "premade_chat_template": True,
        "parameters": "135M",
        "license": "apache-2.0",
    }.items() <= entry.items()
    code, out, _ = playbill("check", "smol", "--live", "--json")
    assert (code, json.loads(out)[0]["depth"]) == (0, 3)
    assert [f["code"] for f in json.loads(out)[0]["findings"] if f["code"] != "PB308"] == ["PB223"]


def test_the_folder_gives_an_entry_that_passes_live(playbill, place):
    """The same weights for transformers; parameters are counted by the shapes of the weights."""
    pytest.importorskip("torch")
    from support.smollm2 import smollm2_folder

    code, _, err = playbill("add", str(smollm2_folder()), "-y")
    assert (code, err.splitlines()[-1]) == (0, "1 entry: 0 errors, 0 warnings, 1 note")
    entry = json.loads((place / "model_registry.json").read_text())[0]
    assert (entry["backend"], entry["eos_to_cull"], entry["parameters"]) == ("huggingface_local", "<|im_end|>", "135M")
    code, out, _ = playbill("check", entry["model_name"], "--live", "--json")
    assert (code, json.loads(out)[0]["depth"]) == (0, 3)
    assert [f["code"] for f in json.loads(out)[0]["findings"] if f["code"] != "PB308"] == ["PB223"]


def test_checking_a_folder_needs_no_torch(place):
    """The command looks at tokenizer and configuration, and doesn't import torch even where it is installed."""
    pytest.importorskip("transformers")
    from support.smollm2 import smollm2_folder

    entry = {"model_name": "smol", "backend": "huggingface_local", "huggingface_id": str(smollm2_folder())}
    entry |= {"premade_chat_template": True, "eos_to_cull": "<|im_end|>"}
    (place / "model_registry.json").write_text(json.dumps([entry]))
    command = [sys.executable, "-X", "importtime", "-m", "playbill", "check", "smol", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0]["depth"] == 2
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "transformers" in imported
    assert "torch" not in imported


@pytest.fixture
def tiny_files():
    """The small files of SmolLM2 as a repository of the hub has them; its weights are a name only."""
    pytest.importorskip("transformers")
    from support.smollm2 import smollm2_folder

    names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    files: dict[str, bytes | Path] = {n: smollm2_folder() / n for n in names if (smollm2_folder() / n).exists()}
    card = b"---\nlicense: apache-2.0\nlanguage:\n- en\n- de\n---\n# A model\n"
    return {**files, "README.md": card, "model.safetensors": b"never fetched"}


def add_from(hub, place, arguments=()) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, since the hub's library reads its variables once."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(place / "hf"), "HOME": str(place), "PATH": "/usr/bin:/bin"}
    run = [sys.executable, "-m", "playbill", "add", "org/smol", "-y", "--json", *arguments]
    source = str(Path(planted.__file__).parents[2] / "src")
    return subprocess.run(run, env={**variables, "PYTHONPATH": source}, capture_output=True, text=True, check=False)


def test_a_repository_of_the_hub_gives_an_entry(place, tiny_files):
    """Licence and languages are the card's; the weights are not fetched."""
    with hub_server.serve({"org/smol": hub_server.Repo(tiny_files)}) as hub:
        done = add_from(hub, place)
        assert "model.safetensors" not in hub.downloads
    assert done.returncode == 0, done.stderr
    added = json.loads(done.stdout)["added"][0]
    assert added["entry"]["license"] == "apache-2.0"
    assert added["entry"]["languages"] == ["en", "de"]
    assert added["entry"]["huggingface_id"] == "org/smol"
    assert added["origins"]["languages"] == "the model card"
    assert added["entry"]["open_weight"] is True
    assert json.loads((place / "model_registry.json").read_text()) == [added["entry"]]


def test_nothing_is_claimed_that_nobody_says(playbill, place, tiny_files):
    """A folder is no publication, nor is a private repository; a day on which a repository was made is no release."""
    folder = place / "mine"
    folder.mkdir()
    for name, content in tiny_files.items():
        if name != "README.md":
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    code, out, _ = playbill("add", "mine", "-y", "--json")
    entry = json.loads(out)["added"][0]["entry"]
    assert code == 0
    assert not {"open_weight", "license", "languages", "release_date"} & entry.keys()
    repo = hub_server.Repo(tiny_files, private=True, created="2020-01-01T00:00:00.000Z")
    with hub_server.serve({"org/smol": repo}, tokens=("hf_mine",)) as hub:
        (place / "key.json").write_text(json.dumps({"huggingface": {"api_key": "hf_mine", "base_url": hub.url}}))
        done = add_from(hub, place)
    assert done.returncode == 0, done.stderr
    assert not {"open_weight", "release_date"} & json.loads(done.stdout)["added"][0]["entry"].keys()


def test_a_missing_repository_and_a_silent_hub_are_one_line_each(place):
    """Exit code 2, what to do, no traceback, nothing written."""
    with hub_server.serve({}) as hub:
        missing = add_from(hub, place)
    silent = add_from(hub, place)
    assert "has no model 'org/smol'" in missing.stderr
    assert "can't be reached" in silent.stderr
    for done in (missing, silent):
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    assert not (place / "model_registry.json").exists()


def test_a_gated_repository_needs_a_token_and_says_so_in_its_entry(place, tiny_files):
    """Without a token nothing is written; with one the entry asks for it. A token never shows."""
    repo = hub_server.Repo(tiny_files, gated=frozenset({"hf_mine"}))
    with hub_server.serve({"org/smol": repo}, tokens=("hf_mine",)) as hub:
        without = add_from(hub, place)
        (place / "key.json").write_text(json.dumps({"huggingface": {"api_key": "hf_mine", "base_url": hub.url}}))
        done = add_from(hub, place)
    assert without.returncode == 2
    assert "needs a token" in without.stderr
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"][0]["entry"]["requires_api_key"] is True
    assert "hf_mine" not in done.stdout + done.stderr


def test_of_several_gguf_files_one_must_be_named(place):
    """The error lists them; a glob that means none lists them too."""
    pytest.importorskip("xllamacpp")
    from support.smollm2 import GGUF, gguf_folder

    files = {"a-Q4_1.gguf": gguf_folder() / GGUF, "b-Q8_0.gguf": b"never fetched"}
    with hub_server.serve({"org/smol": hub_server.Repo(files)}) as hub:
        several = add_from(hub, place)
        renamed = add_from(hub, place, arguments=["--filename", "*Q5*"])
        one = add_from(hub, place, arguments=["--filename", "*Q4*"])
    assert (several.returncode, renamed.returncode, one.returncode) == (2, 2, 0)
    for failed in (several, renamed):
        assert "a-Q4_1.gguf, b-Q8_0.gguf" in failed.stderr
        assert "Traceback" not in failed.stderr
    entry = json.loads(one.stdout)["added"][0]["entry"]
    assert (entry["backend"], entry["model_name"], entry["filename"]) == ("llamacpp", "smol", "*Q4*")


def test_a_wrong_token_is_said(place, tiny_files):
    """The hub refuses a token that it doesn't know; the message says so and doesn't show it."""
    repo = hub_server.Repo(tiny_files)
    with hub_server.serve({"org/smol": repo}) as hub:
        keys = {"huggingface": {"api_key": "hf_wrong_token", "base_url": hub.url}}
        (place / "key.json").write_text(json.dumps(keys))
        done = add_from(hub, place)
    assert done.returncode == 2
    assert "token" in done.stderr
    assert "hf_wrong_token" not in done.stderr


class _Models(BaseHTTPRequestHandler):
    """A server that lists two models, as vLLM and llama.cpp do; elsewhere it misbehaves by path."""

    seen: list[str | None]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization"))
        models = [
            {"id": "org/big-model", "max_model_len": 4096},
            {"id": "/models/small.gguf", "meta": {"n_ctx_train": 2048, "n_params": 134_515_008}},
            {"no": "name"},
        ]
        answers = {
            "/v1/models": (200, json.dumps({"data": models}).encode()),
            "/empty/v1/models": (200, b'{"data": []}'),
            "/text/v1/models": (200, b"<html>hello</html>"),
            "/locked/v1/models": (401, b"{}"),
        }
        status, body = answers.get(self.path, (404, b"{}"))
        if self.path.startswith("/moved"):
            status = 302
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/v1/models")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    handler = type("Handler", (_Models,), {"seen": []})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", handler.seen
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_a_server_gives_an_entry_for_each_model(server, suffix):
    """With or without /v1; what the server says of a model comes along with it."""
    big, small = propose(server[0] + suffix, context())
    assert big.entry == {
        "model_name": "big-model",
        "backend": "openai_compatible",
        "context_size": 4096,
        "model_id": "org/big-model",
        "base_url": f"{server[0]}/v1",
    }
    assert (small.entry["model_name"], small.entry["context_size"], small.entry["parameters"]) == (
        "small",
        2048,
        "135M",
    )
    assert server[1] == [None]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/empty", "lists no models"),
        ("/text", "not JSON"),
        ("/locked", "playbill keys set"),
        ("/moved", "status 302"),
        ("/nowhere", "OpenAI-compatible"),
    ],
)
def test_a_server_that_is_none_is_an_error_in_words(server, path, said):
    """Nothing listed, no JSON, a key needed, a redirect (never followed), another kind of server."""
    with pytest.raises(ServerError, match=said):
        propose(server[0] + path, context())


@pytest.mark.parametrize("url", ["http://", "http://user:pass@127.0.0.1/", "http://127.0.0.1:1"])
def test_an_address_that_can_not_be_used_is_an_error(url):
    """No host, a password in it, nobody there."""
    with pytest.raises(ServerError):
        Server(url).get("/v1/models")


@pytest.mark.parametrize("source", ["./nothing.gguf", "/no/such/folder"])
def test_a_path_that_is_not_there_is_an_error(source):
    """Never looked for on the hub."""
    with pytest.raises(PlaybillError):
        propose(source, context())


def test_a_folder_without_a_model_is_said_to_be_one(tmp_path):
    """An empty folder, named."""
    with pytest.raises(WeightsError, match="holds no model"):
        propose(str(tmp_path), context())


def test_a_file_that_is_no_gguf_is_an_error(tmp_path):
    """Its beginning tells."""
    pytest.importorskip("xllamacpp")
    (tmp_path / "x.gguf").write_bytes(b"hello")
    with pytest.raises(WeightsError, match="no GGUF file"):
        propose(str(tmp_path / "x.gguf"), context())


def test_nothing_is_written_unasked(place, server):
    """Without a terminal and without -y the entry is shown, and the file isn't made."""
    command = [sys.executable, "-m", "playbill", "add", server[0]]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert '+    "model_id": "org/big-model"' in done.stdout
    assert "-y" in done.stderr
    assert not (place / "model_registry.json").exists()


def safetensors(path: Path, header: dict) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def test_parameters_are_counted_by_what_the_files_say(tmp_path):
    """The index's own count, its size by the number format, the shapes of one file; else nothing."""
    assert count_parameters(tmp_path) is None
    safetensors(tmp_path / "model.safetensors", {"__metadata__": {}, "w": {"shape": [3, 5]}, "b": {"shape": [5]}})
    assert count_parameters(tmp_path).number == 20
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"metadata": {"total_size": 80}}')
    assert count_parameters(tmp_path).number == 40
    index.write_text('{"metadata": {"total_size": 80, "total_parameters": 41}}')
    assert count_parameters(tmp_path).number == 41


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_broken_weights_have_no_count(tmp_path_factory, content):
    """A header of a stranger's is never trusted."""
    folder = tmp_path_factory.getbasetemp() / "broken"
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "model.safetensors.index.json").write_bytes(content)
    assert count_parameters(folder) is None


@pytest.mark.parametrize(
    ("number", "shown"),
    [(134_515_008, "135M"), (1_000_000_000, "1B"), (7_241_732_096, "7.2B"), (999_999, "1M"), (12, "12")],
)
def test_counts_are_written_as_registries_do(number, shown):
    """Two digits are enough."""
    assert shown_count(number) == shown
