"""Take a call of a vision encoder apart into one call for each picture, and put what comes of them together.

transformers gives a model all pictures of a prompt in one call. A call for each is the same but for rounding where
pictures don't see each other: all kinds that were tried, once padding is cut off.

- Patches in one long list (Qwen-VL, GLM-4V) are told apart by `image_grid_thw`.
- Pictures that are padded to the largest (Pixtral and Mistral3 by `image_sizes`, Idefics2 by `pixel_attention_mask`)
  lose their padding, so that one picture is the same beside any other.
- Tiles in a list (Idefics3, SmolVLM, InternVL, Cohere2-Vision) are taken one by one, whichever picture they are of.
- Tiles padded to the picture with the most (LLaVA-NeXT, LLaVA-OneVision) stay, and pictures are known without them.

What stays whole: LLaVA-OneVision cuts a picture into tiles only where it is alone, so its first picture is another one
for the encoder once a second comes. Mllama has no such call. A kind that gives something else in a trial is left whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch

__all__ = ["distinctive", "join", "take_apart"]

_JOINED = ("pooler_output", "deepstack_features")
"""What models read of what their encoders give."""


def take_apart(given: Mapping[str, Any], patch: int) -> list[dict[str, Any]]:
    """Return what each call gets, by the names of the arguments; ``patch`` is the side of a patch in pixels."""
    pixels, grid = given["pixel_values"], given.get("image_grid_thw")
    if grid is not None:
        parts = torch.split(pixels, [int(n) for n in grid.prod(-1)])
        return [{**given, "pixel_values": p, "image_grid_thw": grid[i : i + 1]} for i, p in enumerate(parts)]
    sizes = given.get("image_sizes")
    axis = 1 if pixels.dim() == 5 and sizes is None else 0
    calls = []
    for i in range(pixels.shape[axis]):
        call = {name: _at(value, axis, i, pixels.shape[axis]) for name, value in given.items()}
        calls.append(_without_padding(call, patch))
    return calls


def distinctive(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of a call makes its result: tiles that are zero, at the end, are padding to another picture's number,
    or as good as that, since `image_sizes` says how many a picture has."""
    pixels = call["pixel_values"]
    if pixels.dim() != 5 or call.get("image_sizes") is None:
        return call
    used = int(pixels[0].flatten(1).any(-1).nonzero()[-1:].sum()) + 1
    return {**call, "pixel_values": pixels[:, :used]}


def join(made: Sequence[Any]) -> Any:
    """Return what one call for all would have given. Beside features, what is the same for each picture stays."""
    if len(made) == 1:
        return made[0]
    whole = copy(made[0])
    for name in list(whole.keys()):
        values = [each[name] for each in made]
        whole[name] = _joined(values) if name in _JOINED else values[0] if _same(values) else None
    return whole


def _same(values: Sequence[Any]) -> bool:
    return all(isinstance(each, torch.Tensor) and torch.equal(each, values[0]) for each in values)


def _at(value: Any, axis: int, i: int, count: int) -> Any:
    """Return one picture's part of what is given for all."""
    own = isinstance(value, torch.Tensor) and value.dim() > axis and value.shape[axis] == count
    return value.narrow(axis, i, 1) if own else value


def _without_padding(call: dict[str, Any], patch: int) -> dict[str, Any]:
    pixels, mask, sizes = call["pixel_values"], call.get("pixel_attention_mask"), call.get("image_sizes")
    if sizes is not None and pixels.dim() == 4:
        height, width = (int(n) for n in sizes[0])
        return {**call, "pixel_values": pixels[..., :height, :width]}
    if mask is not None and pixels.dim() == 5:
        height, width = (_extent(mask.flatten(0, -3).any(0).any(axis), patch) for axis in (1, 0))
        cut = {"pixel_values": pixels[..., :height, :width], "pixel_attention_mask": mask[..., :height, :width]}
        return {**call, **cut}
    return call


def _extent(used: torch.Tensor, patch: int) -> int:
    """Return the length of what is used, in whole patches."""
    last = int(used.nonzero()[-1:].sum()) + 1
    return min(-(-last // patch) * patch, used.shape[0])


def _joined(values: Sequence[Any]) -> Any:
    if isinstance(values[0], torch.Tensor):
        return torch.cat(list(values))
    if isinstance(values[0], (list, tuple)) and values[0] and isinstance(values[0][0], torch.Tensor):
        return type(values[0])(each for value in values for each in value)
    if isinstance(values[0], (list, tuple)):  # layer by layer
        return type(values[0])(_joined(each) for each in zip(*values, strict=True))
    return None
