"""Split a run by dialogue, so that machines that don't know of each other can each do a part. Reads nothing.

A dialogue's shard follows from its id alone: appended, removed and reordered dialogues move no other.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from playbill.backends.errors import RunError

__all__ = ["Shard", "parse_shard"]

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
