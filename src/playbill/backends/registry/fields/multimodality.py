"""What an entry says that its model takes beside text: ``multimodality``, or clemcore's ``multimodal``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PicturesTaken", "other_media", "pictures_taken"]


@dataclass(frozen=True, slots=True)
class PicturesTaken:
    """Whether a message may have one picture, and whether it may have several."""

    single: bool = False
    multiple: bool = False

    @property
    def any(self) -> bool:
        return self.single or self.multiple


def pictures_taken(entry: Mapping[str, Any]) -> PicturesTaken:
    """Return what an entry says of pictures; ``multimodal: true`` is clemcore's word for all of them."""
    said = entry.get("multimodality")
    if isinstance(said, Mapping):
        return PicturesTaken(bool(said.get("single_image")), bool(said.get("multiple_images")))
    everything = entry.get("multimodal") is True or said is True
    return PicturesTaken(everything, everything)


def other_media(entry: Mapping[str, Any]) -> list[str]:
    """Return what else an entry asks for that Playbill doesn't send: ``audio``, ``video``."""
    said = entry.get("multimodality")
    return [kind for kind in ("audio", "video") if isinstance(said, Mapping) and said.get(kind)]
