"""The decoder interface, and the decoder for one row at a time, which works for every model of transformers.

It is the reference for exactness: decoders for several rows are tested against it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

import torch
from transformers import DynamicCache

from playbill.backends.engines.base import Request
from playbill.backends.engines.huggingface_local.sampling import Pick, columns_of, nothing, pick
from playbill.backends.engines.huggingface_local.sequence import SampledSequence
from playbill.backends.errors import WeightsError

__all__ = ["Decoder", "SingleDecoder", "first_device"]


class Decoder(Protocol):
    """Computes what comes next in some rows."""

    most_rows: int
    """How many rows are computed together at the most."""

    facts: Mapping[str, Any]
    """How rows are computed, for the manifest."""

    ahead: bool
    """Whether a device computes a step while Python goes on."""

    def advance(self, rows: Sequence[SampledSequence], meanwhile: Callable[[], None] = nothing) -> list[Pick | None]:
        """Return one step: each row's next token, or None where more of its ids must be computed first. ``meanwhile``
        is called once all of the step is started, and before its result is waited for."""
        ...

    def finish(self, row: SampledSequence) -> None:
        """The row is complete; what is known of it may be kept for its dialogue's next turn."""
        ...

    def forget(self, row: SampledSequence) -> None:
        """Free what is kept for a row; its prompt is computed anew, and then what it has of its answer."""
        ...

    def make_room(self) -> bool:
        """Free what is kept for dialogues that aren't being answered; whether there was anything."""
        ...

    def close(self) -> None:
        """End threads, and leave the model as it was."""
        ...


class SingleDecoder:
    """One row after the other, each stepped as transformers' own `generate` steps it.

    The model's own `prepare_inputs_for_generation` says what a step is given: positions, a state instead of a KV cache,
    or all ids anew where a row grows past the length at which its rotary factors change.
    """

    most_rows = 1
    ahead = False

    def __init__(self, model: Any, facts: Mapping[str, Any] | None = None) -> None:
        self.facts = facts or {}
        self._model = model
        self._device = first_device(model)
        self._named = frozenset(inspect.signature(model.forward).parameters)

    def advance(self, rows: Sequence[SampledSequence], meanwhile: Callable[[], None] = nothing) -> list[Pick | None]:
        meanwhile()
        return [self._pick(row) for row in rows]

    def finish(self, row: SampledSequence) -> None:
        self.forget(row)

    def make_room(self) -> bool:
        return False

    def forget(self, row: SampledSequence) -> None:
        row.kv_cache, row.computed = None, 0

    def close(self) -> None:
        return

    def _pick(self, row: SampledSequence) -> Pick | None:
        """Compute a prompt, or one more token of an answer; return what comes next, None where that is known."""
        end = row.prompt_length if row.kv_cache is None else row.computed + 1
        logits = self._next(row, torch.tensor([row.ids[:end]], device=self._device))
        row.computed = end
        if end < len(row.ids):
            return None
        columns = torch.tensor([columns_of([row.sampling])], dtype=torch.int32, device=logits.device)
        return pick([row.sampling], logits, columns)[0]

    def _next(self, row: SampledSequence, ids: torch.Tensor) -> torch.Tensor:
        """Compute what a row's cache lacks of these ids, of shape (1, tokens); return the logits after them, of shape
        (1, vocabulary)."""
        first = row.kv_cache is None
        if first:
            reset_rotary(self._model)
            row.kv_cache = self._start(ids.shape[1])
        step = {"next_sequence_length": None if first else 1, "is_first_iteration": first}
        output = self._model(**self._model.prepare_inputs_for_generation(ids, **step, **row.kv_cache), return_dict=True)
        row.kv_cache = self._model._update_model_kwargs_for_generation(output, row.kv_cache)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _start(self, length: int) -> dict[str, Any]:
        """Return what `generate` gives a model beside a prompt of this many tokens."""
        found: dict[str, Any] = {"use_cache": True, "attention_mask": torch.ones(1, length, dtype=torch.long)}
        if "position_ids" in self._named:
            found["position_ids"] = torch.arange(length)[None]
        found = {name: v.to(self._device) if isinstance(v, torch.Tensor) else v for name, v in found.items()}
        if "logits_to_keep" in self._named:
            found["logits_to_keep"] = 1
        # transformers 5.24 gave the argument another name.
        name = next((name for name in ("past_key_values", "cache") if name in self._named), None)
        if name is not None and self._model._supports_default_dynamic_cache():
            found[name] = DynamicCache(config=self._model.config.get_text_config(decoder=True))
        return found


@torch.inference_mode()
def tried(decoder: Decoder, entry: Mapping[str, Any], model: Any) -> Decoder:
    """Return a decoder after a prompt of three tokens and one more were computed with it. Raises WeightsError where it
    can't do that."""
    row = SampledSequence(Request(messages=(), params={"max_tokens": 1}, prompt_ids=(1, 2, 3)), None, str)
    try:
        for token in (1, 2):
            decoder.advance([row])
            row.ids.append(token)
    except torch.OutOfMemoryError:
        raise
    except Exception as e:
        raise WeightsError(
            f"{entry.get('model_name')}: {type(model).__name__} can't generate token by token with transformers "
            f"{version('transformers')} ({type(e).__name__}: {str(e)[:200]}); take another model, or another backend"
        ) from e
    return decoder


def reset_rotary(model: Any) -> None:
    """Bring dynamic rotary scaling back to where it is in a model just loaded; it grows with the longest row so far."""
    for module in model.modules():
        original = getattr(module, "original_max_seq_len", None)
        for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")] if original else ():
            prefix = name.removesuffix("max_seq_len_cached")
            frequencies = getattr(module, f"{prefix}original_inv_freq", None)
            if frequencies is not None:
                setattr(module, name, original)
                current = getattr(module, f"{prefix}inv_freq")
                module.register_buffer(f"{prefix}inv_freq", frequencies.to(current.device).clone(), persistent=False)


def first_device(model: Any) -> torch.device:
    """Return the device that token ids go to: that of the embeddings, or where they are computed if they are kept
    elsewhere until then."""
    embeddings = model.get_input_embeddings()
    if not embeddings.weight.is_meta:
        found: torch.device = embeddings.weight.device
        return found
    where = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None)
    return torch.device("meta" if where is None else where)
