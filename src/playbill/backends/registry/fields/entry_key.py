"""What the table says of one key that a registry entry may have. Holds no key; `table` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playbill.backends.registry.fields import types as v

__all__ = ["EVERY", "METADATA", "EntryKey"]

EVERY = ("*",)
METADATA: tuple[str, ...] = ()


@dataclass(frozen=True)
class EntryKey:
    """One key of an entry: its name, the type of its values, and a sentence on what it does.

    ``read_by`` names the backends whose code reads the key (``EVERY``: all; ``METADATA``: none, it is for people), and
    ``required_by`` those that need it. `setting` returns ``default`` where an entry doesn't have the key. ``aliases``
    are other names under which the key is read, as its older name. ``is_path``: a value may name a file or a folder,
    relative to the file that holds the entry.
    """

    name: str
    type: v.ValueType
    summary: str
    read_by: tuple[str, ...] = METADATA
    required_by: tuple[str, ...] = ()
    default: Any = None
    aliases: tuple[str, ...] = ()
    is_path: bool = False

    def is_read_by(self, backend: str) -> bool:
        """Tell whether the code of this backend reads the key."""
        return self.read_by == EVERY or backend in self.read_by

    def is_required_by(self, backend: str) -> bool:
        """Tell whether this backend can't do without the key."""
        return self.required_by == EVERY or backend in self.required_by
