"""Run models over dialogues. Checks everything that can be checked first, then runs model after model.

Local models run one after the other, for memory's sake; those of services at the same time, each in a thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playbill.backends.common.warn import warned
from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import supported_parameters
from playbill.backends.errors import PlaybillError, RunError
from playbill.backends.loading import load_spec
from playbill.backends.model import Model
from playbill.backends.registry.backends import is_service
from playbill.backends.registry.fields.table import ENTRY_KEYS
from playbill.backends.registry.lookup import ModelRegistry
from playbill.backends.registry.spec import ModelSpec
from playbill.replicas import Places, ReplicatedModel
from playbill.replicas.places import has_replicas, works_alone
from playbill.replicas.wire import LoadOrder
from playbill.runs.folder.fields import wrong_field
from playbill.runs.folder.lock import locked, undone_if_refused
from playbill.runs.folder.manifest import Manifest, describe_model
from playbill.runs.folder.names import folder_name, run_name
from playbill.runs.folder.pictures import PictureFolder
from playbill.runs.folder.proof import describe_proof
from playbill.runs.folder.store import RECORDS, FolderFailed, RecordStore, read_records
from playbill.runs.inputs.inputs import DialogueSource, Inputs, open_inputs
from playbill.runs.inputs.shard import Shard, parse_shard
from playbill.runs.observer import Observer, Plan, Silent
from playbill.runs.release import release
from playbill.runs.result import RunInterrupted, RunResult
from playbill.runs.schedule import Schedule, Stop
from playbill.runs.selection import Chosen, ModelChoice, choose_models
from playbill.runs.signals import RunSignals
from playbill.runs.summary import ModelSummary, Tally

__all__ = ["run"]

_log = logging.getLogger(__name__)
_SERVICES_END = 2.0  # seconds that other threads get to record what is finished


def run(
    dialogues: DialogueSource | Iterable[DialogueSource],
    models: ModelChoice | Iterable[ModelChoice],
    *,
    out: str | os.PathLike[str] | None = None,
    repeat: int = 1,
    seed: int | None = None,
    shard: str | tuple[int, int] | Shard | None = None,
    params: Mapping[str, Any] | None = None,
    concurrency: int | None = None,
    places: Places | None = None,
    key_files: Iterable[str | os.PathLike[str]] = (),
    registry: ModelRegistry | None = None,
    credentials: Credentials | None = None,
    observer: Observer | None = None,
    trust_remote_code: bool = False,
    progress: bool = False,
    fetch_pictures: bool = False,
    command: Sequence[str] | None = None,
) -> RunResult:
    """Let models answer dialogues, and keep a record of every turn in the folder ``out``.

    ``dialogues``: paths of JSONL or JSON files, folders of them, ``-`` for stdin, or dialogues as dictionaries.
    ``models``: names, selectors, loaded Models, or (label, one of these). ``params`` override every entry.
    ``repeat`` samples are taken of each dialogue; with a ``seed``, each turn of each gets its own, where the engine
    supports one. ``shard`` I/N runs the I-th of N parts of the dialogues, for `playbill.runs.merge` to put together.
    ``concurrency`` fixes how many requests services get at once; ``fetch_pictures`` as `load_model`. With ``places``
    (`playbill.replicas.LocalPlaces`, or a Ray cluster's) local models run in replicas there, which find keys in
    ``key_files``. The same call on the same folder goes on, and tries ``error`` again (`runs.folder.manifest`).

    Raises InputError, SelectionError, ParameterError and RunError before anything is loaded; RunInterrupted on
    Ctrl-C; and what a load raises, if no model can be loaded (else its summary has the ``problem``).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = run([{"id": "d1", "turns": ["Hello!"]}], "mock", out=folder)
    ...     [record["text"] for record in result.records()]
    ['Hello!']
    """
    chosen = _chosen(models, registry, params)
    inputs = open_inputs(dialogues, parse_shard(shard) if shard is not None else None)
    folder = Path(out) if out is not None else Path("runs") / run_name(inputs.name, [c.label for c in chosen])
    with locked(folder), undone_if_refused(folder):
        job = _Job(
            inputs=inputs,
            chosen=chosen,
            folder=folder,
            manifest=_opened_manifest(folder, inputs, chosen, repeat, seed),
            repeat=repeat,
            seed=seed,
            concurrency=concurrency,
            places=places,
            key_files=tuple(Path(file).absolute() for file in key_files),
            credentials=credentials,
            observer=observer if observer is not None else Silent(),
            trust_remote_code=trust_remote_code,
            progress=progress,
            fetch_pictures=fetch_pictures,
        )
        return job.run(command)


def _opened_manifest(folder: Path, inputs: Inputs, chosen: Iterable[Chosen], repeat: int, seed: int | None) -> Manifest:
    if repeat < 1:
        raise RunError(f"repeat is {repeat}; at least one sample of each dialogue is taken")
    manifest = Manifest.open(folder, inputs, repeat=repeat, seed=seed)
    for one in chosen:
        manifest.check_spec(one.label, one.spec)
    return manifest


def _chosen(
    models: ModelChoice | Iterable[ModelChoice], registry: ModelRegistry | None, params: Mapping[str, Any] | None
) -> tuple[Chosen, ...]:
    overrides = {key: value for key, value in (params or {}).items() if value is not None}
    return tuple(choose_models(models, registry if registry is not None else ModelRegistry.load(), overrides))


@dataclass(kw_only=True)
class _Job:
    """A run that may begin: all is checked that can be before a model is loaded."""

    inputs: Inputs
    chosen: tuple[Chosen, ...]
    folder: Path
    manifest: Manifest
    repeat: int
    seed: int | None
    concurrency: int | None
    places: Places | None
    key_files: tuple[Path, ...]
    credentials: Credentials | None
    observer: Observer
    trust_remote_code: bool
    progress: bool
    stop: Stop = field(default_factory=Stop)
    loading: bool = False
    """Whether the main thread loads a model."""
    summaries: dict[str, ModelSummary] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)
    manifest_lock: threading.Lock = field(default_factory=threading.Lock)
    fatal: str | None = None
    """What failed one model and would fail every other as well."""
    fetch_pictures: bool = False

    def __post_init__(self) -> None:
        self.signals = RunSignals(self.stop, lambda: self.loading)
        self.pictures = PictureFolder(self.folder)

    def run(self, command: Sequence[str] | None) -> RunResult:
        labels = [one.label for one in self.chosen]
        known = len(warned())
        self._reserve_folders()
        said = self.manifest.add_start(labels, command)
        self.manifest.write()
        self.observer.planned(Plan(self.folder, tuple(labels), len(self.inputs), self.repeat, self.manifest.resumed))
        for text in said:
            self.observer.said("", f"since the last start in this folder, {text}")
        for one in self.chosen if self.places is not None else ():
            if one.model is None and not has_replicas(one.spec):
                self.observer.said(one.label, works_alone(one.spec))
        remote = [one for one in self.chosen if _asks_service(one) or self._waits_for_room(one)]
        threads = [threading.Thread(target=self._guarded, args=(one,), daemon=True) for one in remote]
        with self.signals.taken():
            for thread in threads:
                thread.start()
            try:
                for one in self.chosen:
                    if one not in remote and not (self.stop or self.stop.draining):
                        self._guarded(one)
            except KeyboardInterrupt:
                if not self.stop.draining:
                    self.stop.set()
            self._await(threads)
        with self.manifest_lock:
            self.manifest.add_warnings(warned()[known:])
        result = self._result()
        if self.stop or (self.stop.draining and any(summary.missing for summary in result.models.values())):
            raise RunInterrupted(result, drained=self.stop.draining)
        if self.faults and len(self.faults) == len(self.chosen):
            raise next(iter(self.faults.values()))
        return result

    def _is_replicated(self, one: Chosen) -> bool:
        return self.places is not None and one.model is None and has_replicas(one.spec)

    def _waits_for_room(self, one: Chosen) -> bool:
        """Whether the model may be started at any time, since its replicas wait for their resources elsewhere."""
        return self.places is not None and self.places.side_by_side and self._is_replicated(one)

    def _await(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            while thread.is_alive() and not self.stop:
                thread.join(0.2)
        for thread in threads:
            thread.join(_SERVICES_END)

    def _reserve_folders(self) -> None:
        known = self.manifest.folders()
        for one in self.chosen:
            if one.label not in known:
                known[one.label] = folder_name(one.label, known.values())
                self.manifest.reserve(one.label, known[one.label])
            records = self.folder / known[one.label] / RECORDS
            if not self.manifest.is_described(one.label) and records.is_file() and records.stat().st_size:
                raise RunError(
                    f"{records} holds records, and no manifest says what they are of, so no run can go on from them; "
                    "move them away, or name another folder with -o"
                )

    def _guarded(self, one: Chosen) -> None:
        """Run one model; its failure is its own, and the others go on, unless it would be theirs too."""
        if self.fatal is not None:
            self._fail(one, RunError(f"not begun, since it would fail as well: {self.fatal}"))
            return
        try:
            self.summaries[one.label] = self._run_model(one)
        except Exception as e:  # noqa: BLE001 - whatever broke one model, the night's run goes on with the others
            _log.debug("the model '%s' failed:\n%s", one.label, "".join(traceback.format_exception(e)))
            self._fail(one, e)
        else:
            summary = self.summaries[one.label]
            if summary.problem is not None:
                self._note_problem(one, summary.problem)
                self.fatal = summary.problem if summary.fatal else self.fatal
            self.observer.finished(one.label, summary)

    def _fail(self, one: Chosen, e: Exception) -> None:
        release(e)
        self.faults[one.label] = e
        text = str(e) if isinstance(e, PlaybillError) else f"{type(e).__name__}: {e}"
        if isinstance(e, FolderFailed):
            self.fatal = text
        else:
            self._note_problem(one, text)
        summary = self._unfinished(one, text)
        self.summaries[one.label] = summary
        self.observer.finished(one.label, summary)

    def _note_problem(self, one: Chosen, text: str) -> None:
        with self.manifest_lock:
            self.manifest.set_problem(one.label, text)
            with suppress(RunError):  # the disk that is full for records is full for this
                self.manifest.write()

    def _unfinished(self, one: Chosen, problem: str | None) -> ModelSummary:
        """Return the summary of a model that stopped half-way or never began, from what its file holds."""
        tally = Tally()
        path = self._files()[one.label]
        try:
            for record in read_records(path):
                if wrong_field(record) is None:
                    tally.add(record)
        except (OSError, PlaybillError):  # there is nothing yet, or what is there is what the problem is about
            _log.debug("no records to count in %s", path, exc_info=True)
        missing = max(0, self.inputs.turns * self.repeat - tally.records)
        return tally.summary(one.label, missing=missing, problem=problem)

    def _run_model(self, one: Chosen) -> ModelSummary:
        self.observer.loading(one.label)
        began = time.monotonic()
        with self._opened(one) as model:
            load_seconds = time.monotonic() - began if one.model is None else None
            seed = self._seed_of(one, model)
            described = describe_model(model, one.spec, seeded=seed is not None)
            described |= describe_proof(one.entry, one.spec, model.prompt_path)
            with self.manifest_lock:
                said = self.manifest.set_model(one.label, described, load_seconds)
                self.manifest.set_missing(one.label, None)
                self.manifest.write()
            self._note_replicas(one, model)
            if "not_greedy" in described:
                self.observer.said(one.label, f"can't be greedy, so its answers are samples: {described['not_greedy']}")
            for text in said:
                self.observer.said(one.label, f"it computes otherwise than before: {text}")
            with RecordStore(self.folder / self.manifest.folders()[one.label]) as store:
                for note in store.notes:
                    self.observer.said(one.label, note)
                schedule = Schedule(
                    one.label,
                    model,
                    store,
                    self.observer,
                    repeat=self.repeat,
                    seed=seed,
                    stop=self.stop,
                    pictures=self.pictures,
                )
                summary = schedule.run(self.inputs, self.inputs.turns * self.repeat)
            self._note_replicas(one, model)
            with self.manifest_lock:
                self.manifest.set_missing(one.label, summary.missing)
                self.manifest.write()
            return summary

    def _note_replicas(self, one: Chosen, model: Model | None) -> None:
        """Keep in the manifest which replicas there are, where, and how many turns each answered."""
        if isinstance(model, ReplicatedModel):
            with self.manifest_lock:
                self.manifest.set_replicas(one.label, model.census())
                self.manifest.write()

    @contextmanager
    def _opened(self, one: Chosen) -> Iterator[Model]:
        """The model; one that the caller loaded stays open."""
        if one.model is not None:
            yield one.model
            return
        alone = not (_asks_service(one) or self._waits_for_room(one))
        self.loading = alone or self.loading
        try:
            model = self._load(one)
        finally:
            self.loading = not alone and self.loading
        self.signals.listen()
        with model:
            yield model

    def _load(self, one: Chosen) -> Model:
        backend = str(one.spec.get("backend"))
        overrides: dict[str, Any] = {}
        if ENTRY_KEYS["date"].is_read_by(backend) and one.spec.get("date") is None:
            overrides["date"] = self.manifest.date.isoformat()
        if ENTRY_KEYS["concurrency"].is_read_by(backend) and self.concurrency is not None:
            overrides["concurrency"] = self.concurrency
        spec = one.spec.override(overrides) if overrides else one.spec
        dialogues = len(self.inputs) * self.repeat
        if self.places is not None and self._is_replicated(one):
            return self._load_replicated(one, spec, dialogues)
        return load_spec(
            spec,
            credentials=self.credentials,
            trust_remote_code=self.trust_remote_code,
            dialogues=dialogues,
            extent=self.inputs.extent,
            progress=self.progress,
            fetch_pictures=self.fetch_pictures,
        )

    def _load_replicated(self, one: Chosen, spec: ModelSpec, dialogues: int) -> Model:
        assert self.places is not None
        order = LoadOrder(
            spec=spec,
            key_files=self.key_files,
            trust_remote_code=self.trust_remote_code,
            fetch_pictures=self.fetch_pictures,
            dialogues=dialogues,
            extent=self.inputs.extent,
        )
        loaded: list[Model] = []

        def joined() -> None:
            self._note_replicas(one, loaded[0] if loaded else None)

        model = ReplicatedModel.load(
            self.places,
            order,
            say=lambda text: self.observer.said(one.label, text),
            joined=joined,
            stopped=lambda: bool(self.stop) or self.stop.draining,
        )
        loaded.append(model)
        return model

    def _seed_of(self, one: Chosen, model: Model) -> int | None:
        """Return the seed from which those of single answers are derived.

        Several samples under one seed of the entry's would all be the same, so theirs are derived from it too.
        """
        seed = self.seed if self.seed is not None or self.repeat == 1 else one.spec.get("seed")
        if seed is not None and "seed" not in supported_parameters(model.engine):
            self.observer.said(one.label, f"the backend {one.spec.get('backend')} takes no seed; it answers without")
            return None
        return seed

    def _files(self) -> dict[str, Path]:
        folders = self.manifest.folders()
        return {one.label: self.folder / folders[one.label] / RECORDS for one in self.chosen}

    def _result(self) -> RunResult:
        summaries = {one.label: self.summaries.get(one.label) or self._unfinished(one, None) for one in self.chosen}
        return RunResult(self.folder, summaries, self._files())


def _asks_service(one: Chosen) -> bool:
    return one.model is None and is_service(one.spec)
