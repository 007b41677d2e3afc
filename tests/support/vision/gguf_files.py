"""A tiny checkpoint with eyes, and the same weights as GGUF files, by llama.cpp's own converter.

What is changed about a checkpoint is what the converter or llama.cpp takes for granted of published ones: names of
tensors, a number of layers, tokens, and sizes that llama.cpp has for constants.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.assets import ROOT, converter_folder
from support.gguf_eyes import write_mmproj
from support.vision.kinds import KINDS

__all__ = ["INTERNVL", "LLAVA", "PUBLISHED", "Published", "save_both"]

_PREFIXED = {"vision_tower.": "vision_tower.vision_model."}
_QWEN_PIXELS = (8 * 8 * 8, 4096 * 8 * 8)
"""llama.cpp gives a picture of these kinds 8 to 4,096 tokens, whatever the checkpoint says."""


@dataclass(frozen=True)
class Published:
    """``size`` is a picture that neither side resizes. ``eyes`` and ``text`` go into the configuration; ``tokens`` are
    added; ``renamed`` are parts of tensors' names, ``for_eyes`` those that are renamed for the second file alone;
    ``text_class`` is the class of the text model; ``pixels`` bound a picture; ``older`` makes tensors and configuration
    of another form, ``by_hand`` the second file."""

    size: tuple[int, int]
    eyes: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    for_eyes: Mapping[str, str] = field(default_factory=dict)
    text_class: str | None = None
    pixels: tuple[int, int] | None = None
    older: Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]] | None = None
    by_hand: Callable[[Path, Path], None] | None = None


def _as_internvl_chat(tensors: dict[str, Any], config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return tensors and configuration of an InternVL under the names of the form that GGUF files are made of."""
    import torch

    names = {
        r"^vision_tower\.embeddings\.cls_token": "vision_model.embeddings.class_embedding",
        r"^vision_tower\.embeddings\.patch_embeddings\.projection": "vision_model.embeddings.patch_embedding",
        r"^vision_tower\.embeddings\.position_embeddings": "vision_model.embeddings.position_embedding",
        r"^vision_tower\.encoder\.layer\.": "vision_model.encoder.layers.",
        r"attention\.projection_layer": "attn.proj",
        r"attention\.q_proj": "attn.qkv",
        "lambda_": "ls",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        r"^multi_modal_projector\.layer_norm": "mlp1.0",
        r"^multi_modal_projector\.linear_1": "mlp1.1",
        r"^multi_modal_projector\.linear_2": "mlp1.3",
    }
    found = {}
    for name, tensor in tensors.items():
        if name.startswith("vision_tower.") and ".attention.q_proj" in name:
            rest = (tensors[name.replace("q_proj", other)] for other in ("k_proj", "v_proj"))
            tensor = torch.cat([tensor, *rest])
        elif name.startswith("vision_tower.") and re.search(r"\.attention\.[kv]_proj", name):
            continue
        for old, new in names.items():
            name = re.sub(old, new, name) if not name.startswith("language_model") else name
        found[name] = tensor.contiguous()
    eyes = {**config["vision_config"], "architectures": ["InternVisionModel"], "image_size": 28, "patch_size": 7}
    text = {**config["text_config"], "architectures": ["Qwen2ForCausalLM"]}
    tiles = {"min_dynamic_patch": 1, "max_dynamic_patch": 4, "downsample_ratio": 0.5}
    return found, {"architectures": ["InternVLChatModel"], "llm_config": text, "vision_config": eyes, **tiles}


def _write_llava_eyes(checkpoint: Path, file: Path) -> None:
    """Write the second file of a LLaVA, whose kind the converter doesn't know."""
    from safetensors.numpy import load_file

    names = {
        "vision_tower.embeddings.class_embedding": "v.class_embd",
        "vision_tower.embeddings.patch_embedding": "v.patch_embd",
        "vision_tower.embeddings.position_embedding": "v.position_embd",
        "vision_tower.pre_layrnorm": "v.pre_ln",
        "vision_tower.encoder.layers.": "v.blk.",
        "layer_norm": "ln",
        "self_attn.out_proj": "attn_out",
        "mlp.fc1": "ffn_up",
        "mlp.fc2": "ffn_down",
        "multi_modal_projector.linear_1": "mm.0",
        "multi_modal_projector.linear_2": "mm.2",
        **{f"self_attn.{part}_proj": f"attn_{part}" for part in "qkv"},
    }
    tensors = {}
    for name, tensor in load_file(checkpoint / "model.safetensors").items():
        for old, new in names.items():
            name = name.replace(old, new)
        tensors[name] = tensor
    eyes = json.loads((checkpoint / "processor_config.json").read_text("utf-8"))["image_processor"]
    write_mmproj(file, width=32, tensors=tensors, mean=eyes["image_mean"], std=eyes["image_std"])


LLAVA = Published((28, 28), text_class="LlamaForCausalLM", by_hand=_write_llava_eyes)
INTERNVL = Published((28, 28), {"num_hidden_layers": 4}, older=_as_internvl_chat)
PUBLISHED = {
    "qwen2_vl": Published((64, 48), {"depth": 4}, pixels=_QWEN_PIXELS),
    "qwen2_5_vl": Published((64, 48), {"depth": 4, "window_size": 112}, pixels=_QWEN_PIXELS),
    "qwen3_vl": Published(
        (64, 48),
        {"depth": 4, "hidden_size": 64, "intermediate_size": 96, "num_position_embeddings": 64},
        {"num_hidden_layers": 4},
        pixels=_QWEN_PIXELS,
    ),
    "gemma3": Published((28, 28), renamed=_PREFIXED),
    "idefics3": Published((64, 64), tokens=("\n\n",), text_class="VLlama3ForCausalLM"),
    "mistral3": Published(
        (56, 42), {"num_hidden_layers": 3}, for_eyes={"language_model.model.embed_tokens": "embed_tokens"}
    ),
}


def save_both(kind: str, folder: Path, row: Published | None = None) -> Path:
    """Write the checkpoint, and ``model.gguf`` with ``mmproj-model.gguf`` beside it."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    made, row = KINDS[kind], row or PUBLISHED[kind]
    processor = made.processor()
    processor.chat_template = made.template
    if row.tokens:
        processor.tokenizer.add_special_tokens({"additional_special_tokens": list(row.tokens)})
    if row.pixels:
        least, most = row.pixels
        processor.image_processor.size = {"shortest_edge": least, "longest_edge": most}
    given = made.config(processor.tokenizer)
    given["vision_config"] = {**given["vision_config"], **row.eyes}
    given["text_config"] = {**given["text_config"], **row.text}
    torch.manual_seed(7)
    model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(made.model_type, **given)).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    _convert(_published(folder, row, {}), folder / "model.gguf")
    if row.by_hand is not None:
        row.by_hand(folder, folder / "mmproj-model.gguf")
    else:
        _convert(_published(folder, row, row.for_eyes), folder / "mmproj-model.gguf", "--mmproj")
    return folder


def _published(folder: Path, row: Published, more: Mapping[str, str]) -> Path:
    """Return a copy of a checkpoint with the names that published ones have."""
    from safetensors.torch import load_file, save_file

    copy = folder.with_name(f"{folder.name}-published")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.gguf"))
    tensors, config = load_file(copy / "model.safetensors"), json.loads((copy / "config.json").read_text("utf-8"))
    if row.older is not None:
        tensors, config = row.older(tensors, config)
    save_file({_named(name, {**row.renamed, **more}): t for name, t in tensors.items()}, copy / "model.safetensors")
    if row.text_class:
        config["text_config"]["architectures"] = [row.text_class]
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    return copy


def _named(name: str, renamed: Mapping[str, str]) -> str:
    for old, new in renamed.items():
        name = name if old in new and new in name else name.replace(old, new)
    return name


def _convert(checkpoint: Path, file: Path, *more: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name("convert.py")), str(converter_folder()), str(checkpoint)]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "--outtype", "f32", "--outfile", str(file), *more],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
