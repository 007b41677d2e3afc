"""Keep what a model's vision encoder made of pictures, by the bits that it was given.

transformers encodes a dialogue's pictures anew at every turn. Its models get at their encoder by one method,
`get_image_features`, which is a function of its tensors alone: called with the same bits it gives the same bits, so its
result can be kept without changing an answer. Where pictures are encoded ``apart``, a new one in a dialogue is encoded
alone, and what was made of the earlier ones is taken as it is, to the bit.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from playbill.backends.engines.huggingface_local.vision.apart import distinctive, join, take_apart

__all__ = ["FeatureMemory", "tensors_in"]

_METHOD = "get_image_features"
_MOST_BYTES = 1 << 30
_UNREAD = ("hidden_states", "attentions")
"""What encoders give beside, layer by layer, that no model reads after its features are made."""


class FeatureMemory:
    """Image features by a digest of what they were computed from, the longest unused given up first.

    ``computed`` and ``reused`` count calls of the encoder, and those that were spared; ``apart`` says whether each
    picture has a call of its own.
    """

    def __init__(self, model: Any, most_bytes: int = _MOST_BYTES) -> None:
        self._owner = next((module for module in _inner_first(model) if hasattr(module, _METHOD)), None)
        self._kept: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._most_bytes = most_bytes
        self.apart = False
        self.computed = 0
        self.reused = 0
        if self._owner is not None:
            self._patch = _patch_side(self._owner)
            setattr(self._owner, _METHOD, self._remembering(getattr(self._owner, _METHOD)))

    def clear(self) -> bool:
        """Give all of it up; tell whether there was anything."""
        held = bool(self._kept)
        self._kept.clear()
        self._bytes = 0
        return held

    def close(self) -> None:
        """Leave the model as it was."""
        self.clear()
        if self._owner is not None and _METHOD in vars(self._owner):
            delattr(self._owner, _METHOD)

    def _remembering(self, encode: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(encode)

        def remembered(*args: Any, **kwargs: Any) -> Any:
            if not self.apart:
                return self._recalled(encode, args, kwargs)
            bound = signature.bind(*args, **kwargs)
            named = {name: value for name, value in bound.arguments.items() if name != "kwargs"}
            others = bound.arguments.get("kwargs", {})
            calls = take_apart(named, self._patch)
            return join([self._recalled(encode, (), {**call, **others}, distinctive(call)) for call in calls])

        return remembered

    def _recalled(
        self, encode: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], known_by: Any = None
    ) -> Any:
        key = _digest(known_by if known_by is not None else (args, kwargs))
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            self.reused += 1
            return found[0]
        self.computed += 1
        made = _without_unread(encode(*args, **kwargs))
        self._keep(key, made)
        return made

    def _keep(self, key: bytes, made: Any) -> None:
        size = sum({t.data_ptr(): t.nelement() * t.element_size() for t in tensors_in(made)}.values())
        if size > self._most_bytes:
            return
        self._kept[key] = (made, size)
        self._bytes += size
        while self._bytes > self._most_bytes:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed


def _inner_first(model: Any) -> Iterator[Any]:
    """Yield the model without its head before the model itself, whose method calls the inner one."""
    inner = getattr(model, "model", None)
    if inner is not None:
        yield inner
    yield model


def _without_unread(made: Any) -> Any:
    for name in _UNREAD:
        if getattr(made, name, None) is not None:
            made[name] = None
    return made


def _patch_side(owner: Any) -> int:
    """Return the side of a picture's patch in pixels, 1 where the model doesn't tell."""
    found = getattr(getattr(owner.config, "vision_config", None), "patch_size", 1)
    return int(found) if isinstance(found, int) else int(max(found))


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in something nested."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors_in(each)


def _digest(value: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=20)
    _feed(digest, value)
    return digest.digest()


def _feed(digest: Any, value: Any) -> None:
    """Add a value to a digest: a tensor by its shape, number format and bits, all else by its text."""
    if isinstance(value, torch.Tensor):
        plain = value.detach().to("cpu").contiguous()
        digest.update(repr((tuple(plain.shape), plain.dtype)).encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        for name in sorted(value):
            digest.update(f"{name}=".encode())
            _feed(digest, value[name])
    elif isinstance(value, (list, tuple)):
        digest.update(f"[{len(value)}".encode())
        for each in value:
            _feed(digest, each)
    else:
        digest.update(f"{type(value).__name__}:{value!r};".encode())
