"""A model's records on disk: appended line by line, mended on opening, read back while they stream.

A record is one write of one line, so that a crash at any byte costs the last line at the most. On opening the
file is mended: torn and damaged lines go, and so do records that this start does again (`error`), so that
no key ever stands in it twice. Knows no dialogue and no model.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from playbill.backends.common.jsonfile import parse_own_line
from playbill.backends.common.surrogates import is_torn
from playbill.backends.common.words import counted
from playbill.backends.errors import FileFormatError, RunError
from playbill.backends.generation import Outcome
from playbill.runs.folder.fields import wrong_field
from playbill.runs.folder.inside import check_inside
from playbill.runs.folder.record import SCHEMA, Record, checksum, is_record, to_line
from playbill.runs.summary import Tally

__all__ = ["RECORDS", "FolderFailed", "RecordStore", "read_records"]

RECORDS = "records.jsonl"
_DAMAGED = "records.damaged"
_SYNC_EVERY = 1.0  # seconds: what a power cut may cost; a crash of the process costs nothing
_log = logging.getLogger(__name__)


def read_records(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield the records of a file, one by one, in the order in which they were written.

    A torn last line is left out, and said in the log: a run was killed, or is still writing. Raises
    FileFormatError for any other line that is not a record, with file and line.
    """
    path = Path(path)
    torn: str | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if torn is not None:
                raise FileFormatError(torn)
            record = _parse(line)
            if record is None:
                torn = f"{path}:{number}: not a record"
                continue
            yield record
    if torn is not None:
        _log.warning("%s: the last line is torn, and left out", path)


def _parse(line: bytes) -> Record | None:
    value = parse_own_line(line)
    return value if is_record(value) else None


class RecordStore:
    """The records of one model, open for going on. Who opens it holds the run's lock.

    ``notes`` says what had to be mended, a line each. ``tally`` counts what is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORDS
        self.notes: list[str] = []
        self.tally = Tally()
        self._turns: dict[tuple[str, int], list[int]] = {}
        """By dialogue and sample, where in the file the record of each turn begins."""
        self._synced = time.monotonic()
        for name in (RECORDS, _DAMAGED):
            check_inside(folder.parent, folder.name, name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._mend()
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
            self._reader = self.path.open("rb")
        except OSError as e:
            raise _fault(e, self.path) from e

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self.tally.records

    def recorded(self, id: str, sample: int) -> list[Record]:
        """Return the records of a sample of a dialogue as the store was opened with them, turn 0 first."""
        return [self._at(offset) for offset in self._turns.get((id, sample), ())]

    def _at(self, offset: int) -> Record:
        self._reader.seek(offset)
        record: Record = json.loads(self._reader.readline())
        return record

    def append(self, record: Record) -> None:
        """Write a record as one line. Raises RunError where the disk is full or gone; the file stays readable."""
        line = to_line(record)
        self._check_still_there()
        try:
            written = os.write(self._fd, line)
            if written < len(line):
                self._write_rest(line, written)
            if time.monotonic() - self._synced > _SYNC_EVERY:
                self._sync()
        except OSError as e:
            raise _fault(e, self.path) from e
        self.tally.add(record)

    def _check_still_there(self) -> None:
        """Raise RunError where the file was removed, moved or replaced: what is written then is nowhere."""
        try:
            if os.path.samestat(self.path.stat(), os.fstat(self._fd)):
                return
        except OSError:
            pass
        raise FolderFailed(
            f"{self.path} was removed, moved or replaced during the run, so answers can't be recorded any more; put "
            "it back, and the same command goes on, or name another folder with -o"
        )

    def _write_rest(self, line: bytes, written: int) -> None:
        """A disk that fills up takes a part of a line: write the rest, or take the part back."""
        start = os.fstat(self._fd).st_size - written
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            os.ftruncate(self._fd, start)
            raise

    def _sync(self) -> None:
        os.fsync(self._fd)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Bring everything to the disk, and close."""
        self._reader.close()
        try:
            self._check_still_there()
            self._sync()
        except OSError as e:
            raise _fault(e, self.path) from e
        finally:
            os.close(self._fd)

    def _mend(self) -> None:
        """Bring the file into a state that can be gone on from, and index it; rewritten only if it must be."""
        if not self.path.exists():
            return
        if not self.path.is_file():
            raise RunError(f"{self.path}: is no file that records could be in")
        drop, damaged = self._scan()
        if drop or damaged:
            self._rewrite(drop, damaged)
            self._scan()

    def _scan(self) -> tuple[set[int], list[tuple[int, bytes]]]:
        """Index and count all records: the places of those to drop, and the lines that are none."""
        found: dict[tuple[str, int], list[tuple[int | None, int]]] = {}
        tally = Tally()
        edits = _Edits()
        damaged: list[tuple[int, bytes]] = []
        self._problems: list[str] = []
        retried = 0
        offset = 0
        complete = True
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                record = _parse(line)
                problem = "no record" if record is None else _wrong(record)
                if record is None or problem is not None:
                    damaged.append((offset, line))
                    self._problems.append(f"line {number}: {problem}")
                else:
                    self._check_schema(record)
                    edits.look(record, number)
                    failed = record["outcome"] == Outcome.ERROR
                    retried += failed
                    places = found.setdefault((record["id"], record["sample"]), [])
                    places.append((None if failed else record["turn"], offset))
                    tally.add(record)
                offset += len(line)
                complete = line.endswith(b"\n")
        drop: set[int] = set()
        turns = {key: _going_on(places, drop) for key, places in found.items()}
        if not complete and not damaged and not drop:
            with self.path.open("ab") as file:  # the line is whole, only its line feed was lost
                file.write(b"\n")
        if edits.count:
            self.notes.append(
                f"{edits.count} {'record was' if edits.count == 1 else 'records were'} edited since the run wrote them "
                f"({edits.first}); the dialogues go on from what stands there now"
            )
        if retried:
            self.notes.append(f"{retried} {'error is' if retried == 1 else 'errors are'} tried again")
        self._turns, self.tally = turns, tally
        return drop, damaged

    def _check_schema(self, record: Record) -> None:
        if isinstance(record.get("schema"), int) and record["schema"] > SCHEMA:
            raise RunError(
                f"{self.path}: was written by a newer Playbill (schema {record['schema']}, this one writes {SCHEMA}); "
                "upgrade it, or choose another folder with -o"
            )

    def _rewrite(self, drop: set[int], damaged: list[tuple[int, bytes]]) -> None:
        """Replace the file, whole or not at all, by one without these lines. Damaged ones are kept apart."""
        self._note_damage(damaged)
        out = drop | {offset for offset, _ in damaged}
        fd, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{RECORDS}.")
        try:
            with os.fdopen(fd, "wb") as new, self.path.open("rb") as old:
                offset = 0
                for line in old:
                    if offset not in out:
                        new.write(line if line.endswith(b"\n") else line + b"\n")
                    offset += len(line)
                new.flush()
                os.fsync(new.fileno())
            os.chmod(name, self.path.stat().st_mode & 0o777)
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _note_damage(self, damaged: list[tuple[int, bytes]]) -> None:
        if not damaged:
            return
        torn = damaged[-1][1]
        inside = [line for _, line in damaged if line.endswith(b"\n")]
        if not torn.endswith(b"\n"):
            self.notes.append(
                f"the last line was torn ({counted(len(torn), 'byte')}) and is cut off; its answer will be asked for"
            )
        if inside:
            with (self.path.parent / _DAMAGED).open("ab") as file:
                file.writelines(inside)
            self.notes.append(
                f"{len(inside)} damaged {'line is' if len(inside) == 1 else 'lines are'} no usable record "
                f"({self._problems[0]}): moved to {_DAMAGED}; what is missing now is asked for again"
            )


@dataclass(slots=True)
class _Edits:
    """Counts records that are not as they were written, and says which the first is.

    A record has a checksum of its own; one without is compared with the next turn of its dialogue, whose messages have
    its text.
    """

    count: int = 0
    first: str = ""
    _texts: dict[tuple[str, int], tuple[int, int, str | None]] = field(default_factory=dict)

    def look(self, record: Record, line: int) -> None:
        """Take the next record of a file."""
        key, turn = (record["id"], record["sample"]), record["turn"]
        said = record.get("checksum")
        if said is not None and said != checksum(record):
            self._found(f"line {line}: its messages, text or outcome")
        before = self._texts.pop(key, None)
        if before is not None and before[0] == turn - 1 and before[2] is None:
            answers = [m.get("content") for m in record.get("messages") or () if m.get("role") == "assistant"]
            if answers and isinstance(answers[-1], str) and hash(answers[-1]) != before[1]:
                self._found(f"line {line}: its messages don't have the text of turn {turn - 1}")
        self._texts[key] = (turn, hash(record["text"]), said)

    def _found(self, what: str) -> None:
        self.count += 1
        self.first = self.first or what


def _wrong(record: Record) -> str | None:
    """Return why a run can't go on from a record, which somebody may have edited; None where it can."""
    if problem := wrong_field(record):
        return problem
    text = record.get("text")
    if not isinstance(text, str):
        return "text is missing"
    return "text holds half of a surrogate pair" if is_torn(text) else None


def _going_on(places: list[tuple[int | None, int]], drop: set[int]) -> list[int]:
    """Return the offsets of a conversation's records, turn 0 first, as far as its turns follow each other.

    ``places`` are turn (None: not usable) and offset, in the order of the file; of a turn that stands twice the later
    one counts. The offsets of all others are added to ``drop``.
    """
    kept: dict[int, int] = {}
    for turn, offset in places:
        if turn is None:
            drop.add(offset)
            continue
        if turn in kept:
            drop.add(kept[turn])
        kept[turn] = offset
    usable = [kept[turn] for expected, turn in enumerate(sorted(kept)) if turn == expected]
    drop.update(set(kept.values()) - set(usable))
    return usable


class FolderFailed(RunError):
    """The run's folder can't be written to any more: a full disk, a quota, a lost mount. It stops every model."""


def _fault(e: OSError, path: Path) -> RunError:
    """Return the error for what the system refused, saying what to do."""
    return FolderFailed(
        f"can't write {path}: {e.strerror or e}. What was recorded before is whole; once there is room and "
        "permission to write, the same command goes on"
    )
