"""Files that tests need and the repository doesn't hold, fetched from the package index by their hash.

Nothing that is fetched is built or run. Knows no test.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WANTED = re.compile(r"/vendor/llama\.cpp/models/(templates/[^/]+\.jinja|ggml-vocab-[^/]+\.gguf)$")
CONVERTER = re.compile(r"/vendor/llama\.cpp/((?:conversion/|gguf-py/gguf/|convert_hf_to_gguf)[^/]*\.py)$")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of one project on the package index."""

    project: str
    filename: str
    sha256: str


LLAMA_CPP_PYTHON = Asset(
    project="llama-cpp-python",
    filename="llama_cpp_python-0.3.36.tar.gz",
    sha256="832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
)


class Unfetchable(Exception):
    """The file could not be had; the message says why."""


def cache_directory() -> Path:
    """Where fetched files stay: ``PLAYBILL_TEST_CACHE``, else ``.cache/tests`` in the repository."""
    return Path(os.environ.get("PLAYBILL_TEST_CACHE") or ROOT / ".cache" / "tests")


def fetch(asset: Asset) -> Path:
    """The path of the file, fetched unless it is there; raises Unfetchable."""
    path = cache_directory() / asset.filename
    if path.exists() and _sha256(path) == asset.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as unfinished:
        part = Path(unfinished) / asset.filename
        try:
            response = urllib.request.urlopen(_url(asset), timeout=120, context=_trust())
            with response, part.open("wb") as file:
                shutil.copyfileobj(response, file, 1 << 20)
        except (OSError, ValueError, KeyError) as error:
            raise Unfetchable(f"{asset.filename} could not be fetched from the package index: {error}") from error
        found = _sha256(part)
        if found != asset.sha256:
            raise Unfetchable(f"{asset.filename} of the package index has sha256 {found}, not {asset.sha256}")
        part.replace(path)
    return path


def fetch_or_skip(asset: Asset) -> Path:
    """As `fetch`; where there is no network the test is skipped, but never in CI."""
    try:
        return fetch(asset)
    except Unfetchable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@cache
def models_folder() -> Path:
    """The archive's folder of chat templates and of GGUF files that hold only a tokenizer, unpacked."""
    return _unpacked("models", WANTED, lambda found: Path(found[1]).name)


@cache
def converter_folder() -> Path:
    """llama.cpp's converter of checkpoints to GGUF files, of the archive, unpacked as it lies there."""
    return _unpacked("converter", CONVERTER, lambda found: found[1])


def _unpacked(what: str, wanted: re.Pattern[str], name: Callable[[re.Match[str]], str]) -> Path:
    archive_path = fetch_or_skip(LLAMA_CPP_PYTHON)
    folder = archive_path.with_name(f"llama_cpp_python-0.3.36-{what}")
    if folder.exists():
        return folder
    with (
        tarfile.open(archive_path) as archive,
        tempfile.TemporaryDirectory(dir=archive_path.parent) as unfinished,
    ):
        for member in archive:
            found = wanted.search(member.name)
            content = archive.extractfile(member) if found else None
            if found and content is not None:
                path = Path(unfinished) / name(found)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
        with suppress(OSError):  # another process of the same test run was first
            Path(unfinished).rename(folder)
    return folder


def chat_templates() -> dict[str, str]:
    """The real chat templates of the archive, by their file's name."""
    return {path.stem: path.read_text("utf-8") for path in sorted(models_folder().glob("*.jinja"))}


def vocabularies() -> list[Path]:
    """The GGUF files of the archive that hold a tokenizer and no weights."""
    return sorted(models_folder().glob("ggml-vocab-*.gguf"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _index() -> str:
    """The index that pip is configured to use, else pip's own default."""
    configured = os.environ.get("PIP_INDEX_URL")
    if not configured:
        asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        configured = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if not configured:
        from pip._internal.models.index import PyPI

        configured = PyPI.simple_url
    return configured.rstrip("/")


def _trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)


def _url(asset: Asset) -> str:
    """Where the file is, by the index's JSON listing (PEP 691)."""
    page = f"{_index()}/{asset.project}/"
    request = urllib.request.Request(page, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60, context=_trust()) as response:
        listing = json.load(response)
    for file in listing["files"]:
        if file["filename"] == asset.filename:
            return urllib.parse.urljoin(page, file["url"])
    raise KeyError(f"{asset.filename} is not listed there")
