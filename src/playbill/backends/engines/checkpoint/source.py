"""Find a checkpoint's files: in a folder, or on the hub, from which they are downloaded first.

Knows which files tokenizer and weights need, and reads neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.engines.base import Context, Fetched, Look
from playbill.backends.errors import WeightsError
from playbill.backends.registry.spec import not_here, path_in
from playbill.backends.weights.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_folder
from playbill.backends.weights.hub import hub_bars, hub_errors, hub_progress, hub_token, not_cached, only_cached

__all__ = ["INDICES", "SINGLE", "Source", "fetch", "fetch_all", "files_here", "look_at_weights"]

_SMALL = ("*.json", "*.jinja", "*.model", "*.model.v*", "*.txt", "*.tiktoken")
_CODE = ("*.py",)
_MOST_BYTES = 200_000_000
"""Of a configuration, a tokenizer or a piece of code; the largest tokenizers in use have a sixth of it."""
INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_LONGEST_HEADER = 100_000_000  # bytes, as the library has it
SINGLE = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files. ``name`` and ``options`` are what ``from_pretrained`` takes; nothing is downloaded by it.

    A repository goes by its own name there, not by its folder, since transformers treats some of them apart.
    ``commit`` is None for a folder of the user's.
    """

    name: str
    folder: Path
    commit: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        return {"local_files_only": True} | ({"revision": self.commit} if self.commit else {})


def fetch(entry: Mapping[str, Any], context: Context, *, weights: bool, code: bool) -> Source:
    """Bring the files here that the tokenizer and the configuration need; the weights and Python code if asked.

    Raises CredentialsError before any download where a token is needed and there is none; WeightsError where
    the files can't be had.
    """
    name, revision = str(entry["huggingface_id"]), entry.get("revision")
    token = hub_token(entry, context.credentials)
    folder = path_in(entry, "huggingface_id")
    if folder.is_dir():
        return _folder(entry, folder)
    if name.startswith(("/", "~", "./", "../")):
        raise WeightsError(
            f"{entry.get('model_name')}: there is no folder {folder}; huggingface_id says there is"
            f"{not_here(entry, 'huggingface_id')}"
        )
    if hint := not_here(entry, "huggingface_id"):
        warn_once(f"huggingface_id {name}: the hub's repository is meant{hint}")
    with hub_progress(context.progress), hub_errors(name, revision=revision, token=token):
        downloads = _Downloads(name, revision, token, only_cached())
        folder = downloads.fetch([*_SMALL, *(_CODE if code else ())], leave_out=downloads.too_large())
        if gguf := entry.get("gguf_file"):
            _require(downloads.fetch([gguf]), gguf, name)
        elif weights:
            downloads.fetch_weights(folder)
    return Source(name, folder, folder.name)


def files_here(entry: Mapping[str, Any]) -> Source | None:
    """Return the checkpoint as far as it is on this machine, a folder or in the hub's cache; None where nothing is.

    Asks nobody.
    """
    folder = path_in(entry, "huggingface_id")
    if folder.is_dir():
        return Source(str(folder), folder)
    from huggingface_hub import snapshot_download

    name, revision = str(entry["huggingface_id"]), entry.get("revision")
    wanted = ["config.json"]  # without a pattern the library refuses a folder that lacks any of the repository's files
    try:
        cached = Path(snapshot_download(name, revision=revision, allow_patterns=wanted, local_files_only=True))
    except (OSError, ValueError):  # it isn't there, or no repository has such a name
        return None
    return Source(name, cached, cached.name)


def look_at_weights(entry: Mapping[str, Any], context: Context) -> Look:
    """Tell whether the files of the weights are there and whole: of a folder, or as far as they were fetched."""
    here = files_here(entry)
    found = _look_into(entry, here.folder) if here is not None else None
    if found is None or (here is not None and here.commit is not None and found.fault is not None):
        return Look(unseen="the weights, which were not fetched")
    return found


def _look_into(entry: Mapping[str, Any], folder: Path) -> Look:
    if entry.get("gguf_file"):
        return Look()
    index = next((name for name in INDICES if (folder / name).is_file()), None)
    try:
        names = _shards(folder / index) if index else [name for name in SINGLE if (folder / name).is_file()][:1]
    except WeightsError as e:
        return Look(fault=str(e))
    if not names:
        return Look(fault=f"{folder} has no weights that transformers can load ({' or '.join(SINGLE)})")
    if lacking := [name for name in names if not (folder / name).is_file()]:
        return Look(fault=f"{folder} lacks {', '.join(lacking)}, which {index} lists")
    faults = (fault for name in names if name.endswith(".safetensors") and (fault := _cut_off(folder / name)))
    return Look(fault=next(faults, None))


def _cut_off(file: Path) -> str | None:
    """Return what is wrong with the frame of a safetensors file: the length of its header, and where tensors end."""
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            return f"{file} is no safetensors file, or it is cut off; download it again?"
        try:
            header = json.loads(content.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
            end = 8 + length + max(ends, default=0)
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError) as e:
            return f"{file} is no safetensors file: {type(e).__name__} in its header; download it again?"
    return f"{file} is cut off: it has {size} of {end} bytes; download it again?" if size < end else None


def fetch_all(entry: Mapping[str, Any], context: Context) -> Fetched:
    """Bring all files here that a load needs: weights, tokenizer, the adapter, and Python code that the entry asks for.

    The code is stored, and not run. Raises as `fetch`.
    """
    source = fetch(entry, context, weights=True, code=bool(entry.get("trust_remote_code")))
    adapter = adapter_folder(entry, context.credentials, progress=context.progress)
    files = [file for file in source.folder.iterdir() if file.is_file()]
    files += [adapter / name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)] if adapter is not None else []
    return Fetched(tuple(sorted(files)), source.commit)


def _folder(entry: Mapping[str, Any], folder: Path) -> Source:
    if entry.get("revision"):
        raise WeightsError(
            f"{entry.get('model_name')}: a local folder has no revisions; take 'revision' out of the entry, or set "
            "huggingface_id to the repository on the hub"
        )
    if gguf := entry.get("gguf_file"):
        _require(folder, gguf, str(folder))
    elif not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} holds no model: it has no config.json (for a GGUF file, name it in gguf_file)")
    return Source(str(folder), folder)


def _require(folder: Path, file: str, name: str) -> None:
    if not (folder / file).is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("*.gguf"))) or "none"
        raise WeightsError(f"{name} has no file '{file}' (gguf_file); GGUF files there: {there}")


@dataclass(frozen=True, slots=True)
class _Downloads:
    """Files of one repository at one revision, taken into the hub library's own cache."""

    repo: str
    revision: str | None
    token: str | None
    only_cached: bool

    def too_large(self) -> list[str]:
        """Return the files that have a small file's name and more bytes than any has, by the hub's own statement."""
        if self.only_cached:
            return []
        from huggingface_hub import HfApi

        info = HfApi(token=self.token).model_info(self.repo, revision=self.revision, files_metadata=True)
        small = (*_SMALL, *_CODE)
        large = [
            file.rfilename
            for file in info.siblings or ()
            if (file.size or 0) > _MOST_BYTES and any(fnmatch(file.rfilename, pattern) for pattern in small)
        ]
        for name in large:
            warn_once(f"{self.repo}: {name} is left out: it has more than {_MOST_BYTES:,} bytes")
        return large

    def fetch(self, patterns: Iterable[str], revision: str | None = None, *, leave_out: Iterable[str] = ()) -> Path:
        from huggingface_hub import snapshot_download

        patterns = list(patterns)
        folder = snapshot_download(
            self.repo,
            revision=revision or self.revision,
            token=self.token,
            local_files_only=self.only_cached,
            allow_patterns=patterns,
            # Patterns match across slashes; of the subfolders only further chat templates are wanted.
            ignore_patterns=[*(f"*/{p}" for p in _SMALL if p != "*.jinja" and p in patterns), *map(escape, leave_out)],
            **hub_bars(),
        )
        return Path(folder)

    def fetch_weights(self, folder: Path) -> None:
        """The weights in the one form that transformers would load: safetensors where they are."""
        for index in INDICES:
            if (folder / index).is_file():
                shards = _shards(folder / index)
                here = self.fetch(shards, folder.name)
                self._require(here, shards)
                return
        for single in SINGLE:
            if (self.fetch([single], folder.name) / single).is_file():
                return
        if self.only_cached:
            raise WeightsError(not_cached(self.repo))
        raise WeightsError(
            f"{self.repo} has no weights that transformers can load ({' or '.join(SINGLE)}, whole or in parts); "
            "if it has a GGUF file, name it in gguf_file, or take the backend llamacpp"
        )

    def _require(self, folder: Path, files: Iterable[str]) -> None:
        missing = [file for file in files if not (folder / file).is_file()]
        if missing and self.only_cached:
            raise WeightsError(f"{not_cached(self.repo)} (of the weights, {len(missing)} files are missing)")
        if missing:
            raise WeightsError(f"{self.repo} lacks {len(missing)} files that its index names: {missing[0]} …")


def _shards(index: Path) -> list[str]:
    """Return the names of the files that an index of weights lists."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as e:
        raise WeightsError(f"{index} is no index of weights: {type(e).__name__}: {e}; download it again?") from e
