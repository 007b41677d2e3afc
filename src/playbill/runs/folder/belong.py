"""Judge whether folders are parts of one run. Reads their manifests alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbill.backends.errors import FileFormatError, RunError
from playbill.runs.folder.manifest import MANIFEST, SCHEMA, differences, model_part, read_manifest
from playbill.runs.folder.manifest_fields import missing_part
from playbill.runs.inputs.shard import Shard, parse_shard

__all__ = ["Part", "open_parts"]

_READS_DATE = "strftime_now"
_MOST_SAID = 20


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of a run, its manifest, and which shard it is; None where it is of the whole."""

    path: Path
    content: Mapping[str, Any]
    shard: Shard | None

    @property
    def models(self) -> Mapping[str, Any]:
        """What the manifest says of each label that was loaded at least once."""
        return {label: model for label, model in self.content["models"].items() if "spec" in model}


def open_parts(paths: Sequence[Path]) -> list[Part]:
    """Read the manifests of folders. Raises RunError with every difference that keeps them from being one run."""
    parts = [_open(path) for path in paths]
    if not parts:
        raise RunError("nothing to merge: name the folders of a run's shards")
    first = parts[0]
    found = [line for part in parts[1:] for line in _foreign(first, part)]
    if found:
        more = [f"… and {len(found) - _MOST_SAID} more"] if len(found) > _MOST_SAID else []
        raise RunError("these folders are not of one run:" + "".join(f"\n  {x}" for x in [*found[:_MOST_SAID], *more]))
    return parts


def _open(path: Path) -> Part:
    content = read_manifest(path)
    where = path / MANIFEST
    if problem := missing_part(content):
        raise FileFormatError(f"{where}: is no manifest of a run: {problem}")
    if content["schema"] > SCHEMA:
        raise RunError(f"{where}: was written by a newer Playbill; upgrade it")
    shard = content["inputs"].get("shard")
    return Part(path, content, parse_shard(shard) if shard is not None else None)


def _foreign(first: Part, part: Part) -> Iterator[str]:
    for name in ("seed", "repeat"):
        if first.content.get(name) != part.content.get(name):
            yield _said(name, first, first.content.get(name), part, part.content.get(name))
    mine, theirs = first.content["inputs"], part.content["inputs"]
    key = "set_sha256" if "set_sha256" in mine and "set_sha256" in theirs else "sha256"
    if mine["dialogues"] != theirs["dialogues"]:
        yield _said("inputs.dialogues", first, mine["dialogues"], part, theirs["dialogues"])
    elif mine[key] != theirs[key]:
        yield f"inputs: the dialogues of {part.path} are others than those of {first.path}"
    for label in first.models.keys() & part.models.keys():
        one, other = first.models[label], part.models[label]
        for where, old, new in differences(model_part(one), model_part(other), f"models.{label}"):
            yield _said(where, first, old, part, new)
        if _READS_DATE in str((one.get("template") or {}).get("text")) and one.get("date") != other.get("date"):
            yield (
                _said(f"models.{label}.date", first, one.get("date"), part, other.get("date"))
                + "; the template prints it: start all shards on one day, or with the same -p date=YYYY-MM-DD"
            )


def _said(where: str, first: Part, old: Any, part: Part, new: Any) -> str:
    return f"{where}: {_short(old)} in {first.path}, {_short(new)} in {part.path}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"
