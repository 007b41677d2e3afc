"""Files of stamps: each beside the registry whose entries it is about. A file that can't be read is said, once, and
fails nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playbill.backends.common.home import MissingHome, config_folder
from playbill.backends.common.jsonfile import read_json, write_atomically
from playbill.backends.common.warn import warn_once
from playbill.backends.errors import FileFormatError, InputError
from playbill.backends.registry.lookup import RegistryEntry, packaged_file
from playbill.backends.registry.stamps.stamp import Stamp, parse_stamp

__all__ = ["StampFiles", "packaged_stamps", "stamps_text", "target_of"]

_PACKAGED = "packaged_registry.stamps.json"
"""The user's stamps of packaged entries, in the config folder: an upgrade would take away what stood in the package."""


def _beside(registry: Path) -> Path:
    return registry.with_name(f"{registry.stem}.stamps.json")


def _is_packaged(registry: Path) -> bool:
    return registry == packaged_file()


def packaged_stamps() -> Path:
    """Return the stamps that come with the package, which `tools/stamp_registry.py` makes."""
    return _beside(packaged_file())


def target_of(registry: Path) -> Path:
    """Return where new stamps of a registry's entries go: beside it, or for the packaged one to the user's config
    folder. Raises MissingHome where that is needed and there is none."""
    return config_folder() / _PACKAGED if _is_packaged(registry) else _beside(registry)


class StampFiles:
    """The stamps beside registries, each file read when it is first asked for."""

    def __init__(self) -> None:
        self._beside: dict[Path, list[Path]] = {}
        self._read: dict[Path, dict[str, list[Stamp]]] = {}

    def of(self, entry: RegistryEntry) -> tuple[Stamp, ...]:
        """Return the stamps of an entry's name that stand for its file, whatever they judged."""
        if entry.name is None:
            return ()
        if entry.file not in self._beside:
            self._beside[entry.file] = _files(entry.file)
        return tuple(stamp for path in self._beside[entry.file] for stamp in self._at(path).get(entry.name, ()))

    def _at(self, path: Path) -> dict[str, list[Stamp]]:
        if path not in self._read:
            by_name: dict[str, list[Stamp]] = {}
            for stamp in _stamps(path):
                by_name.setdefault(stamp.model_name, []).append(stamp)
            self._read[path] = by_name
        return self._read[path]

    def add(self, registry: Path, stamps: list[Stamp]) -> Path:
        """Write new stamps of a registry's entries; each replaces those of the same name, depth and entry. Returns the
        file. Raises InputError where it can't be written, or holds something else."""
        path = target_of(registry)
        try:
            before = _written(path)
        except (OSError, FileFormatError) as e:
            raise InputError(f"{path} holds no stamps that could be added to: {e}; move it away") from e
        new = {_place(stamp) for stamp in stamps}
        kept = [v for v in before if (old := parse_stamp(v)) is None or _place(old) not in new]
        try:
            write_atomically(path, stamps_text([*kept, *(stamp.to_dict() for stamp in stamps)]))
        except OSError as e:
            raise InputError(f"can't write {path}: {e.strerror or e}; the stamps were not kept") from e
        self._read.pop(path, None)
        return path


def stamps_text(stamps: list[Any]) -> str:
    """Return the text of a file of stamps: one a line, in the order of their names."""

    def place(value: Any) -> tuple[str, str]:
        return (str(value.get("model_name")), str(value.get("date"))) if isinstance(value, dict) else ("", "")

    lines = (json.dumps(value, ensure_ascii=False) for value in sorted(stamps, key=place))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _place(stamp: Stamp) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return stamp.model_name, stamp.depth, tuple(sorted(stamp.entry.items()))


def _files(registry: Path) -> list[Path]:
    found = [_beside(registry)]
    if _is_packaged(registry):
        try:
            found.append(target_of(registry))
        except MissingHome:
            return found
    return found


def _stamps(path: Path) -> list[Stamp]:
    try:
        content = _written(path)
    except (OSError, FileFormatError) as e:
        warn_once(f"{path}: stamps can't be read, so none of its entries counts as proven: {e}")
        return []
    found = [parse_stamp(value) for value in content]
    if unread := found.count(None):
        warn_once(f"{path}: {unread} of {len(found)} stamps can't be read, and count for nothing")
    return [stamp for stamp in found if stamp is not None]


def _written(path: Path) -> list[Any]:
    """Return what a file holds. Raises OSError where it can't be read, FileFormatError where it is no list."""
    try:
        content = read_json(path)
    except FileNotFoundError:
        return []
    if not isinstance(content, list):
        raise FileFormatError(f"{path}:1:1: is no list of stamps")
    return content
