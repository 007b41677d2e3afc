"""The animals: read the files, say what is wrong with one, and compare what happened with what is right.

Knows no kind; `zoo.runners` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
TRIED = "found by trying"
_FIELDS = {"symptom", "reference", "kind", "input", "right"}
_REFERENCE = re.compile(r"[\w.-]+/[\w.-]+#\d+: \S.+|https://\S+: \S.+")
OPERATORS = {"$holds", "$lacks", "$without", "$starts", "$size"}


@dataclass(frozen=True)
class Animal:
    """One failure: its name (folder and file), what is done, and what has to come of it."""

    name: str
    symptom: str
    reference: str
    kind: str
    input: Mapping[str, Any]
    right: Mapping[str, Any]


def files() -> list[Path]:
    """Return the animals' files, in the order of their names."""
    return sorted(FOLDER.glob("*/*.json"))


def name_of(path: Path) -> str:
    """Return an animal's name: its folder and its file, without the ending."""
    return f"{path.parent.name}/{path.stem}"


def read(path: Path) -> Animal:
    """Return the animal of a file."""
    return Animal(name=name_of(path), **json.loads(path.read_text(encoding="utf-8")))


def faults(raw: Any, kinds: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the form of a file's content."""
    if not isinstance(raw, dict) or set(raw) != _FIELDS:
        yield f"is no object with just these fields: {', '.join(sorted(_FIELDS))}"
        return
    symptom, reference = raw["symptom"], raw["reference"]
    if not isinstance(symptom, str) or not 20 <= len(symptom) <= 160 or "\n" in symptom:
        yield "symptom: is no single line of 20 to 160 characters"
    if not isinstance(reference, str) or not (reference == TRIED or _REFERENCE.fullmatch(reference)):
        yield f"reference: is neither 'owner/repo#number: title', 'https://…: title' nor '{TRIED}'"
    if raw["kind"] not in kinds:
        yield f"kind: is none of {', '.join(kinds)}"
    for name in ("input", "right"):
        if not isinstance(raw[name], dict) or not raw[name]:
            yield f"{name}: is no object with something in it"


def differences(right: Any, found: Any, where: str = "") -> Iterator[str]:
    """Yield where what happened differs from what is right.

    Of an object the fields that ``right`` names are compared, of a list all items, in their order. An object whose
    names begin with ``$`` asks for less: ``$holds`` and ``$lacks`` a text or item (or a list of them), ``$starts``
    the beginning of a text, ``$size`` the number of items or characters, ``$without`` a list of names that an object
    doesn't have.
    """
    if isinstance(right, dict) and right and right.keys() <= OPERATORS:
        yield from _asked_less(right, found, where)
    elif isinstance(right, dict):
        if not isinstance(found, Mapping):
            yield f"{where or 'the outcome'} is {found!r} instead of an object"
            return
        for name, value in right.items():
            if name not in found:
                yield f"{where}.{name} isn't there; there are {', '.join(map(str, found))}".lstrip(".")
            else:
                yield from differences(value, found[name], f"{where}.{name}".lstrip("."))
    elif isinstance(right, list):
        if not isinstance(found, (list, tuple)) or len(found) != len(right):
            yield f"{where} is {found!r} instead of {right!r}"
            return
        for i, (a, b) in enumerate(zip(right, found, strict=True)):
            yield from differences(a, b, f"{where}[{i}]")
    elif right != found or isinstance(right, bool) is not isinstance(found, bool):
        yield f"{where} is {found!r} instead of {right!r}"


def _asked_less(right: Mapping[str, Any], found: Any, where: str) -> Iterator[str]:
    for operator, wanted in right.items():
        if operator == "$size":
            if len(found) != wanted:
                yield f"{where} has the size {len(found)} instead of {wanted}: {found!r}"
        elif operator == "$starts":
            if not str(found).startswith(wanted):
                yield f"{where} doesn't begin with {wanted!r}: {found!r}"
        else:
            inside = found if isinstance(found, (str, list, tuple, Mapping)) else []
            for each in wanted if isinstance(wanted, list) else [wanted]:
                if (each in inside) is not (operator == "$holds"):
                    yield f"{where} {'lacks' if operator == '$holds' else 'holds'} {each!r}: {found!r}"
