"""The pictures of a request to a service: those that were read for it, in the order in which its messages show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.engines.base import Request
from playbill.backends.prompt.pictures import Picture, TextPart, parts_of, read_picture
from playbill.backends.prompt.pictures.taken import check_pictures_taken

__all__ = ["shown_parts"]


def shown_parts(request: Request, i: int, entry: Mapping[str, Any]) -> list[TextPart | Picture]:
    """Return the content of a request's message ``i`` as texts and pictures, a URL as one that the service fetches.

    Raises MessageError for what can't be sent, and for pictures that the entry doesn't say the model takes.
    """
    check_pictures_taken(entry, request.messages)
    read = iter(request.pictures[i] if request.pictures else ())
    parts: list[TextPart | Picture] = []
    for part in parts_of(request.messages[i], f"messages[{i}]"):
        if isinstance(part, TextPart):
            parts.append(part)
        else:
            parts.append(next(read, None) or read_picture(part, request.folder, urls="pass"))
    return parts
