"""The dialogues of a run: read from files or given by the caller, all checked before anything is loaded.

A first pass checks every dialogue and keeps a digest and counts; each later pass streams them again, so that
100,000 dialogues need no more memory than ten. Knows no model and no run folder.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from playbill.backends.common.home import expanded
from playbill.backends.engines.base import Extent
from playbill.backends.errors import InputError
from playbill.runs.inputs.dialogue import Dialogue
from playbill.runs.inputs.files import read_items
from playbill.runs.inputs.shapes import read_dialogue, unread_settings
from playbill.runs.inputs.shard import Shard

__all__ = ["DialogueSource", "Inputs", "InputFile", "open_inputs"]

_log = logging.getLogger(__name__)
_MOST_PROBLEMS = 20
_PARTS = 64

DialogueSource = str | os.PathLike[str] | Mapping[str, Any] | Dialogue


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input as the manifest names it: its path (or ``-``, or ``python``), its hash and its dialogues' number."""

    path: str
    dialogues: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """One dialogue, or what is wrong with it, at its place."""

    where: str
    dialogue: Dialogue | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Source:
    """Something that dialogues can be read from again and again."""

    name: str
    path: Path | None = None
    given: tuple[Mapping[str, Any] | Dialogue, ...] = ()

    def found(self, noted: set[str] | None = None) -> Iterator[_Found]:
        """Yield each dialogue or problem; settings that a run does not read are added to ``noted``."""
        if self.path is None:
            yield from (_read(raw, None, f"dialogues[{i}]") for i, raw in enumerate(self.given))
            return
        folder = Path.cwd() if self.name == "-" else self.path.resolve().parent
        for item in read_items(self.path):
            where = f"{self.name}:{item.line}" + (f":{item.column}" if item.column else "")
            if item.problem is not None:
                yield _Found(where, problem=item.problem)
                continue
            if noted is not None:
                noted |= unread_settings(item.value)
            yield _read(item.value, folder, where)

    def sha256(self) -> str | None:
        if self.path is None:
            return None
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _read(raw: Any, folder: Path | None, where: str) -> _Found:
    if isinstance(raw, Dialogue):
        return _Found(where, raw)
    try:
        return _Found(where, read_dialogue(raw, folder))
    except InputError as e:
        return _Found(where, problem=str(e))


@dataclass(frozen=True, slots=True)
class Inputs:
    """Checked dialogues: iterate as often as you like.

    ``digest`` is a hash over all of them in order, and ``prefix_digest(n)`` that of the first n, by which appended
    dialogues are told from changed ones; ``set_digest`` is one that doesn't depend on their order. ``extent`` bounds
    the largest of all. Of a ``shard`` only its own dialogues are iterated and counted in ``len()`` and in ``turns``,
    the number of answers that they ask for.
    """

    files: tuple[InputFile, ...]
    dialogues: int
    turns: int
    extent: Extent
    digest: str
    name: str
    _sources: tuple[_Source, ...]
    set_digest: str = ""
    shard: Shard | None = None
    own: int = 0

    def __iter__(self) -> Iterator[Dialogue]:
        shard = self.shard
        return self._all() if shard is None else (each for each in self._all() if shard.holds(each.id))

    def __len__(self) -> int:
        return self.own

    def _all(self) -> Iterator[Dialogue]:
        for source in self._sources:
            for found in source.found():
                if found.dialogue is None:
                    raise InputError(f"{found.where}: changed while the run was reading it: {found.problem}")
                yield found.dialogue

    def prefix_digest(self, count: int) -> str:
        """Return the digest of the first ``count`` dialogues."""
        if count == self.dialogues:
            return self.digest
        digest = hashlib.sha256()
        for _, dialogue in zip(range(count), self._all(), strict=False):
            digest.update(_fingerprint(dialogue))
        return digest.hexdigest()


def open_inputs(dialogues: DialogueSource | Iterable[DialogueSource], shard: Shard | None = None) -> Inputs:
    """Check all dialogues of files, directories (their .jsonl and .json files), ``-`` (stdin), or given objects.

    With a ``shard`` all are checked all the same, so that every shard refuses the same inputs. Raises InputError that
    lists the problems, each with file and line: the first twenty of them.
    """
    parts = [dialogues] if isinstance(dialogues, (str, os.PathLike, Mapping, Dialogue)) else list(dialogues)
    sources = _sources(parts)
    check = _Check(shard)
    files = []
    for source in sources:
        before = check.dialogues
        check.take(source)
        files.append(InputFile(source.name, check.dialogues - before, None if check.problems else source.sha256()))
    if not check.problems:
        check.problems.extend(_duplicates(sources, check.ids))
    if check.problems:
        raise InputError(_say(check.problems))
    if not check.dialogues:
        raise InputError(f"no dialogues in {', '.join(source.name for source in sources) or 'the input'}")
    return Inputs(
        tuple(files),
        check.dialogues,
        check.turns,
        check.extent,
        check.digest.hexdigest(),
        _name(parts) + (f"-{shard.index}of{shard.count}" if shard is not None else ""),
        sources,
        f"{check.sum % (1 << 256):064x}",
        shard,
        check.own,
    )


class _Check:
    """The first pass over all inputs."""

    def __init__(self, shard: Shard | None) -> None:
        self.problems: list[str] = []
        self.dialogues = 0
        self.own = 0
        self.turns = 0
        self.sum = 0
        """The sum of the dialogues' hashes, which is the same in every order."""
        self._shard = shard
        self.extent = Extent(0, 0, 0)
        self.digest = hashlib.sha256()
        self.ids = [array("Q") for _ in range(_PARTS)]
        """A hash for each id: eight bytes a dialogue instead of the ids. In parts, since Python sorts objects."""

    def take(self, source: _Source) -> None:
        settings: set[str] = set()
        for found in source.found(settings):
            if len(self.problems) > _MOST_PROBLEMS:
                return
            if found.dialogue is None:
                self.problems.append(f"{found.where}: {found.problem}")
                continue
            self.dialogues += 1
            if self._shard is None or self._shard.holds(found.dialogue.id):
                self.own += 1
                self.turns += found.dialogue.turns
            self.extent = _widened(self.extent, found.dialogue)
            fingerprint = _fingerprint(found.dialogue)
            self.digest.update(fingerprint)
            self.sum += int.from_bytes(hashlib.sha256(fingerprint).digest())
            name = _hash(found.dialogue.id)
            self.ids[name % _PARTS].append(name)
        if settings:
            _log.warning(
                "%s: a run doesn't read the body's %s; name the model with -m and parameters with -p",
                source.name,
                ", ".join(sorted(settings)),
            )


def _widened(extent: Extent, dialogue: Dialogue) -> Extent:
    """Return the extent that takes in a dialogue too."""
    given = [message.get("content") or "" for message in dialogue.opening]
    texts = [each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in given]
    size = sum(len(text.encode(errors="surrogatepass")) for text in (*texts, *dialogue.further))
    return Extent(
        max(extent.text_bytes, size),
        max(extent.messages, len(dialogue.opening) + 2 * len(dialogue.further)),
        max(extent.answers, dialogue.turns),
    )


def _fingerprint(dialogue: Dialogue) -> bytes:
    content = [dialogue.id, dialogue.opening, dialogue.further]
    return json.dumps(content, sort_keys=True, default=str).encode() + b"\n"


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


def _duplicates(sources: Sequence[_Source], ids: Iterable[array[int]]) -> Iterator[str]:
    """Yield a problem for each id that occurs again, with both places. Reads the input anew only if there are any."""
    suspects = {a for part in ids for a, b in pairwise(sorted(part)) if a == b}
    first: dict[str, str] = {}
    for found in (f for source in sources for f in source.found()) if suspects else ():
        dialogue = found.dialogue
        if dialogue is None or _hash(dialogue.id) not in suspects:
            continue
        before = first.setdefault(dialogue.id, found.where)
        if before != found.where:
            yield f"{found.where}: the id {dialogue.id!r} is that of {before} already; ids are unique over all inputs"


def _say(problems: list[str]) -> str:
    shown = problems[:_MOST_PROBLEMS]
    if len(shown) == 1:
        return shown[0]
    more = "" if len(problems) == len(shown) else f"\n  … and more; these are the first {len(shown)}"
    return f"{len(shown)} problems in the input, nothing was loaded:" + "".join(f"\n  {p}" for p in shown) + more


def _sources(parts: Sequence[DialogueSource]) -> tuple[_Source, ...]:
    """Files in the caller's order; all given objects are one source behind them."""
    found: list[_Source] = []
    objects: list[Mapping[str, Any] | Dialogue] = []
    for part in parts:
        if isinstance(part, (str, os.PathLike)):
            found.extend(_of_path(part))
        elif isinstance(part, (Mapping, Dialogue)):
            objects.append(part)
        else:
            raise InputError(f"{part!r} is neither a path nor a dialogue as an object")
    return (*found, *([_Source("python", given=tuple(objects))] if objects else ()))


def _of_path(given: str | os.PathLike[str]) -> Iterator[_Source]:
    if os.fspath(given) == "-":
        yield _Source("-", _spooled_stdin())
        return
    path = expanded(given)
    if not path.is_dir():
        yield _Source(os.fspath(path), path if path.is_file() else _spooled(path))
        return
    inside = sorted(p for p in path.iterdir() if p.suffix.lower() in (".jsonl", ".json") and p.is_file())
    if not inside:
        raise InputError(f"{path}: a folder without .jsonl and .json files")
    yield from (_Source(os.fspath(p), p) for p in inside)


def _spooled(path: Path) -> Path:
    """Return a file with a pipe's content: a pipe can be read once, and dialogues are read twice. Other paths stay."""
    if not path.is_fifo():
        return path
    with path.open("rb") as stream, tempfile.NamedTemporaryFile(delete=False) as file:
        shutil.copyfileobj(stream, file)
    return _removed_at_exit(file.name)


def _spooled_stdin() -> Path:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return _removed_at_exit(file.name)


def _removed_at_exit(name: str) -> Path:
    path = Path(name)
    atexit.register(path.unlink, missing_ok=True)
    return path


def _name(parts: Sequence[DialogueSource]) -> str:
    """Return a word for the inputs, for the name of the run's folder."""
    paths = [os.fspath(part) for part in parts if isinstance(part, (str, os.PathLike))]
    return "+".join("stdin" if p == "-" else Path(p).resolve().stem for p in paths) or "dialogues"
