"""A GGUF file of a few kilobytes: a tokenizer of bytes and a chat template, without weights. Opens in no time."""

from __future__ import annotations

import support.proof_planted as planted
from playbill.backends.engines.detokenize import byte_of_character
from support.gguf_header import ARRAY, INT32, STRING, UINT32, gguf_bytes

__all__ = ["tiny_gguf"]


def tiny_gguf(template: str = planted.CHATML) -> bytes:
    """The file's bytes: one token for each byte, and two that ChatML needs."""
    tokens = [*byte_of_character(), "<|im_start|>", "<|im_end|>"]
    kinds = [1] * (len(tokens) - 2) + [3, 3]
    pairs = {
        "general.architecture": (STRING, "llama"),
        "llama.context_length": (UINT32, 2048),
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, "gpt-2"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
        "tokenizer.ggml.token_type": (ARRAY, (INT32, kinds)),
        "tokenizer.ggml.merges": (ARRAY, (STRING, ["a b"])),
        "tokenizer.ggml.eos_token_id": (UINT32, len(tokens) - 1),
        "tokenizer.chat_template": (STRING, template),
    }
    return gguf_bytes((key, *value) for key, value in pairs.items())
