"""Count a model's parameters from headers and indices of its files, never from weights."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Count", "count_parameters", "shown_count"]

_INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
_LONGEST_HEADER = 100_000_000
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Count:
    """A number of parameters and where it is from."""

    number: int
    origin: str


def count_parameters(folder: Path) -> Count | None:
    """By the weights' index, or by the header of weights in one file; None where neither is there."""
    return _by_index(folder) or _by_header(folder / _WHOLE)


def _by_index(folder: Path) -> Count | None:
    metadata = _object(folder / _INDEX).get("metadata")
    if not isinstance(metadata, dict):
        return None
    total, size = metadata.get("total_parameters"), metadata.get("total_size")
    if isinstance(total, int):
        return Count(total, f"total_parameters in {_INDEX}")
    config = _object(folder / "config.json")
    width = _BYTES.get(str(config.get("dtype") or config.get("torch_dtype")))
    if isinstance(size, (int, float)) and width is not None:
        return Count(int(size) // width, f"total_size in {_INDEX}")
    return None


def _by_header(file: Path) -> Count | None:
    """Count by the shapes in a safetensors header: eight bytes of length, then JSON."""
    try:
        with file.open("rb") as content:
            (length,) = struct.unpack("<Q", content.read(8))
            header = json.loads(content.read(length)) if length <= _LONGEST_HEADER else {}
        shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
        number = sum(math.prod(shape) for shape in shapes)
    except (OSError, ValueError, RecursionError, struct.error, KeyError, TypeError, AttributeError):
        return None
    return Count(number, f"the shapes in {_WHOLE}") if number else None


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def shown_count(number: int) -> str:
    """As registries write it: ``135M``, ``7.2B``.

    >>> shown_count(134_515_008), shown_count(7_241_732_096), shown_count(70_553_706_496)
    ('135M', '7.2B', '71B')
    """
    for size, letter in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K")):
        if number >= size * 0.9995:
            scaled = number / size
            return f"{scaled:.0f}{letter}" if scaled >= 10 else f"{scaled:.1f}".removesuffix(".0") + letter
    return str(number)
