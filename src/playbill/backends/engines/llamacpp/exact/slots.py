"""Which slot a request goes to, so that what a dialogue's earlier turns computed is found again.

llama.cpp, left alone, takes the slot that was not used for longest, keeps what was in it in memory, and looks there
for the beginning of the new prompt; a beginning that still lies in another slot it doesn't see. So a request whose
dialogue lies in a free slot is sent to that one, a new dialogue to an empty slot, and all others are left to
llama.cpp. A slot guessed wrongly costs time, never an answer.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Lease", "Slots"]

LEFT_TO_LLAMA_CPP = -1


@dataclass(frozen=True, slots=True)
class Lease:
    """The slot that a request is sent to (-1: llama.cpp chooses), and where it then is, as far as one can tell.

    ``empty``: nothing lies in that slot yet. ``again``: the very same prompt lies there.
    """

    asked: int
    expected: int
    empty: bool = False
    again: bool = False


@dataclass
class _Slot:
    prompt: tuple[int, ...] = ()
    last_used: int = -1
    busy: int = 0


class Slots:
    """What lies in each slot, and when it was last used."""

    def __init__(self, number: int) -> None:
        self._slots = [_Slot() for _ in range(number)]
        self._clock = 0
        self._lock = threading.Lock()

    def take(self, prompt: Sequence[int]) -> Lease:
        """Choose for a prompt: the free slot whose last prompt is the longest beginning of it, or an empty one."""
        ids = tuple(prompt)
        with self._lock:
            free = [i for i, slot in enumerate(self._slots) if not slot.busy]
            own = [i for i in free if (last := self._slots[i].prompt) and ids[: len(last)] == last]
            if own:
                chosen = max(own, key=lambda i: len(self._slots[i].prompt))
                lease = Lease(chosen, chosen, again=self._slots[chosen].prompt == ids)
            elif empty := [i for i in free if not self._slots[i].prompt]:
                lease = Lease(empty[-1], empty[-1], empty=True)
            else:
                longest_unused = min(free or range(len(self._slots)), key=lambda i: (self._slots[i].last_used, -i))
                lease = Lease(LEFT_TO_LLAMA_CPP, longest_unused)
            self._slots[lease.expected].busy += 1
            return lease

    def give_back(self, lease: Lease, prompt: Sequence[int], actual: int | None) -> None:
        """Note where a request was (None: not known) and that it is over."""
        with self._lock:
            self._slots[lease.expected].busy -= 1
            if actual is None:
                self._slots[lease.expected].prompt = ()
                return
            self._clock += 1
            slot = self._slots[actual]
            slot.prompt, slot.last_used = tuple(prompt), self._clock
