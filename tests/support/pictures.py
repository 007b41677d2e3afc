"""Small pictures made byte by byte, for tests that have no library for them."""

from __future__ import annotations

import base64
import struct
import zlib


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tiny_png(width: int = 2, height: int = 2, *, lines: int | None = None) -> bytes:
    """Return a PNG of one colour; its header states this size, and it has as many lines of pixels, or ``lines``."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\x40\x80\xc0" * width) * (height if lines is None else lines)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_url(width: int = 2, height: int = 2) -> str:
    """Return such a PNG as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(tiny_png(width, height)).decode()}"
