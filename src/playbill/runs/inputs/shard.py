"""Split a run by dialogue, so that machines that don't know of each other can each do a part. Reads nothing.

A dialogue's shard follows from its id alone: appended, removed and reordered dialogues move no other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import lcm

from playbill.backends.errors import RunError

__all__ = ["Shard", "absent_shards", "is_partition", "parse_shard"]

_FINEST = 1_000_000
_FORM = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` parts of a run; ``index`` counts from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, id: str) -> bool:
        """Tell whether the dialogue of this id is in the shard.

        >>> [[id for id in "abcdef" if Shard(i, 2).holds(id)] for i in (1, 2)]
        [['a', 'e'], ['b', 'c', 'd', 'f']]
        """
        digest = hashlib.blake2b(id.encode(errors="surrogatepass"), digest_size=8, person=b"shard").digest()
        return int.from_bytes(digest) % self.count == self.index - 1


def parse_shard(given: str | Shard | tuple[int, int]) -> Shard:
    """Return the shard that ``I/N`` names, or a pair (I, N). Raises RunError for what names none.

    >>> parse_shard("2/4")
    Shard(index=2, count=4)
    """
    if isinstance(given, Shard):
        return given
    if isinstance(given, str):
        found = _FORM.fullmatch(given)
        if not found:
            raise RunError(f"{given!r} is no shard: give I/N, as 1/4 for the first of four")
        given = int(found[1]), int(found[2])
    index, count = given
    if not 1 <= index <= count:
        raise RunError(f"there is no shard {index}/{count}: shards of {count} are 1/{count} to {count}/{count}")
    return Shard(index, count)


def absent_shards(shards: Collection[Shard]) -> list[Shard]:
    """Return what is missing of a whole, as shards of the finest split among them, which may differ in their count.

    Raises RunError where that split is too fine to be looked at.

    >>> absent_shards([Shard(1, 2), Shard(2, 4)])
    [Shard(index=4, count=4)]
    """
    holders = _holders(shards)
    return [Shard(rest + 1, len(holders)) for rest, count in enumerate(holders) if not count]


def is_partition(shards: Collection[Shard]) -> bool:
    """Return whether every dialogue is in just one of them. Raises as `absent_shards`.

    >>> is_partition([Shard(1, 2), Shard(2, 4), Shard(4, 4)]), is_partition([Shard(1, 1), Shard(2, 4)])
    (True, False)
    """
    return set(_holders(shards)) == {1}


def _holders(shards: Collection[Shard]) -> Sequence[int]:
    """Return for each part of the finest split how many of these hold it; two stands for more."""
    parts = lcm(*(shard.count for shard in shards))
    if parts > _FINEST:
        counts = ", ".join(str(count) for count in sorted({shard.count for shard in shards}))
        raise RunError(f"shards of {counts} can't be judged together: split the run one way")
    held = bytearray(parts)
    for shard in shards:
        for rest in range(shard.index - 1, parts, shard.count):
            held[rest] = min(2, held[rest] + 1)
    return held
