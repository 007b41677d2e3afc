"""Where the records of a dialogue stand in a file: twenty bytes a record, so that long runs resume in little memory.

Knows offsets and hashes, no content. Two ids of one hash are told apart by who reads the records.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left

from playbill.runs.folder.record import TurnId

__all__ = ["Index"]

_PARTS = 64  # Python sorts objects: forty bytes each, for a part at a time


class Index:
    """Offsets by (id, sample). Add all, then `seal`, then `find`."""

    def __init__(self) -> None:
        self._parts = [_Part() for _ in range(_PARTS)]

    def add(self, key: TurnId, offset: int, *, usable: bool) -> None:
        """Note a record; one that is not usable will be dropped."""
        talk = _hash(key.id, key.sample)
        self._parts[talk % _PARTS].add(talk, key.turn if usable else -1 - key.turn, offset)

    def seal(self) -> set[int]:
        """Sort for finding. Returns the offsets of records to drop.

        Those are the unusable ones, all but the last of a key, and turns before which one is missing.
        """
        drop: set[int] = set()
        for part in self._parts:
            part.seal(drop)
        return drop

    def find(self, id: str, sample: int) -> list[int]:
        """The offsets of a talk's records."""
        wanted = _hash(id, sample)
        return self._parts[wanted % _PARTS].find(wanted)


class _Part:
    """The records of some talks: the hash of the talk, the turn (negative where it is not usable), the offset."""

    def __init__(self) -> None:
        self._talks = array("Q")
        self._turns = array("i")
        self._offsets = array("Q")

    def add(self, talk: int, turn: int, offset: int) -> None:
        self._talks.append(talk)
        self._turns.append(turn)
        self._offsets.append(offset)

    def seal(self, drop: set[int]) -> None:
        order = sorted(range(len(self._talks)), key=self._talks.__getitem__)
        self._talks = array("Q", (self._talks[i] for i in order))
        self._turns = array("i", (self._turns[i] for i in order))
        self._offsets = array("Q", (self._offsets[i] for i in order))
        start = 0
        for place in range(1, len(order) + 1):
            if place == len(order) or self._talks[place] != self._talks[start]:
                self._judge(start, place, drop)
                start = place

    def _judge(self, start: int, end: int, drop: set[int]) -> None:
        """Keep of the records of one talk the last of each turn, as far as the turns follow each other."""
        kept: dict[int, int] = {}
        for place in range(start, end):  # in the order of the file, for the sort is stable
            turn, offset = self._turns[place], self._offsets[place]
            if turn < 0:
                drop.add(offset)
                continue
            if turn in kept:
                drop.add(kept[turn])
            kept[turn] = offset
        for expected, turn in enumerate(sorted(kept)):
            if turn != expected:
                drop.add(kept[turn])

    def find(self, wanted: int) -> list[int]:
        found = []
        for place in range(bisect_left(self._talks, wanted), len(self._talks)):
            if self._talks[place] != wanted:
                break
            found.append(self._offsets[place])
        return found


def _hash(id: str, sample: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{sample}:{id}".encode(errors="surrogatepass"), digest_size=8).digest())
