"""Headers of GGUF files, written pair by pair, right or wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

__all__ = ["ARRAY", "FLOAT", "INT32", "SOUND", "STRING", "UINT32", "UINT64", "gguf_bytes", "text", "value"]

UINT32, INT32, FLOAT, STRING, ARRAY, UINT64 = 4, 5, 6, 8, 9, 10
SOUND = {
    "general.architecture": (STRING, "llama"),
    "llama.context_length": (UINT32, 128),
    "llama.attention.head_count_kv": (ARRAY, (UINT32, [2, 2])),
    "tokenizer.ggml.model": (STRING, "gpt2"),
    "tokenizer.ggml.tokens": (ARRAY, (STRING, ["a", "b", "", "", "c"])),
    "tokenizer.ggml.token_type": (ARRAY, (INT32, [1, 1, 1, 1, 3])),
    "tokenizer.ggml.scores": (ARRAY, (FLOAT, [0.0] * 5)),
    "tokenizer.chat_template": (STRING, "{{ messages }}"),
}


def text(content: str | bytes) -> bytes:
    raw = content if isinstance(content, bytes) else content.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, content: Any) -> bytes:
    if kind == STRING:
        return text(content)
    if kind == ARRAY:
        of, items = content
        return struct.pack("<IQ", of, len(items)) + b"".join(value(of, item) for item in items)
    return struct.pack("<" + {UINT32: "I", INT32: "i", FLOAT: "f", UINT64: "Q"}[kind], content)


def gguf_bytes(pairs: Iterable[tuple[str, int, Any]], tensors: bytes = b"", count: int = 0) -> bytes:
    """A header of these pairs, and of ``count`` tensors as they stand."""
    pairs = list(pairs)
    body = b"".join(text(key) + struct.pack("<I", kind) + value(kind, content) for key, kind, content in pairs)
    return struct.pack("<4sIQQ", b"GGUF", 3, count, len(pairs)) + body + tensors
