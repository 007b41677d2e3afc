"""Open pictures with Pillow: one RGB image for each, upright, whatever the file holds beside it."""

from __future__ import annotations

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from playbill.backends.errors import BackendUnavailable, MessageError
from playbill.backends.prompt.pictures.picture import Picture
from playbill.backends.prompt.pictures.png_rows import refuse_missing_rows

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["OpenedPicture", "need_pillow", "open_picture"]

_ORIENTATION = 0x0112
_TURNED = range(2, 9)
"""Orientations in which a picture doesn't stand upright; other numbers mean nothing."""
_SMALL = 4_000_000
"""Pixels of a picture that any thread decodes."""
_one_thread = ThreadPoolExecutor(1, "playbill-pictures")
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}


@dataclass(frozen=True, slots=True)
class OpenedPicture:
    """A picture's pixels, RGB and upright, and what was left out on the way."""

    image: Image.Image
    notes: tuple[str, ...]


def need_pillow(who: str) -> None:
    """Raise BackendUnavailable where Pillow isn't installed."""
    if find_spec("PIL") is None:
        raise BackendUnavailable(
            f"{who} takes pictures, and Pillow, which opens them, is not installed here; install with: "
            'pip install "playbill[vision]"'
        )


def open_picture(picture: Picture) -> OpenedPicture:
    """Decode a picture as transformers' `load_image` does: turned upright by its EXIF orientation, then RGB.

    Of an animation the first frame is read. Large ones are decoded one after the other, in one thread: what the
    allocator keeps of a thread's memory it keeps for that thread, hundreds of megabytes of each. Raises MessageError
    for one that can't be decoded, or only in part.
    """
    if picture.width * picture.height <= _SMALL:
        return _decoded(picture)
    return _one_thread.submit(_decoded, picture).result()


def _decoded(picture: Picture) -> OpenedPicture:
    from PIL import Image, ImageOps

    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The one decoder of the format that the bytes state, which was judged before.
            with Image.open(io.BytesIO(picture.content), formats=[_FORMATS[picture.media_type]]) as image:
                if image.size != (picture.width, picture.height):
                    raise ValueError(f"it states {picture.width} x {picture.height} pixels and has {image.size}")
                if getattr(image, "is_animated", False):
                    image.seek(0)
                    notes.append(f"{picture.place} holds several frames; the first is shown")
                turned = image.getexif().get(_ORIENTATION) in _TURNED
                if turned:
                    notes.append(f"{picture.place} is turned upright, as its EXIF orientation says")
                if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                    notes.append(f"{picture.place} has transparent parts, whose transparency is left out")
                if image.mode.startswith(("I", "F")):
                    notes.append(f"{picture.place} has more than 8 bits a channel, of which 8 are kept")
                if picture.media_type == "image/png":
                    refuse_missing_rows(picture.content)
                image.load()
                upright = ImageOps.exif_transpose(image) if turned else image
                return OpenedPicture(upright.convert("RGB"), tuple(notes))
    except Exception as e:
        raise MessageError(f"{picture.place}: the picture can't be decoded: {e} ({picture.source})") from e
