"""Hand pictures to vLLM, which expands placeholders itself: it gets the ids of the rendered prompt, and pictures.

The ids that it will make are computed here beside, by the checkpoint's own processor, and compared with those that it
made: a prompt whose pictures vLLM counts otherwise is an error, not another answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from playbill.backends.common.words import counted
from playbill.backends.engines.checkpoint.vision.processor import CheckpointProcessor
from playbill.backends.errors import EngineError
from playbill.backends.prompt.pictures import ExpandedPrompt, Picture
from playbill.backends.prompt.pictures.opening import open_picture

__all__ = ["RENDERED", "SHOWN", "VllmPictures", "check_expanded"]

RENDERED, SHOWN = "rendered_ids", "images"
"""Names of the features that the driver is given: ids before vLLM expands them, and opened pictures."""


class VllmPictures:
    """The checkpoint's processor, whose features are what vLLM makes its own from."""

    def __init__(self, processor: CheckpointProcessor) -> None:
        self._processor = processor
        self.placeholder = processor.placeholder
        self.markers = processor.markers

    def expand(self, text: str, pictures: Sequence[Picture]) -> ExpandedPrompt:
        made = self._processor.expand(text, pictures)
        if not pictures:
            return ExpandedPrompt(made.ids)
        shown = [open_picture(picture).image for picture in pictures]
        return ExpandedPrompt(made.ids, {RENDERED: self._processor.rendered_ids(text), SHOWN: shown}, made.made)

    def facts(self) -> Mapping[str, Any]:
        return self._processor.facts()


def check_expanded(ours: Sequence[int], theirs: Sequence[int] | None) -> None:
    """Raise EngineError where vLLM made other ids of a prompt with pictures than the model's own processor."""
    if theirs is None or list(theirs) == list(ours):
        return
    place = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    raise EngineError(
        f"vLLM made {counted(len(theirs), 'id')} of the prompt with pictures, the model's own processor {len(ours)}; "
        f"they part at {place}, so the model would see something else than was proven; take huggingface_local"
    )
