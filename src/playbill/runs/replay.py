"""Replay a run from its own records: render and clean anew, and compare with what was recorded.

Needs no model and no network: templates, dates and cleaning rules are the manifest's; the code is today's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from playbill.backends.answer.clean import CleaningRule, clean
from playbill.backends.errors import FileFormatError, MessageError, TemplateError
from playbill.backends.prompt.content_forms import roles_of, with_read_content
from playbill.backends.prompt.messages import Message, prepare
from playbill.backends.prompt.picture_forms import count_placeholders, with_placeholders
from playbill.backends.prompt.pictures import TextPart, parts_of
from playbill.backends.prompt.template import render
from playbill.backends.registry.fields.table import setting
from playbill.runs.folder.fields import wrong_field
from playbill.runs.folder.manifest import MANIFEST, read_manifest
from playbill.runs.folder.pictures import stored_problem
from playbill.runs.folder.record import Record
from playbill.runs.folder.store import RECORDS, read_records

__all__ = ["Difference", "Replayed", "replay"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of a record that is not made today as it was recorded."""

    label: str
    id: str
    turn: int
    sample: int
    field: str
    recorded: Any
    now: Any

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Replayed:
    """How many records were replayed, and how many prompts and texts were made anew and compared."""

    records: int = 0
    prompts: int = 0
    texts: int = 0
    pictures: int = 0
    differences: int = 0


def replay(folder: Path, counts: Replayed | None = None) -> Iterator[Difference]:
    """Yield the differences in a run's folder, record by record. ``counts`` is filled on the way.

    Raises InputError where the folder holds no run, FileFormatError where its files are damaged.
    """
    counts = counts if counts is not None else Replayed()
    manifest = read_manifest(folder)
    for label, described in manifest["models"].items():
        path = folder / described.get("folder", label) / RECORDS
        if not path.exists():
            continue
        model = _Model(label, described, manifest["date"], f"{folder / MANIFEST}: models.{label}", folder)
        for number, record in enumerate(read_records(path), 1):
            problem = wrong_field(record)
            if problem is not None:
                raise FileFormatError(f"{path}:{number}: not a record of Playbill: {problem}")
            counts.records += 1
            for difference in model.differences(record, counts):
                counts.differences += 1
                yield difference


class _Model:
    """One model of the run, as far as its prompts and answers can be made without it."""

    def __init__(self, label: str, described: Mapping[str, Any], date: str, where: str, run: Path) -> None:
        self._run = run
        self.label = label
        self._spec: Mapping[str, Any] = described.get("spec") or {}
        self._template: Mapping[str, Any] | None = described.get("template")
        self._placeholder: str | None = (described.get("pictures") or {}).get("placeholder")
        self._date = datetime.fromisoformat(described.get("date") or date)
        self._rule = _cleaning_rule(described.get("cleaning") or {}, where)

    def differences(self, record: Record, counts: Replayed) -> Iterator[Difference]:
        now: dict[str, Any] = {}
        if self._template is not None and record.get("prompt") is not None:
            counts.prompts += 1
            now |= self._rendered(record)
        if record.get("finish_reason") is not None:
            counts.texts += 1
            now |= self._cleaned(record)
        key = (record["id"], record["turn"], record["sample"])
        for name, value in now.items():
            if value != record.get(name):
                yield Difference(self.label, *key, name, record.get(name), value)
        for name, recorded, found in self._counted(record, counts):
            yield Difference(self.label, *key, name, recorded, found)

    def _rendered(self, record: Record) -> dict[str, Any]:
        assert self._template is not None
        try:
            prepared = prepare(
                record.get("messages"),
                consecutive_roles=setting(self._spec, "consecutive_roles"),
                system_role=setting(self._spec, "system_role"),
                roles=roles_of(self._template["text"]),
            )
            own = self._template.get("variables") or {}
            shown = self._shown(prepared.messages, self._template["text"], own)
            variables = {"add_generation_prompt": True, **own}
            prompt = render(self._template["text"], shown, date=self._date, **variables)
            prompt += self._template.get("answer_begins") or ""
        except (MessageError, TemplateError) as e:
            return {"prompt": f"({type(e).__name__}: {e})"}
        noted = [note for fact in _pictures(record) for note in fact.get("notes") or ()]
        return {"prompt": prompt, "changes": [*prepared.changes, *noted]}

    def _shown(self, messages: Sequence[Message], template: str, own: Mapping[str, Any]) -> Sequence[Message]:
        if self._placeholder is None:
            return with_read_content(messages, template, own)
        return with_placeholders(messages, template, own, self._placeholder)

    def _counted(self, record: Record, counts: Replayed) -> Iterator[tuple[str, Any, Any]]:
        """Yield what of a record's pictures doesn't agree: those of its messages, those it speaks of, the kept ones,
        and the places for them in its prompt."""
        pictures = _pictures(record)
        counts.pictures += len(pictures)
        named = sum(
            not isinstance(part, TextPart)
            for i, message in enumerate(record.get("messages") or ())
            for part in parts_of(message, f"messages[{i}]")
        )
        answered = record.get("finish_reason") is not None
        if pictures and named != len(pictures):
            yield "details.pictures", len(pictures), named
        elif named and answered and not pictures and self._placeholder is not None:
            yield "details.pictures", 0, named
        if self._placeholder is not None and isinstance(record.get("prompt"), str):
            places = count_placeholders(record["prompt"], self._placeholder)
            if places != len(pictures):
                yield "prompt: places for pictures", places, len(pictures)
        for fact in pictures:
            if "sha256" in fact and (problem := stored_problem(self._run, fact)):
                yield "pictures", f"{fact.get('place')}: {str(fact['sha256'])[:12]}…", problem

    def _cleaned(self, record: Record) -> dict[str, Any]:
        details = record.get("details") or {}
        cleaned = clean(
            record.get("raw") or "",
            replace(self._rule, response=None) if "response_template" in details else self._rule,
            prompt=record.get("prompt"),
            stop_string=details.get("stop_string"),
            stop_from=details.get("stop_from") or 0,
            truncated=record["finish_reason"] == "length",
        )
        now: dict[str, Any] = {"text": cleaned.text}
        if record.get("prompt") is not None or cleaned.thinking is not None:
            now["thinking"] = cleaned.thinking  # what a service kept apart from the answer is nowhere in ``raw``
        return now


def _pictures(record: Record) -> list[Mapping[str, Any]]:
    """Return what a record says of its pictures."""
    found = (record.get("details") or {}).get("pictures")
    return [fact for fact in found if isinstance(fact, Mapping)] if isinstance(found, list) else []


def _cleaning_rule(found: Mapping[str, Any], where: str) -> CleaningRule:
    known = {f.name for f in fields(CleaningRule)}
    unknown = sorted(set(found) - known)
    if unknown:
        raise FileFormatError(f"{where}.cleaning: {', '.join(unknown)} is not known to this version of Playbill")
    frame = found.get("frame")
    ends = tuple(found.get("end_tokens") or ())
    return CleaningRule(**{**found, "end_tokens": ends, "frame": None if frame is None else tuple(frame)})
