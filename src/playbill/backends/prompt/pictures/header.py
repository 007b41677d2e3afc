"""Read what the bytes of a picture say of themselves: format, size, and where the picture ends. Decodes no pixel."""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["PictureHeader", "read_header"]

_PNG = b"\x89PNG\r\n\x1a\n"
_FRAMES = frozenset([*range(0xC0, 0xD0)]) - {0xC4, 0xC8, 0xCC}
"""JPEG's markers that begin a frame, which states the size; the three others define tables."""
_BARE = frozenset([0x01, *range(0xD0, 0xD9)])
"""JPEG's markers without a length."""


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What a picture's bytes say. ``end`` is where the picture is over, None where that can't be found. ``scans`` is
    how often a decoder goes over all pixels, which JPEGs say."""

    media_type: str
    width: int
    height: int
    end: int | None = None
    scans: int = 1


def read_header(content: bytes) -> PictureHeader | None:
    """Return what the bytes say of themselves; None for what is neither PNG, JPEG, GIF nor WebP.

    Raises ValueError where the format is one of these, and the bytes end before they state a size.
    """
    try:
        if content.startswith(_PNG):
            return _png(content)
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg(content)
        if content[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack_from("<HH", content, 6)
            return PictureHeader("image/gif", width, height, _end_of_gif(content))
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp(content)
    except (struct.error, IndexError) as e:
        raise ValueError("it ends before it states its size") from e
    return None


def _png(content: bytes) -> PictureHeader:
    if content[12:16] != b"IHDR":
        raise ValueError("it doesn't begin with its size")
    width, height = struct.unpack_from(">II", content, 16)
    at = len(_PNG)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4])
        kind, at = content[at + 4 : at + 8], at + 12 + length
        if kind == b"IEND":
            return PictureHeader("image/png", width, height, min(at, len(content)))
    return PictureHeader("image/png", width, height)


def _jpeg(content: bytes) -> PictureHeader:
    at, size, scans = 2, (0, 0), 0
    while at + 2 <= len(content):
        if content[at] != 0xFF:
            raise ValueError("its segments are broken")
        marker = content[at + 1]
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            break
        length = struct.unpack_from(">H", content, at + 2)[0]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 5)
            size = (width, height)
        at += 2 + length
        if marker == 0xDA:
            scans += 1
            at = _end_of_scan(content, at)
    else:
        return _sized_jpeg(size, None, scans)
    return _sized_jpeg(size, at + 2, scans)


def _sized_jpeg(size: tuple[int, int], end: int | None, scans: int) -> PictureHeader:
    if size == (0, 0) and end is None:
        raise ValueError("it ends before it states its size")
    return PictureHeader("image/jpeg", *size, end, scans)


def _end_of_scan(content: bytes, at: int) -> int:
    """Return where the next marker stands that is no part of a JPEG's coded data."""
    while (at := content.find(b"\xff", at)) >= 0 and at + 1 < len(content):
        if content[at + 1] != 0 and not 0xD0 <= content[at + 1] <= 0xD7 and content[at + 1] != 0xFF:
            return at
        at += 1 if content[at + 1] == 0xFF else 2
    return len(content)


def _end_of_gif(content: bytes) -> int | None:
    flags = content[10]
    at = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    while at < len(content):
        kind = content[at]
        if kind == 0x3B:
            return at + 1
        if kind == 0x2C and at + 10 < len(content):
            local = content[at + 9]
            at += 11 + (3 << ((local & 7) + 1) if local & 0x80 else 0)
        elif kind == 0x21:
            at += 2
        else:
            return None
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
    return None


def _webp(content: bytes) -> PictureHeader:
    kind, end = content[12:16], 8 + int.from_bytes(content[4:8], "little")
    if kind == b"VP8X":
        width, height = (int.from_bytes(content[i : i + 3], "little") + 1 for i in (24, 27))
        if len(content) < 30:
            raise ValueError("it ends before it states its size")
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", content, 26))
    return PictureHeader("image/webp", width, height, end if end <= len(content) else None)
