"""Check the types of a manifest's parts, for readers of manifests that others may have touched."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

__all__ = ["missing_part", "wrong_part"]

_FRAME = {
    "schema": (int,),
    "date": (str,),
    "created": (str,),
    "playbill": (str,),
    "repeat": (int,),
    "seed": (int,),
    "inputs": (dict,),
    "models": (dict,),
    "starts": (list,),
}
_MODEL = {
    "folder": (str,),
    "model_name": (str,),
    "date": (str,),
    "spec": (dict,),
    "template": (dict,),
    "stops": (dict,),
    "cleaning": (dict,),
    "parameters": (dict,),
    "not_greedy": (str,),
}
_TEMPLATE = {"text": (str,), "source": (str,), "variables": (dict,), "answer_begins": (str,)}
_CLEANING = {
    "end_tokens": (list,),
    "split_prefix": (str,),
    "thinking_start": (str,),
    "thinking_end": (str,),
    "frame": (list,),
    "response": (dict,),
    "keep_white_space": (bool,),
}
_NAMES = {bool: "truth value", str: "string", int: "whole number", dict: "object", list: "list"}


def wrong_part(manifest: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the first part that has not the type that it should have; None where all are right.

    >>> wrong_part({"date": "2026-01-01T00:00:00", "models": {"m": {"folder": 1}}})
    'models.m.folder is no string'
    """
    return next(_wrong(manifest), None)


def missing_part(manifest: Mapping[str, Any]) -> str | None:
    """Return what a run needs that goes on in the folder, and the manifest, whose parts are right, hasn't."""
    needed = [(name, manifest.get(name)) for name in ("schema", "date", "inputs", "models", "starts")]
    inputs = manifest.get("inputs") or {}
    needed += [(f"inputs.{name}", inputs.get(name)) for name in ("dialogues", "sha256")]
    return next((f"{name} is missing" for name, value in needed if value is None), None)


def _wrong(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield from _types(manifest, _FRAME, "", null=("seed",))
    yield from _date(manifest, "")
    for name, described in (manifest.get("models") or {}).items():
        where = f"models.{name}."
        if not isinstance(described, dict):
            yield f"models.{name} is no object"
        yield from _types(described, _MODEL, where, null=())
        yield from _date(described, where)
        yield from _types(described.get("template") or {}, _TEMPLATE, f"{where}template.")
        if described.get("template") and not described["template"].get("text"):
            yield f"{where}template.text is missing"
        cleaning = described.get("cleaning") or {}
        yield from _types(cleaning, _CLEANING, f"{where}cleaning.")
        for part in ("end_tokens", "frame"):
            yield from _each(cleaning.get(part), (str,), f"{where}cleaning.{part}")
        yield from _types(described.get("parameters") or {}, {"asked": (dict,), "effective": (dict,)}, where)
    inputs = manifest.get("inputs") or {}
    yield from _types(inputs, {"files": (list,), "dialogues": (int,), "sha256": (str,)}, "inputs.")
    yield from _each(inputs.get("files"), (dict,), "inputs.files")
    yield from _each(manifest.get("starts"), (dict,), "starts")
    for i, start in enumerate(manifest.get("starts") or ()):
        yield from _types(start, {"packages": (dict,)}, f"starts[{i}].")


def _types(
    found: Mapping[str, Any], wanted: Mapping[str, tuple[type, ...]], where: str, null: Collection[str] | None = None
) -> Iterator[str]:
    """Yield what has another type. ``null`` names the parts that may be null; without it all may."""
    for name, types in wanted.items():
        if name not in found or (found[name] is None and (null is None or name in null)):
            continue
        if type(found[name]) not in types:  # never bool, whose type is another
            yield f"{where}{name} is no {_NAMES[types[0]]}"


def _each(values: Any, types: tuple[type, ...], where: str) -> Iterator[str]:
    for i, value in enumerate(values or ()):
        if type(value) not in types:
            yield f"{where}[{i}] is no {_NAMES[types[0]]}"


def _date(found: Mapping[str, Any], where: str) -> Iterator[str]:
    if found.get("date") is not None:
        try:
            datetime.fromisoformat(found["date"])
        except ValueError:
            yield f"{where}date is no date"
