"""Derive the seed of each answer from the seed of a run, whatever the order, the machine or the start."""

from __future__ import annotations

import hashlib

from playbill.runs.folder.record import TurnId

__all__ = ["derive_seed"]


def derive_seed(seed: int, key: TurnId) -> int:
    """Return the first four bytes of the SHA-256 of ``seed:sample:turn:id`` as a number, its highest bit cleared.

    Every turn of every sample gets its own, so that samples differ and each can be repeated alone.

    >>> derive_seed(42, TurnId("d1", 0, 0)) == derive_seed(42, TurnId("d1", 0, 1))
    False
    """
    text = f"{seed}:{key.sample}:{key.turn}:{key.id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) & 0x7FFF_FFFF
