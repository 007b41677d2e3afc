"""Images in messages: found in whatever form, checked, and brought into one. Sends nothing, fetches nothing.

Taken are clembench's ``image`` key (a path, URL or data URL, or a list of them) and the content parts of the
field: ``image_url`` (OpenAI), ``image`` with ``source`` (Anthropic), or ``image`` with a path, URL or data URL.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbill.backends.errors import MessageError
from playbill.backends.prompt.messages import Message

__all__ = ["LARGEST_IMAGE", "Image", "Text", "check_multimodality", "parts_of"]

LARGEST_IMAGE = 20 * 2**20
"""Bytes of one image; no service takes larger ones in a request."""

_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+);base64,(.*)", re.DOTALL | re.IGNORECASE)
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_PLACEHOLDER = " <image> "


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text in a message."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its URL, which the service fetches, or its media type and base64 data."""

    url: str | None = None
    media_type: str = ""
    data: str = ""

    @property
    def data_url(self) -> str:
        return self.url or f"data:{self.media_type};base64,{self.data}"


def parts_of(message: Message, folder: Path | None, where: str) -> list[Text | Image]:
    """Return a message's content as texts and images, in their order; ``image`` comes after the text."""
    return list(_parts(message, folder, where))


def _parts(message: Message, folder: Path | None, where: str) -> Iterator[Text | Image]:
    content, images = message.get("content"), message.get("image")
    if isinstance(content, str):
        # clembench marks the image's place in the text
        yield Text(content.replace(_PLACEHOLDER, " ") if images else content)
    for i, part in enumerate(content if isinstance(content, list) else ()):
        place = f"{where}.content[{i}]"
        yield Text(part["text"]) if part["type"] == "text" else _image_part(part, folder, place)
    for i, image in enumerate(images if isinstance(images, list) else [images] if images else ()):
        yield _image(image, folder, f"{where}.image[{i}]")


def _image_part(part: Mapping[str, Any], folder: Path | None, where: str) -> Image:
    kind = part["type"]
    if kind not in ("image_url", "image"):
        raise MessageError(f"{where}: a part of type '{kind}' can't be sent; text and images can")
    source = part.get("source")
    if isinstance(source, Mapping):
        if source.get("type") == "base64":
            return _checked(str(source.get("media_type")), str(source.get("data")), where)
        return _image(source.get("url"), folder, where)
    for name in ("image_url", "url", "path", "image"):
        if part.get(name):
            value = part[name]
            return _image(value.get("url") if isinstance(value, Mapping) else value, folder, where)
    raise MessageError(f"{where}: names no image; give it an 'image_url', a 'url' or a 'path'")


def _image(value: Any, folder: Path | None, where: str) -> Image:
    if not isinstance(value, str) or not value:
        raise MessageError(f"{where}: is no path, URL or data URL of an image")
    if value.startswith(("https://", "http://")):
        return Image(url=value)
    if value.startswith("data:"):
        match = _DATA_URL.fullmatch(value)
        if match is None:
            raise MessageError(f"{where}: a data URL must be of the form data:image/png;base64,…")
        return _checked(match[1].lower(), match[2], where)
    return _from_file(value, folder, where)


def _checked(media_type: str, data: str, where: str) -> Image:
    if len(data) > LARGEST_IMAGE * 4 // 3 + 4:
        raise MessageError(f"{where}: the image is larger than {LARGEST_IMAGE // 2**20} MiB")
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error as e:
        raise MessageError(f"{where}: the image's data is no base64: {e}") from e
    return Image(media_type=media_type, data=data)


def _from_file(path: str, folder: Path | None, where: str) -> Image:
    """Return an image file; only one below the folder of the input, wherever links lead, so that no input reads
    others."""
    base = (folder or Path()).resolve()
    found = (base / path).resolve()
    if not found.is_relative_to(base):
        raise MessageError(f"{where}: {path} is not below {base}; images are only read from there")
    try:
        if found.stat().st_size > LARGEST_IMAGE:
            raise MessageError(f"{where}: {path} is larger than {LARGEST_IMAGE // 2**20} MiB")
        content = found.read_bytes()
    except OSError as e:
        raise MessageError(f"{where}: can't read the image {path}: {e.strerror or e}") from e
    media_type = next((kind for signature, kind in _SIGNATURES if content.startswith(signature)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        media_type = "image/webp"
    if media_type is None:
        raise MessageError(f"{where}: {path} is neither PNG, JPEG, GIF nor WebP")
    return Image(media_type=media_type, data=base64.b64encode(content).decode())


def check_multimodality(parts: list[Text | Image], multimodality: Mapping[str, Any] | None, where: str) -> None:
    """Refuse images that the entry doesn't say the model takes."""
    images = sum(isinstance(part, Image) for part in parts)
    taken = multimodality or {}
    if images and not (taken.get("single_image") or taken.get("multiple_images")):
        raise MessageError(
            f"{where}: has an image, and the entry doesn't say that the model takes any; if it does, set "
            '"multimodality": {"single_image": true, "multiple_images": true}'
        )
    if images > 1 and not taken.get("multiple_images"):
        raise MessageError(f"{where}: has {images} images, and the entry's 'multimodality' allows one a message")
