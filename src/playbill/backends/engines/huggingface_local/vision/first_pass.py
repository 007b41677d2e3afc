"""The first pass over a prompt with pictures, as transformers' `generate` prepares it: inputs, positions, state."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from playbill.backends.engines.huggingface_local.decoder import first_device, reset_rotary

__all__ = ["FirstPass"]

_STATE = "rope_deltas"
"""What Qwen-VL and GLM-4V keep on the model between the steps of one row; rows that take turns would overwrite it."""


class FirstPass:
    """Prepares what a model is given for a prompt and what its processor made of the prompt's pictures."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.device = first_device(model)
        self._named = frozenset(inspect.signature(model.forward).parameters)
        self._holders = [module for module in model.modules() if hasattr(module, _STATE)]

    @property
    def state(self) -> list[Any]:
        """What the model keeps between the steps of one row."""
        return [getattr(holder, _STATE) for holder in self._holders]

    @state.setter
    def state(self, values: Sequence[Any]) -> None:
        for holder, value in zip(self._holders, values, strict=True):
            setattr(holder, _STATE, value)

    @property
    def cache_name(self) -> str | None:
        """The name that the model has for its key-value cache; transformers 5.24 gave the argument another one."""
        return next((name for name in ("past_key_values", "cache") if name in self._named), None)

    def inputs(self, ids: torch.Tensor, features: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `generate` gives a model beside a prompt of shape (1, tokens), its cache apart. Features go to
        the model's device and number format, and the model forgets the row before."""
        reset_rotary(self._model)
        self.state = [None for _ in self._holders]
        keep = {"logits_to_keep": 1} if "logits_to_keep" in self._named else {}
        mask = torch.ones_like(ids)
        found = {**self._placed(dict(features)), "use_cache": True, "attention_mask": mask, **keep}
        if "position_ids" in self._named:
            # Before there is a cache, as in `generate`: it says whether positions are counted on.
            found["position_ids"] = self._model._prepare_position_ids_for_generation(ids, dict(found))
        return found

    def call(self, ids: torch.Tensor, inputs: Mapping[str, Any], *, first: bool = True) -> Any:
        """Call the model for a prompt, or for one more token."""
        step = {"next_sequence_length": None if first else 1, "is_first_iteration": first}
        return self._model(**self._model.prepare_inputs_for_generation(ids, **step, **inputs), return_dict=True)

    def _placed(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            kind = self._model.dtype if value.is_floating_point() else value.dtype
            return value.to(self.device, kind)
        if isinstance(value, dict):
            return {name: self._placed(each) for name, each in value.items()}
        return [self._placed(each) for each in value] if isinstance(value, list) else value
