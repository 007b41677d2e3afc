"""Playbill's own records as calls: ``records.jsonl`` with the manifest of its run. Knows no rule.

Token ids are skipped without being parsed: they stand at the end of a line, are most of it, and no rule reads them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import DEEPEST_OWN, parse_own_line, read_json
from playbill.backends.errors import FileFormatError, PlaybillError
from playbill.backends.generation import FinishReason
from playbill.runs.audit.call import Call
from playbill.runs.audit.wire import Answer, read_answer
from playbill.runs.folder.fields import wrong_field
from playbill.runs.folder.manifest_fields import wrong_part

__all__ = ["Expected", "expected_records", "is_ours", "read_line", "read_ours", "record_files"]

_log = logging.getLogger(__name__)
_FINISH: dict[Any, FinishReason] = {reason.value: reason for reason in FinishReason}
_IDS = b',"prompt_ids":'
_OUTCOMES = ("answered", "empty", "truncated", "truncated_in_thinking", "refused", "context_exceeded", "error")


def is_ours(name: str) -> bool:
    """Tell whether a file of this name holds records of a run."""
    return name.endswith(".jsonl")


@dataclass(frozen=True, slots=True)
class _Model:
    """What the manifest says of a model, as far as a rule needs it."""

    facts: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def read_ours(path: Path, run: str) -> Iterator[Call]:
    """Yield the calls in a file. A torn last line is left out, and said in the log.

    Raises FileFormatError for any other line that is not a record.
    """
    models = _read_manifest(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            record = read_line(line)
            if record is not None:
                problem = wrong_field(record)
                if problem is not None:
                    raise FileFormatError(f"{path}:{number}: not a record of Playbill: {problem}")
                yield _call(record, f"{path}:{number}", run, models)
            elif line.endswith(b"\n") or number == 1:
                raise FileFormatError(f"{path}:{number}: not a record of Playbill")
            else:
                _log.warning("%s: the last line is torn, and left out", path)


def read_line(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line, without token ids; None where there is none."""
    cut = line.rfind(_IDS)
    record = parse_own_line(line[:cut] + b"}") if cut > 0 else None
    if record is None:  # there are no ids, or their name stood elsewhere
        record = parse_own_line(line)
    known = isinstance(record, dict) and isinstance(record.get("outcome"), str) and record["outcome"] in _OUTCOMES
    return record if known else None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run's manifest says should be in a file ``where``: so many dialogues, each sample counted, and turns of
    them; None where an older manifest doesn't say how many."""

    run: str
    model: str
    where: str
    dialogues: int
    turns: int | None


def expected_records(path: Path, run: str) -> Iterator[Expected]:
    """Yield what the manifest of a file's run says of it; nothing where there is none that says it."""
    content = _manifest_of(path)
    inputs, repeat = _mapping(content.get("inputs")), content.get("repeat")
    dialogues, turns = inputs.get("dialogues"), inputs.get("turns")
    labels = [name for name, m in (content.get("models") or {}).items() if m.get("folder", name) == path.parent.name]
    if labels and isinstance(dialogues, int) and isinstance(repeat, int):
        asked = turns * repeat if isinstance(turns, int) else None
        yield Expected(run, labels[0], str(path), dialogues * repeat, asked)


def record_files(folder: Path) -> Iterator[Path]:
    """Yield where the records of a run's models are, whether they are there or not."""
    for name, described in (_manifest_in(folder).get("models") or {}).items():
        yield folder / described.get("folder", name) / "records.jsonl"


def _read_manifest(path: Path) -> dict[str, _Model]:
    """By label, what the manifest of the run says; empty where there is none."""
    return {label: _model(m) for label, m in (_manifest_of(path).get("models") or {}).items()}


def _manifest_of(path: Path) -> dict[str, Any]:
    for folder in (path.parent.parent, path.parent):
        if (folder / "manifest.json").is_file():
            return _manifest_in(folder)
    return {}


def _manifest_in(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's manifest, as far as it is one of a run; else nothing, which is said."""
    try:
        content = read_json(folder / "manifest.json", deepest=DEEPEST_OWN)
    except (PlaybillError, OSError) as e:
        _log.warning("%s", e)
        return {}
    if not isinstance(content, dict) or (problem := wrong_part(content)):
        said = problem if isinstance(content, dict) else "it is no object"
        _log.warning("%s: is no manifest of a run: %s", folder / "manifest.json", said)
        return {}
    return content


def _model(described: Mapping[str, Any]) -> _Model:
    facts = {}
    template = described.get("template")
    if isinstance(template, dict) and isinstance(template.get("text"), str):
        facts["template"] = hashlib.sha256(template["text"].encode()).hexdigest()[:12]
    if described.get("weights"):
        facts["weights"] = json.dumps(described["weights"], sort_keys=True)
    cleaning = described.get("cleaning")
    cleaning = cleaning if isinstance(cleaning, dict) else {}
    tags = (cleaning.get("thinking_start"), cleaning.get("thinking_end"))
    return _Model(facts, tuple(tag for tag in tags if isinstance(tag, str) and tag))


def _call(record: Mapping[str, Any], where: str, run: str, models: Mapping[str, _Model]) -> Call:
    label = str(record.get("label") or record.get("model_name") or "unknown")
    known = models.get(label) or _Model()
    usage = _mapping(record.get("usage"))
    params = _mapping(record.get("params"))
    effective = _mapping(params.get("effective"))
    response = record.get("response")
    answer = read_answer(response) if response else Answer()
    finish = record.get("finish_reason")
    local = isinstance(record.get("prompt"), str)
    limit = effective.get("max_tokens")
    details = _mapping(record.get("details"))
    facts = {k: details[k] for k in ("model", "fingerprint", "template_hash") if isinstance(details.get(k), str)}
    return Call(
        where=where,
        run=run,
        model=label,
        dialogue=f"{record['id']}\x00{record.get('sample', 0)}",
        turn=record["turn"],
        sample=record.get("sample") or 0,
        messages=record.get("messages"),
        prompt=record.get("prompt"),
        raw=record.get("raw"),
        keeps_special=local,
        text=record.get("text"),
        thinking=record.get("thinking"),
        outcome=record["outcome"],
        finish=_FINISH.get(finish),
        finish_raw=record.get("finish_reason_raw"),
        refusal=answer.refusal,
        output_tokens=usage.get("output_tokens"),
        thinking_tokens=usage.get("thinking_tokens"),
        seconds=record.get("seconds"),
        limit=limit if isinstance(limit, int) and not effective.get("max_thinking_tokens") else None,
        asked=_mapping(params.get("asked")),
        effective=effective,
        sent=_sent(record.get("request")),
        facts={**known.facts, **answer.facts, **facts},
        tags=known.tags,
        error=_error_of(record),
    )


def _error_of(record: Mapping[str, Any]) -> str | None:
    message = _mapping(record.get("error")).get("message")
    return message if isinstance(message, str) else None


_SENT = ("temperature", "top_p", "top_k", "seed")


def _sent(request: Any) -> dict[str, Any]:
    """Return the sampling parameters in a request's body, under Playbill's names."""
    body = _mapping(request)
    inner = _mapping(body.get("generationConfig") or body.get("generation_config"))
    return {k: v for k in _SENT if (v := body.get(k, inner.get(k))) is not None}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
