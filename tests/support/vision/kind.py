"""What kinds of vision models are described by, and the sizes that most of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
    "projection_dim": 16,
}


@dataclass(frozen=True)
class Kind:
    """``processor`` makes the processor, ``config`` the arguments of the configuration for its tokenizer;
    ``torchvision`` says that the processor needs it, ``strings`` that the template reads content that is a string."""

    model_type: str
    template: str
    processor: Callable[[], Any]
    config: Callable[[Any], dict[str, Any]]
    torchvision: bool = False
    strings: bool = False


def token_id(tokenizer: Any, token: str) -> int:
    return int(tokenizer.convert_tokens_to_ids(token))
