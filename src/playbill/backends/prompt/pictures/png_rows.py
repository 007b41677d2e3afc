"""Tell a PNG whose pixels are complete from one that was cut and closed again, which Pillow fills up with black."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

__all__ = ["refuse_missing_rows"]

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by PNG's colour type."""
_PIECE = 1 << 20


def refuse_missing_rows(content: bytes) -> None:
    """Raise ValueError where a PNG has fewer rows of pixels than its header states. Interlaced ones are not judged."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    if interlaced or colour not in _CHANNELS:
        return
    row = 1 + (width * depth * _CHANNELS[colour] + 7) // 8
    found, unpacking = 0, zlib.decompressobj()
    for data in _pixel_data(content):
        while data and not unpacking.eof and found < row * height:
            found += len(unpacking.decompress(data, _PIECE))
            data = unpacking.unconsumed_tail
    if found < row * height:
        raise ValueError(f"it has {found // row} of its {height} rows of pixels")


def _pixel_data(content: bytes) -> Iterator[bytes]:
    at = 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            yield content[at + 8 : at + 8 + length]
        at += 12 + length
