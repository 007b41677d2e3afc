"""Put the folders of a run's shards together into one folder, which the command for the whole then goes on from.

A conversation is taken whole from one folder: turns of two answers to one question are never mixed. Reads no input.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import parse_own_line, write_json
from playbill.backends.common.words import counted
from playbill.backends.errors import RunError
from playbill.backends.generation import Outcome
from playbill.runs.folder.belong import Part, open_parts
from playbill.runs.folder.fields import wrong_field
from playbill.runs.folder.inside import check_inside
from playbill.runs.folder.lock import unused
from playbill.runs.folder.manifest import MANIFEST
from playbill.runs.folder.names import folder_name
from playbill.runs.folder.pictures import gather_pictures
from playbill.runs.folder.record import is_record
from playbill.runs.folder.store import RECORDS
from playbill.runs.inputs.shard import absent_shards, is_partition

__all__ = ["Merged", "merge"]

_OF_A_SHARD = ("shard", "shard_dialogues", "turns")
_MOST_NAMED = 20
_Talk = tuple[str, int]  # the id of a dialogue, and the sample


@dataclass(slots=True)
class Merged:
    """What became of a merge: the folder, records by label, what is ``missing``, and what else is worth a word."""

    folder: Path
    records: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Copy:
    """One conversation in one folder: for each turn the place of its record, whether it failed, and its text's hash."""

    places: list[tuple[int, bool, int]]

    @property
    def worth(self) -> int:
        """How many turns have an answer, or an outcome that ends the dialogue."""
        return sum(not failed for _, failed, _ in self.places)


def merge(folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Merged:
    """Merge the folders of shards, or of starts on several machines, into the new folder ``out``.

    Raises RunError, before anything is written, where the folders are not of one run: other inputs, seed, models,
    templates or weights; where one is still running; or where ``out`` holds something. What is not there yet is no
    error: ``missing`` says it, and the command for the whole, with ``-o`` the merged folder, asks for it.
    """
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(f"{target} is there already, and not empty; name a new folder with -o")
    with ExitStack() as stack:
        paths = _each_once(folders)
        for path in paths:
            stack.enter_context(unused(path))
        parts = open_parts(paths)
        merged = Merged(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        except OSError as e:
            raise RunError(f"can't write to {target.parent}: {e.strerror or e}; name another folder with -o") from e
        try:
            _fill(made, parts, merged)
            made.chmod(0o777 & ~_umask())
            if target.exists():
                target.rmdir()
            made.rename(target)
        except OSError as e:
            raise RunError(f"can't write {target}: {e.strerror or e}; name another folder with -o") from e
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return merged


def _each_once(folders: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the folders, of several names of one the first."""
    found: dict[Path, Path] = {}
    for folder in folders:
        found.setdefault(Path(folder).resolve(), Path(folder))
    return list(found.values())


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _fill(made: Path, parts: Sequence[Part], merged: Merged) -> None:
    labels = list(dict.fromkeys(label for part in parts for label in part.models))
    names: dict[str, str] = {}
    for label in labels:
        names[label] = folder_name(label, names.values())
        (made / names[label]).mkdir()
        having = [part for part in parts if label in part.models]
        merged.records[label] = _merge_label(made / names[label] / RECORDS, label, having, merged)
        merged.missing.extend(_missing(label, parts))
    for path in gather_pictures([part.path for part in parts], made):
        merged.notes.append(f"{path} is another picture than its name says, and left out")
    lacking = {label for label in labels if any(text.startswith(f"{label}: ") for text in merged.missing)}
    write_json(made / MANIFEST, _manifest(parts, names, set(labels) - lacking))


def _manifest(parts: Sequence[Part], names: Mapping[str, str], complete: Set[str]) -> dict[str, Any]:
    """Return the manifest of the whole: the first folder's frame, every model, and every start in order of time."""
    content = dict(parts[0].content)
    inputs = {name: value for name, value in content["inputs"].items() if name not in _OF_A_SHARD}
    turns = {part.shard: part.content["inputs"].get("turns") for part in parts}
    if None in turns:
        inputs["turns"] = turns[None]
    elif is_partition([shard for shard in turns if shard is not None]):
        inputs["turns"] = sum(count or 0 for count in turns.values())
    models = {}
    for label, name in names.items():
        described = next(part.models[label] for part in parts if label in part.models)
        models[label] = {**described, "folder": name, "missing": 0 if label in complete else None}
    starts = [{**start, "folder": str(part.path)} for part in parts for start in part.content["starts"]]
    return {
        **content,
        "inputs": inputs,
        "models": models,
        "starts": sorted(starts, key=lambda start: str(start.get("time"))),
        "merged": [{"folder": str(part.path), "shard": part.content["inputs"].get("shard")} for part in parts],
    }


def _merge_label(target: Path, label: str, parts: Sequence[Part], merged: Merged) -> int:
    """Write the records of one model, each once; return how many they are."""
    chosen: dict[_Talk, tuple[int, _Copy]] = {}
    twice = other = 0
    for number, part in enumerate(parts):
        for talk, copy in _scan(part, label, merged).items():
            if talk not in chosen:
                chosen[talk] = number, copy
                continue
            before = chosen[talk][1]
            twice += 1
            other += any(a[2] != b[2] for a, b in zip(before.places, copy.places, strict=False) if not (a[1] or b[1]))
            if copy.worth > before.worth:
                chosen[talk] = number, copy
    if twice:
        said = f"{label}: in more than one folder, and kept once: {counted(twice, 'conversation')}"
        differ = f"; with other answers, of which the longer one counts: {other}" if other else ""
        merged.notes.append(said + differ)
    count = failed = 0
    with target.open("wb") as file:
        for number, part in enumerate(parts):
            wanted = {place[0]: place[1] for n, copy in chosen.values() if n == number for place in copy.places}
            for offset, line in _lines(part, label):
                if offset in wanted:
                    file.write(line if line.endswith(b"\n") else line + b"\n")
                    count += 1
                    failed += wanted[offset]
        file.flush()
        os.fsync(file.fileno())
    if failed:
        merged.missing.append(f"{label}: {counted(failed, 'error')}, which the next start tries again")
    return count


def _scan(part: Part, label: str, merged: Merged) -> dict[_Talk, _Copy]:
    """Return the conversations of a folder as far as their turns follow each other; a later record of a turn counts."""
    turns: dict[_Talk, dict[int, tuple[int, bool, int]]] = {}
    damaged = 0
    for offset, line in _lines(part, label):
        record = parse_own_line(line)
        if not is_record(record) or wrong_field(record) or not isinstance(record.get("text"), str):
            damaged += 1
            continue
        if part.shard is not None and not part.shard.holds(record["id"]):
            raise RunError(
                f"{part.path} should hold shard {part.shard} alone, and has the dialogue {record['id']!r} of another; "
                "it is no folder that a run wrote like this"
            )
        found = turns.setdefault((record["id"], record["sample"]), {})
        found[record["turn"]] = offset, record["outcome"] == Outcome.ERROR, hash(record["text"])
    if damaged:
        lines = "line is no record" if damaged == 1 else "lines are no records"
        merged.notes.append(f"{part.path}: {label}: {damaged} {lines}, and left out")
    return {talk: _Copy([found[n] for i, n in enumerate(sorted(found)) if n == i]) for talk, found in turns.items()}


def _lines(part: Part, label: str) -> Iterator[tuple[int, bytes]]:
    name = part.models[label]["folder"]
    check_inside(part.path, name, RECORDS)
    path = part.path / name / RECORDS
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as file:
        for line in file:
            yield offset, line
            offset += len(line)


def _missing(label: str, parts: Sequence[Part]) -> Iterator[str]:
    """Yield what a model still lacks: turns, the end of a folder, whole folders."""
    for part in parts:
        if label not in part.models:
            yield f"{label}: {part.path} has no records of it"
        elif (turns := part.models[label].get("missing")) is None:
            if "merged" in part.content:
                yield f"{label}: {part.path} was merged of too few folders; the command for the whole asks for the rest"
            else:
                yield f"{label}: {part.path} was not run to its end; start its command again"
        elif turns:
            yield f"{label}: {part.path} lacks {counted(turns, 'turn')}; start its command again"
    shards = [part.shard for part in parts if part.shard is not None]
    if len(shards) < len(parts):
        return
    absent = absent_shards(shards)
    if absent:
        numbers = ", ".join(str(shard.index) for shard in absent[:_MOST_NAMED])
        more = f" and {len(absent) - _MOST_NAMED} more" if len(absent) > _MOST_NAMED else ""
        yield f"{label}: {'shard' if len(absent) == 1 else 'shards'} {numbers}{more} of {absent[0].count}"
