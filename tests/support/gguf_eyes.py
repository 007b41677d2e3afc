"""A GGUF model that sees: SmolLM2's first two layers, and a LLaVA projector with random weights beside them.

The files are what llama.cpp reads of published ones; a picture has sixteen tokens, whatever its size. Knows no test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from support.gguf_smollm2 import copy_model
from support.smollm2 import made_once

PLACEHOLDER = "<image>"
TOKENS = 16
"""Of a picture."""
WIDTH = 576
"""Of SmolLM2's vectors."""
_EYES, _PATCH, _IMAGE, _LAYERS = 32, 7, 28, 2
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def seeing_folder() -> Path:
    """A folder with ``model.gguf`` and ``mmproj-model-f32.gguf``, in the cache of the tests."""

    def make(folder: Path) -> None:
        copy_model(folder / "model.gguf", rename={"<file_sep>": PLACEHOLDER}, template=TEMPLATE)
        write_mmproj(folder / "mmproj-model-f32.gguf")

    return made_once("smollm2-seeing", make)


def entry_of(source: Path, **more: Any) -> dict[str, Any]:
    """Return an entry for a folder or a file."""
    return {
        "model_name": "eyes",
        "backend": "llamacpp",
        "huggingface_id": str(source),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "n_ctx": 1024,
        "threads": 1,
        "multimodality": {"single_image": True, "multiple_images": True},
        **more,
    }


def write_mmproj(
    path: Path,
    *,
    width: int = WIDTH,
    kind: str = "mlp",
    tensors: Mapping[str, Any] | None = None,
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.5, 0.5, 0.5),
) -> Path:
    """Write a projector whose vectors are so wide, with random weights unless there are ``tensors``; ``kind`` is what
    it calls itself."""
    import numpy
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", kind)
    numbers = {"image_size": _IMAGE, "patch_size": _PATCH, "embedding_length": _EYES, "feed_forward_length": 48}
    numbers |= {"block_count": _LAYERS, "attention.head_count": 4, "projection_dim": width}
    for name, value in numbers.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", list(mean))
    writer.add_array("clip.vision.image_std", list(std))
    writer.add_bool("clip.use_gelu", False)
    random = numpy.random.default_rng(0)

    def add(name: str, *shape: int, ones: bool = False) -> None:
        values: Any = numpy.ones(shape) if ones else random.normal(0, 0.15, shape)
        values = values if tensors is None else tensors[name].reshape(shape)
        writer.add_tensor(name, values.astype(numpy.float32))

    def add_pair(name: str, *shape: int, ones: bool = False) -> None:
        add(f"{name}.weight", *shape, ones=ones)
        add(f"{name}.bias", shape[0])

    add("v.class_embd", _EYES)
    add("v.patch_embd.weight", _EYES, 3, _PATCH, _PATCH)
    add("v.position_embd.weight", TOKENS + 1, _EYES)
    add_pair("v.pre_ln", _EYES, ones=True)
    for layer in (f"v.blk.{i}" for i in range(_LAYERS)):
        for norm in ("ln1", "ln2"):
            add_pair(f"{layer}.{norm}", _EYES, ones=True)
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            add_pair(f"{layer}.{part}", _EYES, _EYES)
        add_pair(f"{layer}.ffn_up", 48, _EYES)
        add_pair(f"{layer}.ffn_down", _EYES, 48)
    add_pair("mm.0", width, _EYES)
    add_pair("mm.2", width, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
