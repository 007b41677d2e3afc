"""The decoder for models with eyes: one row at a time, stepped as transformers' own `generate` steps it.

Knows no picture: what a model's processor made of them comes with a request, and goes to the model by its names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from playbill.backends.common.warn import warn_once
from playbill.backends.engines.huggingface_local.decoder import Decoder, SingleDecoder, reset_rotary, tried
from playbill.backends.engines.huggingface_local.sequence import SampledSequence
from playbill.backends.engines.huggingface_local.vision.feature_memory import FeatureMemory
from playbill.backends.registry.fields.local import batch_limit

__all__ = ["SeeingDecoder", "seeing_decoder"]

_REASON = "the model takes pictures"
_STATE = "rope_deltas"
"""What Qwen-VL and GLM-4V keep on the model between the steps of one row; rows that take turns would overwrite it."""


class SeeingDecoder(SingleDecoder):
    """One row after the other, the first pass with what the model's processor made of the row's pictures.

    What comes of the vision encoder is kept, so that the turns of a dialogue about one picture encode it once. It is
    found again by the bits that the encoder got, so it is what `generate` would compute anew.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model, {"kind": "single", "company_independent": True, "reason": _REASON})
        self._holders = [module for module in model.modules() if hasattr(module, _STATE)]
        self.memory = FeatureMemory(model)

    def make_room(self) -> bool:
        return self.memory.clear()

    def close(self) -> None:
        self.memory.close()

    def _next(self, row: SampledSequence, ids: torch.Tensor) -> torch.Tensor:
        first = row.kv_cache is None
        if first:
            reset_rotary(self._model)
            inputs, state = self._first(row, ids), [None for _ in self._holders]
        else:
            inputs, state = row.kv_cache
        for holder, value in zip(self._holders, state, strict=True):
            setattr(holder, _STATE, value)
        if first and "position_ids" in self._named:
            # Before there is a cache, as in `generate`: it says whether positions are counted on.
            inputs["position_ids"] = self._model._prepare_position_ids_for_generation(ids, dict(inputs))
        inputs |= self._cache() if first else {}
        step = {"next_sequence_length": None if first else 1, "is_first_iteration": first}
        output = self._model(**self._model.prepare_inputs_for_generation(ids, **step, **inputs), return_dict=True)
        inputs = self._model._update_model_kwargs_for_generation(output, inputs)
        row.kv_cache = (inputs, [getattr(holder, _STATE) for holder in self._holders])
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _first(self, row: SampledSequence, ids: torch.Tensor) -> dict[str, Any]:
        """Return what `generate` gives a model beside a prompt. Features go to the model's device and number format."""
        mask = torch.ones_like(ids)
        keep = {"logits_to_keep": 1} if "logits_to_keep" in self._named else {}
        return {**self._features(row.request.features), "use_cache": True, "attention_mask": mask, **keep}

    def _features(self, features: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._placed(value) for name, value in features.items()}

    def _placed(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            kind = self._model.dtype if value.is_floating_point() else value.dtype
            return value.to(self._device, kind)
        return [self._placed(each) for each in value] if isinstance(value, list) else value

    def _cache(self) -> dict[str, Any]:
        """Return the key-value cache that `generate` gives, by the name that the model has for it."""
        return {name: value for name, value in self._start(0).items() if name in ("past_key_values", "cache")}


def seeing_decoder(entry: Mapping[str, Any], model: Any) -> Decoder:
    """Return the decoder of a model that takes pictures, after three tokens and one more were computed with it.

    Raises WeightsError where it can't do that.
    """
    if batch_limit(entry) != 1:
        warn_once(f"{entry.get('model_name')}: requests are answered one at a time, since {_REASON}")
    return tried(SeeingDecoder(model), entry, model)
