"""The manifest of a run: all that a stranger needs to repeat it, and the judge of whether a folder may be gone on with.

What may change between two starts in one folder: models may be added or left out, ``--repeat`` raised,
dialogues appended at the end of the inputs, files moved, versions of Playbill, Python and packages (said, and
kept in ``starts``). What may not, since records of two kinds would lie in one file: a label's spec, template,
stop ids, cleaning, parameters or weights, the seed, the dialogues that were there, a lowered ``--repeat``.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playbill import __version__
from playbill.backends.common.jsonfile import DEEPEST_OWN, read_json, write_json
from playbill.backends.common.packages import package_versions
from playbill.backends.common.secret import scrub
from playbill.backends.common.words import counted
from playbill.backends.errors import FileFormatError, InputError, RunError
from playbill.backends.model import Model
from playbill.backends.registry.backends import is_service
from playbill.backends.registry.fields.table import PACE
from playbill.backends.registry.spec import ModelSpec
from playbill.runs.folder.hardware import describe_hardware, hardware_in_words
from playbill.runs.folder.inside import check_folders, check_inside
from playbill.runs.folder.manifest_fields import missing_part, wrong_part
from playbill.runs.inputs.inputs import Inputs

__all__ = ["MANIFEST", "SCHEMA", "Manifest", "describe_model", "differences", "model_part", "read_manifest"]

MANIFEST = "manifest.json"
SCHEMA = 1
_KEPT = ("model_name", "spec", "template", "stops", "cleaning", "parameters", "context_size", "weights")
_COMPUTED = ("device", "dtype", "attention", "quantization", "threads", "class")
_WEIGHTS = ("weights", "sha256", "revision", "commit")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the content of a finished or interrupted run's manifest, as JSON.

    Raises InputError where the folder has none, and FileFormatError where it is not of a run.
    """
    path = folder / MANIFEST
    try:
        content = read_json(path, deepest=DEEPEST_OWN)
    except OSError as e:
        raise InputError(f"{folder} is no folder of a run: can't read {path}: {e.strerror}") from e
    if not isinstance(content, dict) or not isinstance(content.get("models"), dict) or content.get("date") is None:
        raise FileFormatError(f"{path}: is no manifest of a run")
    return _checked(content, path)


class Manifest:
    """The content of a manifest.json, and its file."""

    def __init__(self, folder: Path, content: dict[str, Any], *, resumed: bool) -> None:
        self.path = folder / MANIFEST
        self.content = content
        self.resumed = resumed

    @classmethod
    def open(cls, folder: Path, inputs: Inputs, *, repeat: int, seed: int | None) -> Manifest:
        """Return the folder's manifest, checked against what is asked for now; a new one where there is none.

        Writes nothing. Raises RunError with every setting that changed.
        """
        path = folder / MANIFEST
        check_inside(folder, MANIFEST)
        if not path.exists():
            return cls(folder, _new(inputs, repeat, seed), resumed=False)
        content = _read(path)
        changed = list(_changed_frame(content, inputs, repeat, seed))
        if changed:
            raise _refusal(path, changed)
        content["repeat"] = repeat
        content["inputs"] = _inputs(inputs)
        return cls(folder, content, resumed=True)

    @property
    def date(self) -> datetime:
        """What templates see as now, in all starts of the run."""
        return datetime.fromisoformat(self.content["date"])

    def folders(self) -> dict[str, str]:
        """For each label the name of its folder."""
        return {label: model["folder"] for label, model in self.content["models"].items()}

    def check_spec(self, label: str, spec: ModelSpec) -> None:
        """Raise RunError where the label stands for another spec in this folder."""
        known = self.content["models"].get(label, {})
        if "spec" in known:
            self._refuse(label, {"spec": _that_counts(known["spec"])}, {"spec": _that_counts(scrub(spec.to_dict()))})

    def is_described(self, label: str) -> bool:
        """Tell whether the folder's manifest says what model the label's records are of."""
        return "spec" in self.content["models"].get(label, {})

    def reserve(self, label: str, folder: str) -> None:
        """Fix the name of a label's folder."""
        self.content["models"].setdefault(label, {"folder": folder})

    def set_model(self, label: str, described: Mapping[str, Any], load_seconds: float | None = None) -> list[str]:
        """Fix what a loaded model is, and say what it computes on otherwise than at an earlier start.

        The facts of the first start stay with the model, those of each start with the start. Raises RunError where it
        is another model.
        """
        known = self.content["models"][label]
        described = scrub(dict(described))
        before = known.get("engine")
        if "spec" in known:
            self._refuse(label, model_part(known), model_part(described))
        known.update(described if before is None else {k: v for k, v in described.items() if k != "engine"})
        known.pop("problem", None)
        loaded = {"load_seconds": None if load_seconds is None else round(load_seconds, 1)}
        self.content["starts"][-1].setdefault("loaded", {})[label] = {**loaded, "engine": described.get("engine")}
        old, new = ({k: (facts or {}).get(k) for k in _COMPUTED} for facts in (before, _as_json(described["engine"])))
        changed = differences(old, new, "") if before is not None else ()
        return [f"{path}: {_short(was)} at the first start, {_short(now)} now" for path, was, now in changed]

    def set_problem(self, label: str, problem: str) -> None:
        """Keep why a model was not run to its end; a start that runs it takes that out again."""
        self.content["models"][label]["problem"] = scrub(problem)

    def set_missing(self, label: str, missing: int | None) -> None:
        """Note how many turns a model still lacks; None while that isn't known, as after a kill."""
        self.content["models"][label]["missing"] = missing

    def set_replicas(self, label: str, census: Sequence[Mapping[str, Any]]) -> None:
        """Note with this start which replicas of a model there were, and how many turns each answered."""
        self.content["starts"][-1].setdefault("replicas", {})[label] = [dict(entry) for entry in census]

    def _refuse(self, label: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        changed = list(differences(old, _as_json(new), f"models.{label}"))
        if changed:
            raise _refusal(self.path, changed)

    def add_start(self, labels: Sequence[str], command: Sequence[str] | None) -> list[str]:
        """Note this start, and say which versions are others than at the last one."""
        start = _start(labels, command)
        before = self.content["starts"][-1] if self.content["starts"] else start
        names = ("playbill", "python", "packages")
        said = [
            f"{path}: {old} before, {new} now"
            for path, old, new in differences({n: before.get(n) for n in names}, {n: start[n] for n in names}, "")
        ]
        if (old_hardware := before.get("hardware")) and isinstance(old_hardware, dict):
            was, now = hardware_in_words(old_hardware), hardware_in_words(start["hardware"])
            said += [f"the hardware is another: {was} before, {now} now"] if was != now else []
        self.content["starts"].append(start)
        return said

    def add_warnings(self, texts: Sequence[str]) -> None:
        """Keep with this start what was warned of in it, and write the file if there was anything."""
        if texts:
            self.content["starts"][-1]["warnings"] = scrub(list(texts))
            self.write()

    def write(self) -> None:
        """Write the file, whole or not at all. Raises RunError where that can't be done, or its folder is gone."""
        if not self.path.parent.is_dir():
            raise RunError(f"{self.path.parent} was removed during the run; what is to be kept can't be written")
        try:
            write_json(self.path, _as_json(self.content))
        except OSError as e:
            raise RunError(f"can't write {self.path}: {e.strerror or e}; choose another folder with -o") from e


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path, deepest=DEEPEST_OWN)
    except OSError as e:
        raise RunError(f"can't read {path}: {e.strerror}") from e
    if not isinstance(content, dict):
        raise FileFormatError(f"{path}: is no manifest of a run; choose another folder with -o")
    if problem := missing_part(_checked(content, path)):
        raise FileFormatError(f"{path}: is no manifest of a run: {problem}; choose another folder with -o")
    if content["schema"] > SCHEMA:
        raise RunError(f"{path}: was written by a newer Playbill; upgrade it, or choose another folder with -o")
    return content


def _checked(content: dict[str, Any], path: Path) -> dict[str, Any]:
    if problem := wrong_part(content):
        raise FileFormatError(f"{path}: is no manifest of a run: {problem}")
    check_folders(path, content.get("models") or {})
    return content


def _new(inputs: Inputs, repeat: int, seed: int | None) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    date = datetime.now().replace(microsecond=0)
    if inputs.shard is not None:  # all shards of a day show templates the same date
        date = date.replace(hour=0, minute=0, second=0)
    return {
        "schema": SCHEMA,
        "playbill": __version__,
        "created": now,
        "date": date.isoformat(),
        "seed": seed,
        "repeat": repeat,
        "inputs": _inputs(inputs),
        "models": {},
        "starts": [],
    }


def _inputs(inputs: Inputs) -> dict[str, Any]:
    files = [{name: value for name, value in asdict(file).items() if value is not None} for file in inputs.files]
    found = {
        "files": files,
        "dialogues": inputs.dialogues,
        "turns": inputs.turns,
        "sha256": inputs.digest,
        "set_sha256": inputs.set_digest,
    }
    return found if inputs.shard is None else {**found, "shard": str(inputs.shard), "shard_dialogues": len(inputs)}


def _start(labels: Sequence[str], command: Sequence[str] | None) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": scrub(list(command)) if command is not None else None,
        "models": list(labels),
        "playbill": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "hardware": describe_hardware(),
        "packages": package_versions(),
    }


def describe_model(model: Model, spec: ModelSpec, *, seeded: bool) -> dict[str, Any]:
    """Return what a loaded model is, as JSON: the part of the manifest under its label."""
    path = model.prompt_path
    facts = dict(model.engine.facts())
    found: dict[str, Any] = {
        "model_name": model.name,
        "spec": spec.to_dict(),
        "sources": spec.sources(),
        "parameters": {"asked": dict(model.defaults.asked), "effective": dict(model.defaults.effective)},
        "seeded": seeded,
        "cleaning": _cleaning(model),
        "weights": {key: value for key, value in facts.items() if any(word in key for word in _WEIGHTS)},
        "engine": facts,
    }
    if is_service(spec) and model.defaults.not_greedy is not None:
        found["not_greedy"] = model.defaults.not_greedy
    if path is not None:
        found["template"] = asdict(path.template)
        found["stops"] = asdict(path.stops)
        found["context_size"] = path.context_size
        found["tokenizer"] = dict(path.tokenizer.facts())
        found["date"] = path.date.isoformat()
    if path is not None and path.processor is not None:
        found["pictures"] = {"placeholder": path.processor.placeholder, **path.processor.facts()}
    plain: dict[str, Any] = _as_json(found)
    return plain


def model_part(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a described model that may not change within a run."""
    return {key: _that_counts(model[key]) if key == "spec" else model[key] for key in _KEPT if key in model}


def _that_counts(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec without what only says how fast a service is asked."""
    return {key: value for key, value in spec.items() if key not in PACE}


def _cleaning(model: Model) -> dict[str, Any]:
    """Return the rule without what runs of older versions didn't write, where it says what they did."""
    rule = asdict(model.cleaning)
    return {name: value for name, value in rule.items() if name != "keep_white_space" or value}


def _as_json(value: Any) -> Any:
    """Return the value as it reads back from a file."""
    if isinstance(value, Mapping):
        return {str(k): _as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_as_json(v) for v in value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _changed_frame(
    content: Mapping[str, Any], inputs: Inputs, repeat: int, seed: int | None
) -> Iterator[tuple[str, Any, Any]]:
    if content.get("seed") != seed:
        yield "seed", content.get("seed"), seed
    if repeat < content.get("repeat", 1):
        yield "repeat", content["repeat"], repeat
    known = content["inputs"]
    shard = None if inputs.shard is None else str(inputs.shard)
    if known.get("shard") != shard:
        yield "inputs.shard", known.get("shard"), shard
    if inputs.dialogues < known["dialogues"]:
        yield "inputs.dialogues", known["dialogues"], inputs.dialogues
    elif inputs.prefix_digest(known["dialogues"]) != known["sha256"] and not _is_reordered(known, inputs):
        yield f"inputs (the first {counted(known['dialogues'], 'dialogue')})", known["sha256"], "others"


def _is_reordered(known: Mapping[str, Any], inputs: Inputs) -> bool:
    """Return whether the dialogues are those of the folder in another order, which no record depends on."""
    return known["dialogues"] == inputs.dialogues and known.get("set_sha256") == inputs.set_digest


def differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Path, old and new value of everything that differs between two JSON values; None for "not there"."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif old != new:
        yield path, old, new


def _refusal(path: Path, changed: Sequence[tuple[str, Any, Any]]) -> RunError:
    lines = "".join(f"\n  {where}: {_short(old)} in the folder, {_short(new)} now" for where, old, new in changed)
    return RunError(
        f"{path.parent} holds a run with other settings:{lines}\n"
        "Go on with the old settings, or name another folder with -o"
    )


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"
