"""Apply a model's response template to a generated text. The worker process does the work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from playbill.backends.errors import HOSTILE_FAULTS, TemplateError
from playbill.backends.prompt.template._process import Worker, WorkerLimits

__all__ = ["Region", "response_regions"]

_WORKER = Worker(WorkerLimits(seconds=2.0, memory=1 << 28))
_MOST_FAULTS = 3
_faults: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a generated text that belongs to a field; ``closed`` unless the text ended in it."""

    field: str
    text: str
    closed: bool


def response_regions(template: Mapping[str, Any], prompt: str, text: str) -> list[Region]:
    """Return the regions of a text that a model generated after a prompt, by transformers' ``response_template``.

    What the prompt itself has of the message only says which field is open where the text begins. Patterns are
    matched in a process of their own, for at most 2 seconds; a template that used them up three times is asked no more.

    Raises TemplateError where the template is none, or costs too much.
    """
    source = json.dumps(template, sort_keys=True)
    if _faults.get(source, 0) >= _MOST_FAULTS:
        raise TemplateError("it took too much time or memory for earlier texts, and is asked no more")
    try:
        found = _WORKER.ask({"job": "regions", "template": source, "prefix": prompt, "text": text})
    except TemplateError as e:
        if e.fault in HOSTILE_FAULTS:
            _faults[source] = _faults.get(source, 0) + 1
        raise
    return [Region(*each) for each in json.loads(found)]
