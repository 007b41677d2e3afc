"""What a model's language part is given for a prompt with pictures, told by the model's own code.

The model is called as `generate` calls it, and stopped where it hands over to its language part: by then it has encoded
the pictures, put their features in the places of image tokens, and made positions. All of that goes with single tokens,
so a prompt can be computed in pieces beside others. Where it doesn't (attention in both directions within a picture,
features that go into later layers), the prompt's beginning up to its last picture is computed whole, by the model's
own call, and its keys and values go into the row's pages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from transformers import DynamicCache

from playbill.backends.engines.huggingface_local.batching.attention import ATTENTION, text_config, use_attention
from playbill.backends.engines.huggingface_local.batching.kv_cache import KVCache, Run
from playbill.backends.engines.huggingface_local.batching.step import Piece
from playbill.backends.engines.huggingface_local.vision.feature_memory import FeatureMemory, tensors_in
from playbill.backends.engines.huggingface_local.vision.first_pass import FirstPass

__all__ = ["PromptEmbedder", "EmbeddedPrompt"]

_UNLIKE_ANY = -1
_BY_TOKEN = ("input_ids", "inputs_embeds", "position_ids", "attention_mask", "cache_position")


@dataclass(frozen=True, slots=True)
class EmbeddedPrompt:
    """A prompt with pictures as the language part gets it, of shape (tokens, hidden) in ``embeds``.

    ``names`` are its ids, but where something of a picture stands: there they are negative numbers, the same for the
    same bits at the same positions alone, so that beginnings are found to be shared by them. ``positions`` has the
    prompt's, in one plane or three, and what follows counts on from the last in each. The first ``whole`` tokens can't
    be computed in pieces; what comes after them are ids alone.
    """

    embeds: torch.Tensor | None
    names: Sequence[int]
    positions: Sequence[Sequence[int]]
    whole: int = 0

    def piece(self, run: Run, begin: int, ids: Sequence[int]) -> Piece:
        """Return a piece of this prompt, or of its answer, from the token ``begin`` on."""
        end, length = begin + len(ids), len(self.names)
        if begin >= length:
            after = [plane[-1] + 1 - length for plane in self.positions]
            # Right after a picture `generate` counts on in each plane, and a prompt doesn't: other keys, same ids.
            unlike = [_UNLIKE_ANY] * len(ids) if len(set(after)) > 1 else None
            return Piece(run, begin, ids, unlike, [range(begin + more, end + more) for more in after])
        names = self.names[begin:end]
        embeds = self.embeds[begin:end] if self.embeds is not None and min(names) < 0 else None
        return Piece(run, begin, ids, names=names, positions=[p[begin:end] for p in self.positions], embeds=embeds)

    def computed(self) -> EmbeddedPrompt:
        """Return what is still needed once the prompt is computed."""
        return replace(self, embeds=None)


class Given(Exception):
    """What the language part was called with."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        super().__init__()
        self.inputs = inputs


class PromptEmbedder:
    """Makes embeddings of prompts with pictures, by the model's own code. ``whole`` says why prompts can't be computed
    in pieces, None where they can; ``planes`` is how many positions each token has."""

    def __init__(self, model: Any) -> None:
        self.memory = FeatureMemory(model)
        self.whole: str | None = None
        self.planes = 1
        self._model = model
        self._first_pass = FirstPass(model)
        self._usual = str(text_config(model)._attn_implementation)

    def facts(self) -> dict[str, Any]:
        """Describe for the manifest how prompts with pictures are computed."""
        prompts = "in pieces" if self.whole is None else f"up to the last picture at once: {self.whole}"
        apart = "one at a time" if self.memory.apart else "all of a prompt together"
        return {"prompts_with_pictures": prompts, "pictures_encoded": apart}

    def make_room(self) -> bool:
        return self.memory.clear()

    def close(self) -> None:
        self.memory.close()

    def look(self, ids: Sequence[int], features: Mapping[str, Any]) -> EmbeddedPrompt:
        """Encode a prompt's pictures, as far as they aren't known, and return what the language part gets."""
        given = self.given(ids, features)
        embeds = given["inputs_embeds"][0]
        positions = _positions(given.get("position_ids"), len(ids))
        table = self._model.get_input_embeddings()
        known = torch.tensor(ids, device=embeds.device).clamp_(max=table.weight.shape[0] - 1)
        seen = (embeds != table(known[None])[0].to(embeds.device)).any(-1).tolist()
        whole = len(ids) - seen[::-1].index(True) if self.whole is not None and any(seen) else 0
        return EmbeddedPrompt(
            None if whole else embeds, _names(ids, seen, embeds, positions), positions.tolist(), whole
        )

    def given(self, ids: Sequence[int], features: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the language part is called with for a prompt."""
        tensor = torch.tensor([list(ids)], device=self._first_pass.device)
        hook = self._model.get_decoder().register_forward_pre_hook(_tell, with_kwargs=True)
        try:
            self._first_pass.call(tensor, self._first_pass.inputs(tensor, features))
        except Given as given:
            return given.inputs
        finally:
            hook.remove()
        raise NotImplementedError("its language part isn't called")

    def compute_whole(
        self, ids: Sequence[int], features: Mapping[str, Any], end: int, kv_cache: KVCache, run: Run
    ) -> torch.Tensor:
        """Compute the first ``end`` tokens of a prompt by the model's own call and attention, and put their keys and
        values into pages. Return the logits after them, of shape (1, vocabulary)."""
        first = torch.tensor([list(ids[:end])], device=self._first_pass.device)
        cache = DynamicCache()
        with self.usual_attention():
            inputs = self._first_pass.inputs(first, {n: _cut(v, len(ids), end) for n, v in features.items()})
            output = self._first_pass.call(first, {**inputs, str(self._first_pass.cache_name): cache})
        for number, layer in enumerate(cache.layers):
            keys, values = self._kept(layer, end)
            kv_cache.write(number, keys, values, torch.arange(run.start, run.start + end, device=keys.device))
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    @staticmethod
    def _kept(layer: Any, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        if layer.keys.shape[2] != tokens:
            raise NotImplementedError(f"a layer keeps {layer.keys.shape[2]} keys for {tokens} tokens")
        return layer.keys, layer.values

    @contextmanager
    def usual_attention(self) -> Iterator[None]:
        """Let the model compute attention as it does by itself."""
        use_attention(self._model, self._usual)
        try:
            yield
        finally:
            use_attention(self._model, ATTENTION)

    def settle(self, ids: Sequence[int], features: Mapping[str, Any]) -> None:
        """Find out, by a prompt with pictures, what the language part is given beside ids."""
        with self.usual_attention():
            given = self.given(ids, features)
        embedded = self.look(ids, features)
        self.planes = len(embedded.positions)
        self.whole = why_whole(given, [name < 0 for name in embedded.names])


def why_whole(given: Mapping[str, Any], seen: Sequence[bool]) -> str | None:
    """Why a prompt can't be computed in pieces, by what the language part is given: what goes with single tokens and
    to the first layer alone can be cut. Raises NotImplementedError where text would have to be computed whole too."""
    others = [n for n, value in given.items() if n not in _BY_TOKEN and any(True for _ in tensors_in(value))]
    others = [name for name in others if not isinstance(given[name], DynamicCache)]
    ahead = {token for mask in tensors_in(given.get("attention_mask")) for token in _look_ahead(mask)}
    if any(not seen[token] for token in ahead):
        raise NotImplementedError("its text tokens see those after them")
    if others:
        return f"its language part gets {', '.join(others)} beside embeddings"
    return "the tokens of a picture see each other in both directions" if ahead else None


def _look_ahead(mask: torch.Tensor) -> list[int]:
    """Return the tokens that see a later one."""
    if mask.dim() != 4:
        return []
    seen = mask if mask.dtype == torch.bool else mask == 0
    found: list[int] = seen[0, 0].triu(1).any(-1).nonzero()[:, 0].tolist()
    return found


def _tell(module: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
    raise Given(kwargs)


def _positions(found: Any, length: int) -> torch.Tensor:
    """Return a prompt's positions, of shape (1 or 3, tokens); a fourth plane is for masks alone."""
    if found is None:
        return torch.arange(length)[None]
    positions: torch.Tensor = found.cpu()
    return positions[-3:, 0] if positions.dim() == 3 else positions[:1]


def _names(ids: Sequence[int], seen: Sequence[bool], embeds: torch.Tensor, positions: torch.Tensor) -> list[int]:
    names = list(ids)
    for inside, run in groupby(range(len(ids)), key=seen.__getitem__):
        if inside:
            places = list(run)
            part = slice(places[0], places[-1] + 1)
            digest: Any = hashlib.blake2b(digest_size=16)
            for tensor in (embeds[part], positions[:, part]):
                digest.update(tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy())
            first = int.from_bytes(digest.digest(), "big") << 32
            names[part] = [-(first + i + 1) for i in range(len(places))]
    return names


def _cut(value: Any, length: int, end: int) -> Any:
    """Return of what goes with single tokens that of the first ones, and all else as it is."""
    by_token = isinstance(value, torch.Tensor) and value.shape == (1, length)
    return value[:, :end] if by_token else value
