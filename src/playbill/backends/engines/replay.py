"""The backend replay: answers from the records of an earlier run, so that code behind a run can run again for nothing.

A conversation gets the answer that it got then, failures included; its samples come in turn.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from playbill.backends.common.jsonfile import parse_own_line
from playbill.backends.common.words import counted
from playbill.backends.engines.base import Completion, Context, Loaded, OnText, Request
from playbill.backends.engines.threads import Threads
from playbill.backends.errors import ContextExceeded, EngineError, MessageError, Refused, WeightsError
from playbill.backends.generation import FinishReason, Usage
from playbill.backends.prompt.messages import Message, prepare
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.fields.parameters import PARAMETERS, ParameterRules
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.spec import path_in

__all__ = ["Replay", "load", "preview"]

_FAILED: dict[str, type[EngineError]] = {
    "error": EngineError,
    "context_exceeded": ContextExceeded,
    "refused": Refused,
}


def load(entry: Mapping[str, Any], context: Context) -> Loaded:
    """Return the engine of an entry's ``records``. Raises WeightsError where they can't be read."""
    path = path_in(entry, "records")
    path = path / "records.jsonl" if path.is_dir() else path
    return Loaded(Replay(path, setting(entry, "consecutive_roles"), setting(entry, "system_role")))


def preview(entry: Mapping[str, Any], context: Context) -> PromptPath | None:
    return None


@dataclass(slots=True)
class _Samples:
    """Where the answers to one conversation stand in the file, and which of them is next."""

    offsets: list[int] = field(default_factory=list)
    asked: int = 0


_CHANGING = frozenset(name for name, parameter in PARAMETERS.items() if parameter.default is None)
"""Parameters that nobody asks for unasked; the defaults say what the replayed run had."""


class Replay:
    """Answers from a file of records, which is read once for where each answer stands, then as it is asked."""

    supported_parameters = frozenset(PARAMETERS)
    parameter_rules = ParameterRules(ignored=dict.fromkeys(_CHANGING, "the answers are recorded"))
    concurrency = 8

    def __init__(self, path: Path, consecutive_roles: str = "merge", system_role: str = "native") -> None:
        self.path = path
        self._known: dict[bytes, _Samples] = {}
        self._lock = threading.Lock()
        for offset, record in _read(path):
            try:
                messages = prepare(
                    record["messages"], consecutive_roles=consecutive_roles, system_role=system_role
                ).messages
            except (KeyError, MessageError):
                continue
            self._known.setdefault(_digest(messages), _Samples()).offsets.append(offset)
        self._file = path.open("rb")
        self._threads = Threads(self._complete, self.concurrency, "replay")

    def submit(self, request: Request, on_text: OnText | None = None) -> Future[Completion]:
        return self._threads.submit(request, on_text)

    def close(self) -> None:
        self._threads.close()
        with self._lock:
            self._file.close()

    def facts(self) -> Mapping[str, Any]:
        return {"records": str(self.path), "conversations": len(self._known)}

    def _complete(self, request: Request, on_text: OnText | None, stop_wanted: Callable[[], bool]) -> Completion:
        record = self._next(request.messages)
        failure = _FAILED.get(record["outcome"])
        if failure is not None:
            raise failure((record.get("error") or {}).get("message") or f"the record says {record['outcome']}")
        if on_text is not None:
            on_text(record["text"])
        return _completion(record)

    def _next(self, messages: Sequence[Message]) -> dict[str, Any]:
        samples = self._known.get(_digest(messages))
        if samples is None:
            last = str(messages[-1].get("content"))[:60]
            raise EngineError(
                f"{self.path} has no answer to this conversation of {counted(len(messages), 'message')}, ending with "
                f"{last!r}; an earlier message or answer is another than in the recorded run"
            )
        with self._lock:
            offset = samples.offsets[samples.asked % len(samples.offsets)]
            samples.asked += 1
            self._file.seek(offset)
            record: dict[str, Any] = json.loads(self._file.readline())
        return record


def _read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the records of a file, each with its place; a torn last line is none."""
    try:
        with path.open("rb") as file:
            offset = 0
            for line in file:
                record = _parse(line)
                if record is not None:
                    yield offset, record
                elif line.endswith(b"\n"):
                    raise WeightsError(f"{path}: not a record at byte {offset}; `records` names a records.jsonl")
                offset += len(line)
    except OSError as e:
        raise WeightsError(
            f"can't read the records {path}: {e.strerror}; `records` names a records.jsonl or its folder"
        ) from e


def _parse(line: bytes) -> dict[str, Any] | None:
    record = parse_own_line(line)
    return record if isinstance(record, dict) and all(type(record.get(k)) in t for k, t in _TYPES.items()) else None


_MAYBE_TEXT, _MAYBE_OBJECT = (str, NoneType), (dict, NoneType)
_TYPES: dict[str, tuple[type, ...]] = {
    "outcome": (str,),
    "text": (str,),
    "thinking": _MAYBE_TEXT,
    "finish_reason": _MAYBE_TEXT,
    "finish_reason_raw": _MAYBE_TEXT,
    "usage": _MAYBE_OBJECT,
    "params": _MAYBE_OBJECT,
    "error": _MAYBE_OBJECT,
}
"""What is read of a record, and the types that it may have."""


def _digest(messages: Sequence[Message]) -> bytes:
    """Return what two equal conversations share."""
    text = json.dumps([[m.get("role"), m.get("content")] for m in messages], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


def _completion(record: Mapping[str, Any]) -> Completion:
    """Return the answer as it was after cleaning: the entry that replays need not know how the model's texts are
    cleaned."""
    usage = record.get("usage") or {}
    finish = record.get("finish_reason")
    return Completion(
        text=record["text"],
        thinking=record.get("thinking"),
        finish_reason=FinishReason(finish) if finish in {f.value for f in FinishReason} else FinishReason.UNKNOWN,
        finish_reason_raw=record.get("finish_reason_raw"),
        usage=Usage(**{name: usage.get(name) for name in Usage.__slots__}),
        effective=(record.get("params") or {}).get("effective") or {},
        details={"replayed": {name: record.get(name) for name in ("id", "turn", "sample", "label")}},
    )
