"""What goes between the caller's process and a replica's: plain data that pickles. Does nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from playbill.backends.answer.clean import CleaningRule
from playbill.backends.engines.base import Extent
from playbill.backends.generation import Generation
from playbill.backends.prompt.chat_template import Template
from playbill.backends.prompt.stops import Stops
from playbill.backends.registry.fields.parameters import ParameterRules, Parameters
from playbill.backends.registry.spec import ModelSpec

__all__ = ["Answer", "Ask", "Batch", "LoadOrder", "PathPortrait", "Portrait", "ProcessorPortrait"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One turn for a replica: the caller's messages and parameters, as `Model.submit` takes them.

    ``stream`` asks for the text as it comes. With ``decode`` nothing is generated: the text of these ids is asked for.
    """

    number: int
    messages: Sequence[Mapping[str, Any]] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    dialogue: str | None = None
    folder: Path | None = None
    stream: bool = False
    decode: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an `Ask`: a generation or an error; or a ``text``, which is a piece where more comes."""

    number: int
    generation: Generation | None = None
    error: Exception | None = None
    text: str | None = None
    is_piece: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Answers that came together; ``number`` counts a replica's batches from 0, since they may arrive in any order."""

    number: int
    answers: list[Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """What a replica is to load, as `load_spec` takes it. Holds no secret: keys are looked for where the replica is.

    ``folder`` is the caller's working directory, from which relative paths of the entry count; ``threads`` is how many
    CPU threads the engine gets where the entry doesn't say.
    """

    spec: ModelSpec
    folder: Path = field(default_factory=Path.cwd)
    key_files: tuple[Path, ...] = ()
    trust_remote_code: bool = False
    fetch_pictures: bool = False
    dialogues: int | None = None
    extent: Extent | None = None
    threads: int | None = None

    @property
    def most(self) -> int | None:
        """How many dialogues the replica holds at once, where the entry says it."""
        found: int | None = self.spec.get("dialogues_per_replica")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorPortrait:
    """What is told of a model's processor of pictures, which stays with the replica."""

    placeholder: str
    markers: tuple[str, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPortrait:
    """A prompt path without its tokenizer and its processor, which stay with the replica."""

    template: Template
    stops: Stops
    date: datetime
    context_size: int | None
    recommended: Mapping[str, Any]
    response: Mapping[str, Any] | None
    tokenizer: Mapping[str, Any]
    processor: ProcessorPortrait | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """What a replica tells of the model that it loaded, and of where it is.

    ``node`` is the machine's name, ``gpus`` the devices that the process sees. ``versions`` and ``facts`` are compared
    between replicas, since answers of two kinds may not meet in one file.
    """

    concurrency: int
    supported: frozenset[str]
    rules: ParameterRules | None
    wishes: Mapping[str, Any]
    defaults: Parameters
    cleaning: CleaningRule
    path: PathPortrait | None
    facts: Mapping[str, Any]
    versions: Mapping[str, Any]
    node: str
    pid: int
    device: str
    gpus: str | None
