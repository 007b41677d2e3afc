"""Judge what an entry says of pictures, by its words alone: other media, and checkpoints that have a second form.

The rows are published checkpoints that registries name, as their model pages were in 2026-11. Asks no hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from playbill.backends.common.findings import Finding
from playbill.backends.registry import rules
from playbill.backends.registry.fields.multimodality import other_media, pictures_taken

__all__ = ["OTHER_CHECKPOINTS", "OtherCheckpoint", "judge_pictures"]

_CODE = "is Python code in its repository, which transformers has no class of its own for"


@dataclass(frozen=True, slots=True)
class OtherCheckpoint:
    """A pattern of repository names, why transformers can't take pictures with them, and what to take in their place;
    ``\\1`` there is the pattern's group."""

    repository: str
    reason: str
    instead: str


OTHER_CHECKPOINTS = (
    OtherCheckpoint(r"OpenGVLab/(InternVL3(?:_5)?-\d+B)", _CODE, r"take OpenGVLab/\1-hf, the same weights"),
    OtherCheckpoint(
        r"OpenGVLab/(?:InternVL2|InternVL-Chat|Mini-InternVL).*(?<!-hf)",
        f"{_CODE}, and no form for transformers is published",
        "take a later one, as OpenGVLab/InternVL3-8B-hf",
    ),
    OtherCheckpoint(
        r"internlm/internlm-xcomposer.*", f"{_CODE}, and is called by a method of its own", "take another model"
    ),
    OtherCheckpoint(
        r"(?:cognitivecomputations|dphn)/dolphin-vision.*",
        f"{_CODE}, and cuts prompts at a placeholder by itself",
        "take another model",
    ),
    OtherCheckpoint(r"microsoft/Phi-3(?:\.5)?-vision.*", f"{_CODE} (`phi3_v`)", "take another model; vllm can run it"),
    OtherCheckpoint(
        r"mistralai/(Pixtral-12B)-2409",
        "has its weights and tokenizer in Mistral's own form, without a config.json",
        "take mistral-community/pixtral-12b, the same weights",
    ),
    OtherCheckpoint(
        r"HuggingFaceM4/idefics-(?:9b|80b).*",
        "has a processor that puts pictures between pieces of a prompt, without a chat template or a placeholder",
        "take a later one, as HuggingFaceM4/Idefics3-8B-Llama3",
    ),
    OtherCheckpoint(r"liuhaotian/llava-v1\.(?:5|6)-.*", f"{_CODE}", "take its form for transformers, under llava-hf/"),
)
"""Looked for in this order."""


def judge_pictures(entry: Mapping[str, Any], paths: Mapping[str, str], where: str) -> Iterator[Finding]:
    """Yield what is to be said of an entry's ``multimodality``."""
    if media := other_media(entry):
        message = f"says that the model takes {' and '.join(media)}; Playbill sends text and pictures"
        yield rules.OTHER_MEDIA.at(paths.get("multimodality", where), message)
    if entry.get("mmproj") and not pictures_taken(entry).any:
        message = "names a file that sees, and multimodality doesn't say that the model takes pictures"
        mend = 'set "multimodality": {"single_image": true, "multiple_images": true}, or take mmproj out'
        yield rules.REFUSED_KEY.at(paths.get("mmproj", where), message, mend)
    name = entry.get("huggingface_id")
    if entry.get("backend") != "huggingface_local" or not pictures_taken(entry).any or not isinstance(name, str):
        return
    for row in OTHER_CHECKPOINTS:
        if match := re.fullmatch(row.repository, name):
            yield rules.OTHER_CHECKPOINT.at(
                paths.get("huggingface_id", where), f"{name} {row.reason}", match.expand(row.instead)
            )
            return
