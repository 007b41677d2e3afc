"""A proposed entry: its values in the order of the table of keys, and the origin of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playbill.backends.registry.fields.table import ENTRY_KEYS

__all__ = ["Proposal"]


@dataclass
class Proposal:
    """An entry in the making. ``put`` is the only way in; what is not known is not put."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def put(self, key: str, value: Any, origin: str) -> None:
        """Take a value with its origin; nothing, where it is empty or the key has one already."""
        if value is None or value in ("", [], {}) or key in self.values:
            return
        self.values[key], self.origins[key] = value, origin

    def replace(self, key: str, value: Any, origin: str) -> None:
        self.values.pop(key, None)
        self.put(key, value, origin)

    @property
    def entry(self) -> dict[str, Any]:
        """The entry, its keys in the order of the table."""
        order = {name: i for i, name in enumerate(ENTRY_KEYS)}
        return dict(sorted(self.values.items(), key=lambda item: order.get(item[0], len(order))))
