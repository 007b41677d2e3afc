"""Find the texts and pictures of a message, in their order. Opens no file.

Taken are clembench's ``image`` key (a path, URL or data URL, or a list of them), whose pictures stand before the text
as in clemcore, and the content parts of the field, in their order: ``image_url`` (OpenAI), ``image`` with ``source``
(Anthropic), or ``image`` with a path, URL or data URL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from playbill.backends.errors import MessageError
from playbill.backends.prompt.messages import Message

__all__ = ["PicturePart", "TextPart", "has_pictures", "parts_of"]

_MARK = " <image> "
"""What clembench's games write into a text where they think of the picture; the picture itself goes before the text."""
_KINDS = ("image_url", "image")


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of text in a message."""

    text: str


@dataclass(frozen=True, slots=True)
class PicturePart:
    """A picture as a message names it: a path, a URL or a data URL. ``place`` is where, as ``messages[0].image[1]``."""

    source: str
    place: str


def parts_of(message: Message, where: str) -> list[TextPart | PicturePart]:
    """Return a message's content as texts and pictures; those of ``image`` come before the text.

    Raises MessageError for parts that are neither, with their place.
    """
    return list(_parts(message, where))


def has_pictures(messages: Sequence[Message]) -> bool:
    """Tell whether any message names a picture, in whatever form."""
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else ()
        if message.get("image") or any(part.get("type") in _KINDS for part in parts):
            return True
    return False


def _parts(message: Message, where: str) -> Iterator[TextPart | PicturePart]:
    content, images = message.get("content"), message.get("image")
    for i, image in enumerate(images if isinstance(images, list) else [images] if images else ()):
        yield _picture(image, f"{where}.image[{i}]")
    if isinstance(content, str):
        text = content.replace(_MARK, " ") if images else content
        if text or not images:
            yield TextPart(text)
    for i, part in enumerate(content if isinstance(content, list) else ()):
        place = f"{where}.content[{i}]"
        yield TextPart(part["text"]) if part["type"] == "text" else _picture_part(part, place)


def _picture_part(part: Mapping[str, Any], where: str) -> PicturePart:
    kind = part["type"]
    if kind not in _KINDS:
        raise MessageError(f"{where}: a part of type '{kind}' can't be sent; text and pictures can")
    source = part.get("source")
    if isinstance(source, Mapping):
        if source.get("type") == "base64":
            return PicturePart(f"data:{source.get('media_type')};base64,{source.get('data')}", where)
        return _picture(source.get("url"), where)
    for name in ("image_url", "url", "path", "image"):
        if part.get(name):
            value = part[name]
            return _picture(value.get("url") if isinstance(value, Mapping) else value, where)
    raise MessageError(f"{where}: names no picture; give it an 'image_url', a 'url' or a 'path'")


def _picture(value: Any, where: str) -> PicturePart:
    if not isinstance(value, str) or not value:
        raise MessageError(f"{where}: is no path, URL or data URL of a picture")
    return PicturePart(value, where)
