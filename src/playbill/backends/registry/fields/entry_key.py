"""What is said of one key that a registry entry may have. Knows none of them; the table is `entry_keys`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playbill.backends.registry.fields import types as v

__all__ = ["EVERY", "METADATA", "EntryKey"]

EVERY = ("*",)
METADATA: tuple[str, ...] = ()


@dataclass(frozen=True)
class EntryKey:
    """One key of an entry.

    ``read_by`` names the backends whose code reads it (``EVERY`` for all, ``METADATA`` for none: it is for
    people); ``required_by`` those that can't do without it. ``default`` is what ``setting`` gives where an
    entry doesn't say.
    """

    name: str
    type: v.ValueType
    summary: str
    read_by: tuple[str, ...] = METADATA
    required_by: tuple[str, ...] = ()
    default: Any = None

    def is_read_by(self, backend: str) -> bool:
        return self.read_by == EVERY or backend in self.read_by

    def is_required_by(self, backend: str) -> bool:
        return self.required_by == EVERY or backend in self.required_by
