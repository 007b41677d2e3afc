"""Say which weights an entry has on this machine: by commit or by hash. Fetches nothing, and needs no hub library."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbill.backends.common.home import expanded
from playbill.backends.credentials import Credentials
from playbill.backends.errors import WeightsError
from playbill.backends.registry.fields.table import LOCAL
from playbill.backends.registry.spec import path_in
from playbill.backends.registry.stamps.stamp import UNHASHED
from playbill.backends.weights.cache import file_sha256, known_sha256
from playbill.backends.weights.wheel import PREFIX

__all__ = ["hub_cache", "weights_identity"]

_COMMIT = re.compile("[0-9a-f]{40}")
_SMALL = 4_000_000
_COUNT = (".safetensors", ".bin", ".gguf", ".json", ".jinja", ".model", ".txt", ".tiktoken")
_TEMPLATES = "additional_chat_templates/*.jinja"
_WHEEL_HASH = "#sha256="


def hub_cache() -> Path:
    """Return where the hub's library keeps what it fetched, by the variables that it reads."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return expanded(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def weights_identity(entry: Mapping[str, Any], *, quick: bool = False) -> str | None:
    """Return ``commit:…`` for a repository in the hub's cache, ``sha256:…`` for files; None where nothing is here. An
    adapter's comes behind.

    ``quick`` hashes no large file anew: where that would be needed, `UNHASHED` is returned.
    """
    found = [_identity(entry, "huggingface_id", entry.get("revision"), quick)]
    if entry.get("peft_model"):
        found.append(_identity(entry, "peft_model", None, quick))
    if UNHASHED in found:
        return UNHASHED
    known = [each for each in found if each is not None]
    return " with ".join(known) if len(known) == len(found) else None


def _identity(entry: Mapping[str, Any], key: str, revision: Any, quick: bool) -> str | None:
    source = entry.get(key)
    if entry.get("backend") not in LOCAL or not isinstance(source, str) or not source:
        return None
    if source.startswith(PREFIX):
        _, _, digest = source.partition(_WHEEL_HASH)
        return f"sha256:{digest.lower()}" if digest else None
    try:
        path = path_in(entry, key)
        if path.exists():
            return _of_files(_files(entry, path), quick)
        return _commit(source, revision)
    except (OSError, ValueError, WeightsError):
        return None


def _commit(repo: str, revision: Any) -> str | None:
    wanted = revision if isinstance(revision, str) and revision else "main"
    if _COMMIT.fullmatch(wanted):
        return f"commit:{wanted}"
    try:
        reference = hub_cache() / f"models--{repo.replace('/', '--')}" / "refs" / wanted
        commit = reference.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return f"commit:{commit}" if _COMMIT.fullmatch(commit) else None


def _files(entry: Mapping[str, Any], path: Path) -> dict[str, Path]:
    """Return the files that a model is made of, by name."""
    if path.is_file() or entry.get("backend") == "llamacpp":
        from playbill.backends.weights.gguf import find_weights  # `list` asks this of few entries, and must be quick

        found = find_weights(entry, Credentials([])).all_files
    else:
        own = (file for file in path.iterdir() if file.suffix in _COUNT)
        found = tuple(file for file in (*own, *path.glob(_TEMPLATES)) if file.is_file())
    return {file.name: file for file in found}


def _of_files(files: Mapping[str, Path], quick: bool) -> str | None:
    """Return the file's own hash where it is one, else that of all names and hashes."""
    found = {name: _hash(file, quick) for name, file in sorted(files.items())}
    if None in found.values():
        return UNHASHED
    if len(found) == 1:
        return f"sha256:{next(iter(found.values()))}"
    lines = "".join(f"{name}\n{digest}\n" for name, digest in found.items())
    return f"sha256:{hashlib.sha256(lines.encode('utf-8', 'surrogateescape')).hexdigest()}" if found else None


def _hash(file: Path, quick: bool) -> str | None:
    if file.stat().st_size <= _SMALL:  # not worth a note
        return hashlib.sha256(file.read_bytes()).hexdigest()
    return known_sha256(file) if quick else file_sha256(file)
