"""Hold the pictures of messages against what an entry says that its model takes. Opens none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from playbill.backends.errors import MessageError
from playbill.backends.prompt.messages import Message
from playbill.backends.prompt.pictures.parts import TextPart, parts_of
from playbill.backends.registry.fields.multimodality import pictures_taken

__all__ = ["check_pictures_taken"]


def check_pictures_taken(spec: Mapping[str, Any], messages: Sequence[Message], *, sees: bool = True) -> None:
    """Raise MessageError for a picture that the entry doesn't say the model takes, with its message's place.

    ``sees`` says whether the model was loaded with what pictures need.
    """
    taken = pictures_taken(spec)
    for i, message in enumerate(messages):
        pictures = sum(not isinstance(part, TextPart) for part in parts_of(message, f"messages[{i}]"))
        if pictures and not (sees and taken.any):
            raise MessageError(
                f"messages[{i}]: has a picture, and the entry doesn't say that the model takes any; if it does, set "
                '"multimodality": {"single_image": true, "multiple_images": true}, else leave the picture out'
            )
        if pictures > 1 and not taken.multiple:
            raise MessageError(
                f"messages[{i}]: has {pictures} pictures, and the entry's 'multimodality' allows one a message"
            )
