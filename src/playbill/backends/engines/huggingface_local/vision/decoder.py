"""Decoders for vision models: rows together where a trial with a picture proves right, else one at a time.

Knows no picture: what a model's processor made of them comes with a request, and goes to the model by its names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from playbill.backends.engines.huggingface_local.batching.choice import VisionSupport, choose_decoder
from playbill.backends.engines.huggingface_local.batching.step import Step
from playbill.backends.engines.huggingface_local.decoder import Decoder, SingleDecoder
from playbill.backends.engines.huggingface_local.sequence import SampledSequence
from playbill.backends.engines.huggingface_local.vision.embedded_prompt import PromptEmbedder
from playbill.backends.engines.huggingface_local.vision.feature_memory import FeatureMemory
from playbill.backends.engines.huggingface_local.vision.first_pass import FirstPass
from playbill.backends.engines.huggingface_local.vision.trial import find_fault
from playbill.backends.prompt.pictures import PictureProcessor

__all__ = ["SeeingDecoder", "seeing_decoder"]


class SeeingDecoder(SingleDecoder):
    """One row after the other, the first pass with what the model's processor made of the row's pictures.

    What comes of the vision encoder is kept, so that the turns of a dialogue about one picture encode it once. It is
    found again by the bits that the encoder got, so it is what `generate` would compute anew.
    """

    def __init__(self, model: Any, facts: Mapping[str, Any] | None, memory: FeatureMemory) -> None:
        super().__init__(model, facts)
        self._first_pass = FirstPass(model)
        self.memory = memory

    def make_room(self) -> bool:
        return self.memory.clear()

    def close(self) -> None:
        self.memory.close()

    def next_logits(self, row: SampledSequence, ids: torch.Tensor) -> torch.Tensor:
        first = row.kv_cache is None
        if first:
            inputs = self._first_pass.inputs(ids, row.request.features) | self._cache()
        else:
            inputs, self._first_pass.state = row.kv_cache
        output = self._first_pass.call(ids, inputs, first=first)
        inputs = self._model._update_model_kwargs_for_generation(output, inputs, is_encoder_decoder=False)
        row.kv_cache = (inputs, self._first_pass.state)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _cache(self) -> dict[str, Any]:
        """Return the key-value cache that `generate` gives, by the name that the model has for it."""
        return {name: value for name, value in self._start(0).items() if name == self._first_pass.cache_name}


def seeing_decoder(entry: Mapping[str, Any], model: Any, processor: PictureProcessor, threads: int | None) -> Decoder:
    """Return the decoder of a model that takes pictures, as its entry asks for it.

    Raises WeightsError where it can't even be computed one row at a time.
    """
    embedder = PromptEmbedder(model)

    def single(facts: Mapping[str, Any]) -> SingleDecoder:
        embedder.memory.apart = False  # as in `generate`, to the bit
        return SeeingDecoder(model, facts, embedder.memory)

    def fault(step: Step) -> str | None:
        return find_fault(embedder, SeeingDecoder(model, None, embedder.memory), step, processor)

    return choose_decoder(entry, model, threads, VisionSupport(embedder, fault, single))
