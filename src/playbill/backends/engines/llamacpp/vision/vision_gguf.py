"""Judge a model's mmproj file by its header, before anything is loaded, and make the processor that goes by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbill.backends.engines.llamacpp.gguf_header import GgufHeader, read_header
from playbill.backends.engines.llamacpp.server import LlamaServer
from playbill.backends.engines.llamacpp.tokenizer import GgufTokenizer
from playbill.backends.engines.llamacpp.trial import why_unloadable
from playbill.backends.engines.llamacpp.vision.picture_counter import PictureCounter, counting_server
from playbill.backends.engines.llamacpp.vision.processor import GgufProcessor
from playbill.backends.engines.llamacpp.vision.projectors import (
    kind_of,
    otherwise,
    projector_of,
    width_of_model,
    width_of_pictures,
)
from playbill.backends.errors import EntryError, WeightsError
from playbill.backends.prompt.pictures.opening import need_pillow
from playbill.backends.registry import rules
from playbill.backends.weights.gguf import Weights

__all__ = ["VisionGguf", "find_vision_gguf", "judge_mmproj"]


@dataclass(frozen=True, slots=True)
class VisionGguf:
    """A model with its mmproj file, which fit: ``kind`` is the file's own word for what it is, ``width`` how wide the
    vectors are that it makes of pictures, ``otherwise`` how llama.cpp runs it otherwise than it was trained."""

    model: GgufHeader
    weights: Weights
    mmproj: Path
    kind: str
    width: int
    otherwise: str | None = None

    def processor(self, tokenizer: GgufTokenizer, server: Callable[[], LlamaServer]) -> GgufProcessor:
        """Return the processor; ``server`` starts, or is, one that has the file."""
        return GgufProcessor(self.mmproj, self.kind, tokenizer, lambda: PictureCounter(server()), self.otherwise)

    def refuse_unloadable(self) -> None:
        """Raise WeightsError where llama.cpp refuses the files.

        It is tried in a process of its own: over an mmproj file that lacks a tensor llama.cpp ends the process.
        """
        if why := why_unloadable(self.weights):
            raise WeightsError(f"llama.cpp can't load {self.weights.named}: {why}")

    def counting_server(self) -> LlamaServer:
        """Start a server that only counts a picture's tokens, without the model's weights."""
        self.refuse_unloadable()
        return counting_server(self.model, self.mmproj, self.width)


def find_vision_gguf(entry: Mapping[str, Any], weights: Weights, model: GgufHeader) -> VisionGguf | None:
    """Return how a model sees; None where its entry doesn't say that it does.

    Raises EntryError for a file that doesn't belong to the model, or of a kind that isn't known; BackendUnavailable
    without Pillow.
    """
    if weights.mmproj is None:
        return None
    name = str(entry.get("model_name"))
    try:
        vision = judge_mmproj(weights, model)
    except WeightsError as e:
        raise EntryError(f"{name}: {e}", [rules.NO_PROCESSOR.at(name, str(e))]) from e
    need_pillow(f"{name}: multimodality says that the model")
    return vision


def judge_mmproj(weights: Weights, model: GgufHeader) -> VisionGguf:
    """Return how a model sees by its mmproj file, which there must be. Raises WeightsError where the two don't fit."""
    assert weights.mmproj is not None
    header = read_header(weights.mmproj)
    values = header.values
    projector_of(values, weights.mmproj.name)
    width, theirs = width_of_model(model.values), width_of_pictures(values)
    if width != theirs or width is None:
        raise WeightsError(
            f"{weights.mmproj.name} belongs to another model: it makes vectors of {theirs} numbers, and "
            f"{weights.path.name} reads vectors of {width}"
        )
    return VisionGguf(model, weights, weights.mmproj, kind_of(values), width, otherwise(values, header.tensors))
