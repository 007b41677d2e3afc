"""Find the files that hold records, and the reader of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from playbill.backends.errors import InputError
from playbill.runs.audit.call import Call
from playbill.runs.audit.clembench import is_clembench, read_clembench
from playbill.runs.audit.ours import Expected, expected_records, is_ours, read_ours, record_files

__all__ = ["Expected", "Source", "find_sources"]


@dataclass(frozen=True, slots=True)
class Source:
    """One file of records, and the run that it belongs to. The file of a model that has no records isn't there."""

    path: Path
    run: str

    def calls(self) -> Iterator[Call]:
        """Its calls, one by one. Raises FileFormatError, and InputError where the system doesn't let it be read."""
        if is_ours(self.path.name) and not self.path.exists():
            return
        read = read_ours if is_ours(self.path.name) else read_clembench
        try:
            yield from read(self.path, self.run)
        except OSError as e:
            raise InputError(f"can't read {self.path}: {e.strerror or e}") from e

    def expected(self) -> Iterator[Expected]:
        """Yield what the manifest of the run says should be in the file; nothing where there is none that says it."""
        if is_ours(self.path.name):
            yield from expected_records(self.path, self.run)


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """Return the files of records in files and folders, in order. Raises InputError where there are none."""
    found: list[Source] = []
    for path in paths:
        if path.is_dir():
            sources = list(_in_folder(path))
            if not sources:
                raise InputError(
                    f"{path}: no records in it: neither records.jsonl of Playbill, nor requests.json of clembench"
                )
            found.extend(sources)
        elif path.exists():
            found.append(Source(path, _run_of(path)))
        else:
            raise InputError(f"no such file or folder: {path}")
    return found


def _in_folder(root: Path) -> Iterator[Source]:
    for folder, below, names in os.walk(root):
        below.sort()
        if "manifest.json" in names:
            empty = (path for path in record_files(Path(folder)) if not path.exists())
            yield from (Source(path, _run_of(path)) for path in empty)
        for name in sorted(names):
            path = Path(folder, name)
            if name == "records.jsonl":
                yield Source(path, _run_of(path))
            elif is_clembench(name):
                yield Source(path, str(root))


def _run_of(path: Path) -> str:
    """Return the run of a file: a run of Playbill has a folder for each model, any other folder is its own."""
    return str(path.parent.parent if path.name == "records.jsonl" else path.parent)
