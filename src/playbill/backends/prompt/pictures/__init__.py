"""Pictures in messages: found in whatever form, read within bounds, and opened. Sends nothing.

Engines that run models here and services share it, so that a message means the same to both.
"""

from __future__ import annotations

from playbill.backends.prompt.pictures.parts import PicturePart, TextPart, has_pictures, parts_of
from playbill.backends.prompt.pictures.picture import LARGEST_PICTURE, MOST_PIXELS, Picture
from playbill.backends.prompt.pictures.processor import ExpandedPrompt, PictureProcessor
from playbill.backends.prompt.pictures.reading import read_picture, read_pictures

__all__ = [
    "LARGEST_PICTURE",
    "MOST_PIXELS",
    "ExpandedPrompt",
    "Picture",
    "PicturePart",
    "PictureProcessor",
    "TextPart",
    "has_pictures",
    "parts_of",
    "read_picture",
    "read_pictures",
]
