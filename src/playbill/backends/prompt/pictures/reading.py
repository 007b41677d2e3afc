"""Read the pictures that messages name: from a data URL, a file below the input's folder, or a URL where allowed."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from playbill.backends.errors import MessageError
from playbill.backends.prompt.messages import Message
from playbill.backends.prompt.pictures.parts import PicturePart, parts_of
from playbill.backends.prompt.pictures.picture import LARGEST_PICTURE, Picture, make_picture

__all__ = ["read_picture", "read_pictures"]

_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+);base64,(.*)", re.DOTALL | re.IGNORECASE)


def read_pictures(
    messages: Sequence[Message], folder: Path | None, *, urls: str = "refuse"
) -> tuple[tuple[Picture, ...], ...]:
    """Return the pictures of each message, in the order in which they are shown.

    ``urls`` says what becomes of a URL: ``fetch``, ``pass`` (a service fetches it) or ``refuse``. Raises MessageError
    for a picture that can't be read, with its place.
    """
    read: dict[str, Picture] = {}
    return tuple(tuple(_of_message(m, i, folder, urls, read)) for i, m in enumerate(messages))


def _of_message(
    message: Message, i: int, folder: Path | None, urls: str, read: dict[str, Picture]
) -> Iterator[Picture]:
    for part in parts_of(message, f"messages[{i}]"):
        if isinstance(part, PicturePart):
            yield read_picture(part, folder, urls=urls)


def read_picture(part: PicturePart, folder: Path | None, *, urls: str = "refuse") -> Picture:
    """Return the picture that a part names, with its content; the arguments are those of `read_pictures`."""
    source, place = part.source, part.place
    if source.startswith(("https://", "http://")):
        return _of_url(source, place, urls)
    if not source.startswith("data:"):
        return make_picture(_file(source, folder, place), place, source)
    match = _DATA_URL.fullmatch(source)
    if match is None:
        raise MessageError(f"{place}: a data URL must be of the form data:image/png;base64,…")
    if len(match[2]) > LARGEST_PICTURE * 4 // 3 + 4:
        raise MessageError(f"{place}: the picture is larger than {LARGEST_PICTURE // 2**20} MiB")
    try:
        content = base64.b64decode(match[2], validate=True)
    except (binascii.Error, ValueError) as e:
        raise MessageError(f"{place}: the picture's data is no base64: {e}") from e
    return make_picture(content, place, "data URL", said=match[1].lower())


def _of_url(url: str, place: str, urls: str) -> Picture:
    if urls == "pass":
        return Picture(place, url, url=url)
    if urls != "fetch":
        raise MessageError(
            f"{place}: the picture is at a URL, and nothing is fetched unless you allow it: --fetch-pictures, or "
            f"load_model(…, fetch_pictures=True) ({url})"
        )
    # Imported here: it brings an HTTP client, and few runs fetch anything.
    from playbill.backends.prompt.pictures.fetching import fetch

    try:
        return make_picture(fetch(url, LARGEST_PICTURE), place, url)
    except OSError as e:
        raise MessageError(f"{place}: can't fetch the picture: {e} ({url})") from e


def _file(path: str, folder: Path | None, place: str) -> bytes:
    """Return the bytes of a file below the folder of the input, wherever links lead, so that no input reads others."""
    base = (folder or Path()).resolve()
    try:
        found = (base / path).resolve()
        if not found.is_relative_to(base):
            raise MessageError(f"{place}: {path} is not below {base}; pictures are only read from there")
        if not found.is_file():
            raise MessageError(f"{place}: there is no file {path} in {base}")
        if found.stat().st_size > LARGEST_PICTURE:
            raise MessageError(f"{place}: {path} is larger than {LARGEST_PICTURE // 2**20} MiB")
        return found.read_bytes()
    except (OSError, ValueError) as e:
        raise MessageError(f"{place}: can't read the picture {path}: {getattr(e, 'strerror', None) or e}") from e
