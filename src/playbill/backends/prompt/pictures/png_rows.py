"""Tell a PNG whose pixels are complete from one that was cut and closed again, which Pillow fills up with black."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

__all__ = ["refuse_missing_rows"]

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by PNG's colour type."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Where each pass of an interlaced PNG begins, and its steps, in columns and rows."""
_PIECE = 1 << 20


def refuse_missing_rows(content: bytes) -> None:
    """Raise ValueError where a PNG has fewer rows of pixels than its header states."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    if colour not in _CHANNELS:
        return
    bits = depth * _CHANNELS[colour]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    needed = sum(_bytes_of_pass(width, height, bits, each) for each in passes)
    found, unpacking = 0, zlib.decompressobj()
    for data in _pixel_data(content):
        while data and not unpacking.eof and found < needed:
            found += len(unpacking.decompress(data, _PIECE))
            data = unpacking.unconsumed_tail
    if found < needed:
        if interlaced:
            raise ValueError(f"it has {found * 100 // needed} % of its pixels")
        raise ValueError(f"it has {found // (needed // height)} of its {height} rows of pixels")


def _bytes_of_pass(width: int, height: int, bits: int, place: tuple[int, int, int, int]) -> int:
    """Return how many bytes the rows of a pass have, each with one for its filter."""
    left, top, right_step, down_step = place
    columns, rows = -(-(width - left) // right_step), -(-(height - top) // down_step)
    return rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0


def _pixel_data(content: bytes) -> Iterator[bytes]:
    at = 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            yield content[at + 8 : at + 8 + length]
        at += 12 + length
