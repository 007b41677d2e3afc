"""Collect what the report page shows from a run's folder: totals for each model, and dialogues turn by turn.

A turn holds only what its earlier turn doesn't, since histories grow. Knows no HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playbill.backends.common.prefixes import shared_length
from playbill.backends.errors import FileFormatError, InputError
from playbill.backends.registry.fields.parameters import Parameters
from playbill.runs.audit import RECORD_RULES, Audit, Judged, Source
from playbill.runs.folder.fields import wrong_field
from playbill.runs.folder.manifest import read_manifest
from playbill.runs.folder.proof import read_proof
from playbill.runs.folder.record import Record
from playbill.runs.folder.store import RECORDS, read_records
from playbill.runs.rates import Rate
from playbill.runs.report.numbers import Spread, share_bins

__all__ = ["Collected", "collect"]

_WORST = ("error", "context_exceeded", "refused", "truncated_in_thinking", "empty", "truncated", "answered")
_Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Collected:
    """``summary`` is about the whole run; ``index`` has a short row and ``dialogues`` the whole of each dialogue."""

    summary: dict[str, Any]
    index: list[list[Any]]
    dialogues: list[dict[str, Any]]


@dataclass(slots=True)
class _Dialogue:
    """A dialogue as it is put together: its turns, and the last record, from which the next one goes on."""

    turns: list[dict[str, Any]] = field(default_factory=list)
    last: Record | None = None


@dataclass(slots=True)
class _Model:
    """One model's dialogues and totals."""

    label: str
    described: Mapping[str, Any]
    dialogues: dict[_Key, _Dialogue] = field(default_factory=dict)
    records: int = 0
    sampled: str | None = None
    """Why some answers could not be greedy, as their records say."""
    outcomes: dict[str, int] = field(default_factory=dict)
    input_tokens: int = 0
    tokens: Spread = field(default_factory=Spread)
    seconds: Spread = field(default_factory=Spread)
    rate: Rate = field(default_factory=Rate)


def collect(folder: Path) -> Collected:
    """Read a run's folder. Raises InputError where it holds no run, FileFormatError where a file is damaged."""
    manifest = read_manifest(folder)
    auditor = Audit()
    models = []
    for label, described in manifest["models"].items():
        path = folder / described.get("folder", label) / RECORDS
        if not path.exists():
            continue
        model = _Model(label, described)
        for number, record in enumerate(read_records(path), 1):
            problem = wrong_field(record)
            if problem is not None:
                raise FileFormatError(f"{path}:{number}: not a record of Playbill: {problem}")
            _add(model, record)
        for judged in auditor.judge(Source(path, str(folder)).calls()):
            _attach(model, judged)
        models.append(model)
    list(auditor.close())
    if not models:
        raise InputError(f"{folder}: the run has no records yet")
    index, dialogues = [], []
    for place, model in enumerate(models):
        for key, dialogue in model.dialogues.items():
            index.append(_row(place, key, dialogue))
            dialogues.append({"turns": dialogue.turns})
    return Collected(_summary(folder, manifest, models, auditor), index, dialogues)


def _add(model: _Model, record: Record) -> None:
    dialogue = model.dialogues.setdefault((record["id"], record["sample"]), _Dialogue())
    if dialogue.last is not None and record["turn"] <= dialogue.last["turn"]:
        dialogue.turns = [turn for turn in dialogue.turns if turn["n"] < record["turn"]]
        dialogue.last = None
    dialogue.turns.append(_turn(record, dialogue.last))
    dialogue.last = record
    usage = record.get("usage") or {}
    model.records += 1
    model.sampled = model.sampled or _not_greedy(record)
    model.outcomes[record["outcome"]] = model.outcomes.get(record["outcome"], 0) + 1
    model.input_tokens += usage.get("input_tokens") or 0
    if usage.get("output_tokens") is not None:
        model.tokens.add(usage["output_tokens"])
    if record["outcome"] != "error" and isinstance(record.get("seconds"), (int, float)):
        model.seconds.add(record["seconds"])
    model.rate.add(record)


def _not_greedy(record: Record) -> str | None:
    """Return why a service's answer is a sample, as its record says; a model's refusal may be learned in the run."""
    params = record.get("params") or {}
    not_sent, ignored = params.get("not_sent"), params.get("ignored")
    told = Parameters(
        not_sent=not_sent if isinstance(not_sent, dict) else {}, ignored=ignored if isinstance(ignored, dict) else {}
    )
    return told.not_greedy if record.get("request") else None


def _turn(record: Record, before: Record | None) -> dict[str, Any]:
    usage = record.get("usage") or {}
    params = record.get("params") or {}
    messages, whole = _new_messages(record.get("messages") or [], before)
    turn = {
        "n": record["turn"],
        "messages": messages,
        "whole": whole,
        "prompt": _new_prompt(record.get("prompt"), before),
        "raw": record.get("raw"),
        "text": record.get("text"),
        "thinking": record.get("thinking"),
        "outcome": record["outcome"],
        "finish": record.get("finish_reason_raw") or record.get("finish_reason"),
        "input_tokens": usage.get("input_tokens"),
        "cached_tokens": usage.get("cached_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "seconds": record.get("seconds"),
        "asked": params.get("asked"),
        "effective": params.get("effective"),
        "changes": record.get("changes"),
        "request": record.get("request"),
        "response": record.get("response"),
        "error": record.get("error"),
        "time": record.get("time"),
        "details": record.get("details"),
    }
    return {
        name: value
        for name, value in turn.items()
        if value is not None and value is not False and value not in ([], {}, "")
    }


def _new_messages(messages: Sequence[Any], before: Record | None) -> tuple[Sequence[Any], bool]:
    """Return the messages since the last answer; or all of them, and that they are not those of the turn before."""
    if before is None:
        return messages, False
    known = [*(before.get("messages") or []), {"role": "assistant", "content": before.get("text")}]
    if list(messages[: len(known)]) == known:
        return messages[len(known) :], False
    return messages, True


def _new_prompt(prompt: str | None, before: Record | None) -> list[Any] | None:
    """Return how many UTF-16 units it shares with the turn before (its prompt and raw answer), and the rest."""
    if prompt is None:
        return None
    known = (before.get("prompt") or "") + (before.get("raw") or "") if before is not None else ""
    shared = prompt[: shared_length(known, prompt)]
    return [len(shared.encode("utf-16-le", "surrogatepass")) // 2, prompt[len(shared) :]]


def _attach(model: _Model, judged: Judged) -> None:
    """Put a finding where it belongs: to the turn that it is about."""
    dialogue = model.dialogues.get((judged.dialogue.partition("\x00")[0], judged.sample))
    for turn in dialogue.turns if dialogue else ():
        if turn["n"] == judged.turn:
            turn.setdefault("findings", []).append([judged.finding.code, judged.finding.message])


def _row(model: int, key: _Key, dialogue: _Dialogue) -> list[Any]:
    """Model, id, sample, turns, worst outcome, codes of findings, output tokens, seconds, and how it begins."""
    turns = dialogue.turns
    outcomes = {turn["outcome"] for turn in turns}
    codes = sorted({code for turn in turns for code, _ in turn.get("findings", ())})
    return [
        model,
        key[0],
        key[1],
        len(turns),
        next(o for o in _WORST if o in outcomes),
        codes,
        sum(turn.get("output_tokens", 0) for turn in turns),
        round(sum(turn.get("seconds", 0) for turn in turns), 3),
        _beginning(turns[-1]),
    ]


def _beginning(turn: Mapping[str, Any]) -> str:
    text = turn.get("text") or (turn.get("error") or {}).get("message") or ""
    return " ".join(str(text)[:200].split())[:120]


def _summary(folder: Path, manifest: Mapping[str, Any], models: Sequence[_Model], auditor: Audit) -> dict[str, Any]:
    used = {code for totals in auditor.models.values() for code in totals.findings}
    return {
        "title": folder.resolve().name,
        "created": manifest.get("created"),
        "date": manifest.get("date"),
        "playbill": manifest.get("playbill"),
        "inputs": [file.get("name") or file.get("path") for file in (manifest.get("inputs") or {}).get("files", [])],
        "tokens": share_bins([model.tokens for model in models]),
        "seconds": share_bins([model.seconds for model in models]),
        "models": [_of_model(model, auditor) for model in models],
        "failed": [
            {"label": label, "problem": described["problem"]}
            for label, described in manifest["models"].items()
            if described.get("problem")
        ],
        "rules": {
            code: {"name": rule.name, "severity": rule.severity.value, "summary": rule.summary, "mend": rule.mend}
            for code, rule in RECORD_RULES.items()
            if code in used
        },
    }


def _of_model(model: _Model, auditor: Audit) -> dict[str, Any]:
    totals = auditor.models.get(model.label)
    return {
        "label": model.label,
        "model_name": model.described.get("model_name", model.label),
        "backend": (model.described.get("spec") or {}).get("backend"),
        "template": (model.described.get("template") or {}).get("source"),
        "parameters": (model.described.get("parameters") or {}).get("effective") or {},
        "not_greedy": model.described.get("not_greedy") or model.sampled,
        "dialogues": len(model.dialogues),
        "records": model.records,
        "outcomes": {o: model.outcomes[o] for o in reversed(_WORST) if o in model.outcomes},
        "input_tokens": model.input_tokens,
        "output_tokens": round(model.tokens.total),
        "speed": round(speed, 1) if (speed := model.rate.per_second) is not None else None,
        "audit": totals.to_dict() if totals else None,
        "proof": read_proof(model.described),
    }
