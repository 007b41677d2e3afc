"""How each kind of mmproj file stands in a prompt: what a chat template writes for a picture, and what llama.cpp adds.

llama.cpp puts a picture in the place of a marker and writes some models' marks around it by itself; what is beside
them is Playbill's. The rows follow llama.cpp's mtmd.cpp and the processors of transformers; a test holds each against
both. A kind without a row is refused: a mark too many or too few gives other answers, and no error. Opens no picture.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from playbill.backends.errors import WeightsError

__all__ = ["PROJECTORS", "Projector", "kind_of", "otherwise", "projector_of", "width_of_model", "width_of_pictures"]


@dataclass(frozen=True, slots=True)
class Projector:
    """``placeholder`` is what a template writes for a picture.

    ``begin`` and ``end`` are the marks that llama.cpp writes around it; ``written``: the template writes them too, so
    they are taken out of its text. ``before`` and ``after`` are what transformers' processor writes beside that, and
    llama.cpp doesn't. ``tiles``: a large picture becomes several, with marks between them. ``token`` stands for a
    picture's vectors in ids, where that isn't the placeholder.
    """

    placeholder: str
    begin: str = ""
    end: str = ""
    written: bool = False
    before: str = ""
    after: str = ""
    tiles: bool = False
    token: str | None = None


_QWEN = Projector("<|image_pad|>", "<|vision_start|>", "<|vision_end|>", written=True)

PROJECTORS: Mapping[str, Projector] = {
    "mlp": Projector("<image>"),
    "qwen2vl_merger": _QWEN,
    "qwen2.5vl_merger": _QWEN,
    "qwen3vl_merger": _QWEN,
    "gemma3": Projector(
        "<start_of_image>",
        "<start_of_image>",
        "<end_of_image>",
        before="\n\n",
        after="\n\n",
        token="<image_soft_token>",
    ),
    "idefics3": Projector("<image>", tiles=True),
    "internvl": Projector("<IMG_CONTEXT>", "<img>", "</img>", tiles=True),
    "pixtral": Projector("[IMG]", end="[IMG_END]"),
}
"""By the name in the file's header."""

_CLASS_TOKEN = "v.class_embd"
_OTHERWISE = {
    "mlp": "its encoder's class token stands last instead of first, so the first patch of a picture is left out, and "
    "the class token taken in its place",
    "internvl": "its encoder's class token stands last instead of first, so each patch of a picture has its "
    "neighbour's position",
}
"""What llama.cpp does to kinds whose encoder has a class token; tests show it, and fail once it is mended."""


def projector_of(values: Mapping[str, Any], file: str) -> Projector:
    """Return the row of an mmproj file by its header's values. Raises WeightsError for one that sees nothing, or of a
    kind without a row."""
    kind = kind_of(values)
    if values.get("general.architecture") != "clip" or not values.get("clip.has_vision_encoder"):
        raise WeightsError(f"{file} holds no model that sees pictures (general.architecture, clip.has_vision_encoder)")
    if kind not in PROJECTORS:
        raise WeightsError(
            f"{file} is of the kind {kind[:60]!r}, for which Playbill doesn't know what a prompt must hold; it "
            f"knows {', '.join(PROJECTORS)}; take the model under huggingface_local, or behind llamacpp_server"
        )
    return PROJECTORS[kind]


def otherwise(values: Mapping[str, Any], tensors: Collection[str]) -> str | None:
    """Return how llama.cpp runs an mmproj file otherwise than its model was trained; None where nothing is known."""
    said = _OTHERWISE.get(kind_of(values)) if _CLASS_TOKEN in tensors else None
    return (
        said and f"llama.cpp runs the kind '{kind_of(values)}' otherwise than transformers: {said} (xllamacpp 2026.10)"
    )


def kind_of(values: Mapping[str, Any]) -> str:
    """Return what an mmproj file calls itself."""
    return str(values.get("clip.vision.projector_type") or values.get("clip.projector_type"))


def width_of_pictures(values: Mapping[str, Any]) -> int | None:
    """Return how wide the vectors are that an mmproj file makes of pictures; None where its header doesn't tell."""
    width = values.get("clip.vision.projection_dim")
    deep = values.get("clip.vision.is_deepstack_layers")
    layers = sum(map(bool, deep)) if isinstance(deep, list) else 0
    return width * (1 + layers) if isinstance(width, int) else None


def width_of_model(values: Mapping[str, Any]) -> int | None:
    """Return how wide the vectors are that a model reads in a picture's place."""
    kind = values.get("general.architecture")
    width, deep = values.get(f"{kind}.embedding_length"), values.get(f"{kind}.n_deepstack_layers")
    return width * (1 + (deep if isinstance(deep, int) else 0)) if isinstance(width, int) else None
