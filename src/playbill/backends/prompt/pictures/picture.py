"""A picture: its bytes, what they say of themselves, and the bounds that hold for every picture."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any

from playbill.backends.errors import MessageError
from playbill.backends.prompt.pictures.header import read_header

__all__ = ["LARGEST_PICTURE", "LONGEST_SIDE", "MOST_PIXELS", "Picture", "make_picture"]

LARGEST_PICTURE = 20 * 2**20
"""Bytes of one picture; no service takes larger ones in a request."""
MOST_PIXELS = 50_000_000
"""Pixels of one picture: a phone's photographs have as many, and a few kilobytes can claim a thousand times more."""
MOST_DECODED = 30 * MOST_PIXELS
"""Pixels that a decoder goes over: a progressive JPEG has some ten scans, and one that shows nothing takes 75 bytes."""
LONGEST_SIDE = 16_384
"""Pixels of a picture's longer side."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was read. ``place`` is where a message names it, ``source`` how: a path, a URL, or ``data URL``.

    One that a service is to fetch itself has a ``url`` and no content. ``notes`` say what was found odd and how it was
    read all the same.
    """

    place: str
    source: str
    media_type: str = ""
    width: int = 0
    height: int = 0
    content: bytes = field(default=b"", repr=False)
    sha256: str = ""
    url: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def data(self) -> str:
        """The content in base64."""
        return base64.b64encode(self.content).decode()

    @property
    def data_url(self) -> str:
        """The URL, or one that holds the content."""
        return self.url or f"data:{self.media_type};base64,{self.data}"

    def to_dict(self) -> dict[str, Any]:
        """Return what a record says of it."""
        if self.url is not None:
            return {"place": self.place, "url": self.url}
        found: dict[str, Any] = {"place": self.place, "source": self.source, "sha256": self.sha256}
        found |= {"mime": self.media_type, "bytes": len(self.content), "width": self.width, "height": self.height}
        return found | ({"notes": list(self.notes)} if self.notes else {})


def make_picture(content: bytes, place: str, source: str, *, said: str | None = None) -> Picture:
    """Return a picture of bytes; ``said`` is the media type that somebody gave with them.

    Raises MessageError for what is no picture of a known format, and for what is out of bounds.
    """
    if len(content) > LARGEST_PICTURE:
        raise MessageError(f"{place}: the picture is larger than {LARGEST_PICTURE // 2**20} MiB ({source})")
    try:
        header = read_header(content)
    except ValueError as e:
        raise MessageError(f"{place}: the picture is broken: {e} ({source})") from e
    if header is None:
        raise MessageError(f"{place}: is neither PNG, JPEG, GIF nor WebP ({source})")
    width, height = header.width, header.height
    if not width or not height:
        raise MessageError(f"{place}: the picture is {width} x {height} pixels, so there is nothing to see ({source})")
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise MessageError(
            f"{place}: the picture is {width} x {height} pixels; at most {MOST_PIXELS // 10**6} million and "
            f"{LONGEST_SIDE} a side are opened; make it smaller ({source})"
        )
    if header.scans * width * height > MOST_DECODED:
        raise MessageError(
            f"{place}: the picture has {header.scans} scans of {width} x {height} pixels; at most "
            f"{MOST_DECODED // 10**6} million pixels are decoded, counted for each scan; save it anew ({source})"
        )
    notes = []
    if said is not None and said not in (header.media_type, header.media_type.replace("jpeg", "jpg")):
        notes.append(f"{place} is called {said} and is {header.media_type}; it is taken for what it is")
    if header.end is not None and header.end < len(content):
        notes.append(f"{place} has {len(content) - header.end} bytes after its end, which show nothing")
    digest = hashlib.sha256(content).hexdigest()
    return Picture(place, source, header.media_type, width, height, content, digest, notes=tuple(notes))
