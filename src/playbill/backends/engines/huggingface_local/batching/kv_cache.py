"""A KV cache of slots, one a row and each of its own length, kept between a dialogue's turns while there is room.

Transformers' own caches pad rows to one length, which would change a row's attention. Slots are left-aligned, so a row
attends to exactly its own tokens. The decoder says what is stored where. Tried with torch 2.13 and transformers 5.24.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

__all__ = ["Slot", "KVCache"]

_STEP = 256


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one row. ``ids`` are those whose keys and values are in it, of which the first ``prefilled`` were
    computed as a prompt; ``busy`` says that a request uses it."""

    index: int
    ids: list[int] = field(default_factory=list)
    prefilled: int = 0
    busy: bool = True
    used: int = 0


class KVCache:
    """Slots for rows in use, and for those of earlier turns as long as they fit into ``budget`` bytes."""

    def __init__(self, most_kept: int, budget: int) -> None:
        self._most_kept = most_kept
        self._budget = budget
        self._slots: list[Slot] = []
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._capacity = 0
        self._places = 0  # slots that the tensors have
        self._clock = 0

    @property
    def slots(self) -> Sequence[Slot]:
        return self._slots

    def take(self, slot: Slot | None) -> Slot:
        """Return a slot for a request: the kept one that is given, or a new one."""
        self._clock += 1
        if slot is None:
            free = min(set(range(len(self._slots) + 1)) - {s.index for s in self._slots})
            slot = Slot(free)
            self._slots.append(slot)
        slot.busy, slot.used = True, self._clock
        return slot

    def keep(self, slot: Slot) -> None:
        """The request is done; what was computed for it stays as long as there is room."""
        slot.busy = False
        idle = self._idle()
        for old in idle[: max(0, len(idle) - self._most_kept)]:
            self.drop(old)

    def drop(self, slot: Slot) -> None:
        self._slots.remove(slot)

    def drop_idle(self) -> bool:
        """Forget all that is only kept; whether there was anything."""
        busy = [s for s in self._slots if s.busy]
        found = len(busy) < len(self._slots)
        self._slots = busy
        if found:
            self._places = len(busy)
            self._move(self._capacity)
        return found

    def reserve(self, length: int, more: int = 0) -> None:
        """Make room for rows of this length and for more slots; what is only kept goes where memory is short."""
        needed = len(self._slots) + more
        if length <= self._capacity and needed <= self._places:
            return
        capacity = self._capacity
        if length > capacity:
            capacity = -(-max(length, capacity * 3 // 2) // _STEP) * _STEP
        room = self._budget // max(1, capacity * self._bytes_a_token())
        for old in self._idle()[: max(0, needed - room)]:
            self.drop(old)
        needed = len(self._slots) + more
        self._places = max(needed, min(2 * self._places, needed + self._most_kept, room))
        self._move(capacity)

    def _idle(self) -> list[Slot]:
        return sorted((s for s in self._slots if not s.busy), key=lambda s: s.used)

    def _bytes_a_token(self) -> int:
        tensors = [*self._keys.values(), *self._values.values()]
        return sum(t.shape[1] * t.shape[3] * t.element_size() for t in tensors)

    def _move(self, capacity: int) -> None:
        """Bring what is stored into tensors of the size that is needed now."""
        before = [s.index for s in self._slots]
        for tensors in (self._keys, self._values):
            for layer, old in tensors.items():
                new = old.new_empty((self._places, old.shape[1], capacity, old.shape[3]))
                for place, (index, slot) in enumerate(zip(before, self._slots, strict=True)):
                    if slot.ids:
                        new[place, :, : len(slot.ids)] = old[index, :, : len(slot.ids)]
                tensors[layer] = new
        for place, slot in enumerate(self._slots):
            slot.index = place
        self._capacity = capacity

    def copy(self, source: Slot, target: Slot, length: int) -> None:
        """Give a slot the first tokens of another."""
        if source is not target:
            for tensors in (self._keys, self._values):
                for tensor in tensors.values():
                    tensor[target.index, :, :length] = tensor[source.index, :, :length]
        target.ids = source.ids[:length]
        target.prefilled = min(length, source.prefilled)

    def write(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor, places: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store one layer's keys and values, each (1, heads, tokens, width), and return all that the layer holds."""
        if layer not in self._keys:
            for tensors, new in ((self._keys, keys), (self._values, values)):
                tensors[layer] = new.new_empty((self._places, new.shape[1], self._capacity, new.shape[3]))
        self._keys[layer][slots, :, places] = keys[0].transpose(0, 1)
        self._values[layer][slots, :, places] = values[0].transpose(0, 1)
        return self._keys[layer], self._values[layer]
