"""What a local vision model brings to its prompt path: who expands placeholders and makes features. An interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from playbill.backends.prompt.pictures.picture import Picture

__all__ = ["ExpandedPrompt", "PictureProcessor"]


@dataclass(frozen=True, slots=True)
class ExpandedPrompt:
    """A prompt as a vision model gets it.

    ``ids`` hold an image token for each patch that the model sees. ``features`` are the processor's other outputs by
    their names, tensors that only the engine understands. ``made`` says of each picture what became of it: its
    ``tokens``, where the processor tells them its ``tiles``, ``grid`` or ``size``, and ``notes``, changes on the way.
    """

    ids: tuple[int, ...]
    features: Mapping[str, Any] = field(default_factory=dict, repr=False)
    made: tuple[Mapping[str, Any], ...] = ()


class PictureProcessor(Protocol):
    """Turns a rendered prompt and its pictures into ids and features."""

    placeholder: str
    """What stands in a rendered prompt for one picture."""
    markers: tuple[str, ...]
    """Texts that a processor would take for a picture wherever they stand, the placeholder among them."""

    def expand(self, text: str, pictures: Sequence[Picture]) -> ExpandedPrompt:
        """Return ids and features. Raises MessageError for a picture that can't be opened or that the model's
        processor refuses."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Return what a stranger needs to repeat it: class, image backend, versions."""
        ...
