"""Find what is wrong with the values of a GGUF header, before llama.cpp sees them.

llama.cpp checks some of them by assertions, which end the process, and reads others without a check. What it relies on
was read in its sources (llama-vocab.cpp, gguf.cpp) and tried with xllamacpp 2026.10. Reads no file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from playbill.backends.common.words import counted

__all__ = ["find_fault"]

_TOKENS, _TYPES, _SCORES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores"
_COUNTS = (
    "context_length",
    "embedding_length",
    "block_count",
    "attention.key_length",
    "attention.value_length",
    "rope.scaling.original_context_length",
)
_HEADS = ("attention.head_count", "attention.head_count_kv")
_ALIGNMENT = "general.alignment"
_MOST_LAYERS = 512  # as many as llama.cpp has room for
_TYPE, _LENGTH = struct.Struct("<I"), struct.Struct("<Q")
_UINT32, _ARRAY = 4, 9


def find_fault(values: Mapping[str, Any], raw: Mapping[str, bytes]) -> str | None:
    """Return the first fault, as the rest of a sentence about the file; None where there is none.

    ``values`` are by key; ``raw`` is each pair of key and value as it stands in the file.
    """
    checks: tuple[Callable[[], str | None], ...] = (
        lambda: _texts(values),
        lambda: _numbers(values),
        lambda: _sizes(values, raw),
        lambda: _vocabulary(values, raw),
    )
    return next((fault for check in checks if (fault := check()) is not None), None)


def _texts(values: Mapping[str, Any]) -> str | None:
    names = [name for name in values if name == "general.architecture" or name.startswith("tokenizer.chat_template")]
    for name in ("tokenizer.ggml.model", "tokenizer.ggml.pre", *names):
        value = values.get(name)
        if name == "tokenizer.chat_templates":
            if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
                return f"its {name} is no list of names"
        elif value is not None and not isinstance(value, str):
            return f"its {name} is {_shown(value)} instead of a text"
    return None


def _numbers(values: Mapping[str, Any]) -> str | None:
    architecture = values.get("general.architecture")
    for name in (*_COUNTS, *_HEADS):
        value = values.get(f"{architecture}.{name}")
        each = value if name in _HEADS and isinstance(value, list) else [value]
        if value is not None and not all(_is_count(number) for number in each):
            return f"its {architecture}.{name} is {_shown(value)} instead of a number of 0 or more"
    return None


def _sizes(values: Mapping[str, Any], raw: Mapping[str, bytes]) -> str | None:
    alignment = values.get(_ALIGNMENT)
    if alignment is not None:
        is_plain = _TYPE.unpack_from(raw[_ALIGNMENT], 8 + len(_ALIGNMENT))[0] == _UINT32
        if not is_plain or alignment < 1 or alignment & (alignment - 1):
            return f"its {_ALIGNMENT} is {_shown(alignment)} instead of a power of two in four bytes"
    layers = values.get(f"{values.get('general.architecture')}.block_count")
    if layers is not None and layers > _MOST_LAYERS:
        return f"it has {counted(layers, 'layer')}, and llama.cpp has room for {_MOST_LAYERS}"
    return None


def _vocabulary(values: Mapping[str, Any], raw: Mapping[str, bytes]) -> str | None:
    tokens = values.get(_TOKENS)
    if tokens is None:
        return None
    if not (isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)):
        return f"its {_TOKENS} is {_shown(tokens)} instead of a list of texts"
    types = values.get(_TYPES)
    if types is not None and not (isinstance(types, list) and all(_is_count(kind) for kind in types)):
        return f"its {_TYPES} is {_shown(types)} instead of a list of numbers"
    if types is not None and len(types) != len(tokens):
        return f"it has {counted(len(tokens), 'token')} and {counted(len(types), 'type')} of tokens"
    scores = _array_length(raw[_SCORES], _SCORES) if _SCORES in raw else len(tokens)
    if scores is None:
        return f"its {_SCORES} is no list of numbers"
    if scores != len(tokens):
        return f"it has {counted(len(tokens), 'token')} and {counted(scores, 'score')} of tokens"
    return _duplicate(tokens, raw[_TOKENS])


def _array_length(pair: bytes, key: str) -> int | None:
    """Return how long the array of a raw pair is, None where its value is none.

    After the key come the type, and of an array the type of its elements and its length.
    """
    at = 8 + len(key.encode())
    return int(_LENGTH.unpack_from(pair, at + 8)[0]) if _TYPE.unpack_from(pair, at)[0] == _ARRAY else None


def _duplicate(tokens: Sequence[str], pair: bytes) -> str | None:
    """Return which token stands twice, as llama.cpp reads it: up to a NUL; empty ones get a name of their own."""
    if len(set(tokens)) == len(tokens) and not any("\0" in token for token in tokens):
        return None
    first: dict[bytes, int] = {}
    at = 8 + len(_TOKENS.encode()) + 16
    for number in range(len(tokens)):
        (length,) = _LENGTH.unpack_from(pair, at)
        token = pair[at + 8 : at + 8 + length].partition(b"\0")[0] or b"[EMPTY_%d]" % number
        at += 8 + length
        if (before := first.setdefault(token, number)) != number:
            return f"its tokens {before} and {number} are the same ({_shown(token.decode('utf-8', 'replace'))})"
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _shown(value: Any) -> str:
    return repr(value)[:60]
