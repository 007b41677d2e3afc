"""Damaged GGUF headers are named in words; none reaches llama.cpp, which would end the process."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from playbill.backends import WeightsError
from playbill.backends.engines.llamacpp.gguf_header import read_header
from support.gguf_header import ARRAY, FLOAT, INT32, SOUND, STRING, UINT32, UINT64, gguf_bytes, text


def write(path: Path, *pairs: tuple[str, int, Any]) -> Path:
    """A file of these pairs and no tensors."""
    path.write_bytes(gguf_bytes(pairs))
    return path


def with_pair(path: Path, key: str, kind: int, content: Any) -> Path:
    changed = {**SOUND, key: (kind, content)}
    return write(path, *((name, *pair) for name, pair in changed.items()))


def test_a_sound_header_is_read(tmp_path):
    """Empty tokens may stand more than once: llama.cpp gives each a name of its own."""
    header = read_header(write(tmp_path / "m.gguf", *((name, *pair) for name, pair in SOUND.items())))
    assert header.of_model("context_length") == 128
    assert header.values["tokenizer.ggml.tokens"] == ["a", "b", "", "", "c"]


@pytest.mark.parametrize(
    ("key", "kind", "content", "said"),
    [
        ("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b", "x", "y", "b"]), "tokens 1 and 4 are the same ('b')"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b", "x", "y", "b\0c"]), "tokens 1 and 4 are the same"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b", "c", "\0x", "[EMPTY_3]"]), "tokens 3 and 4 are the same"),
        ("tokenizer.ggml.tokens", UINT64, 2**64 - 1, "tokens is 18446744073709551615 instead of a list of texts"),
        ("tokenizer.ggml.tokens", ARRAY, (INT32, [1, 2]), "instead of a list of texts"),
        ("tokenizer.ggml.token_type", FLOAT, float("nan"), "token_type is nan instead of a list of numbers"),
        ("tokenizer.ggml.token_type", ARRAY, (INT32, [1]), "5 tokens and 1 type"),
        ("tokenizer.ggml.scores", ARRAY, (FLOAT, [0.0]), "5 tokens and 1 score"),
        ("tokenizer.ggml.scores", UINT32, 5, "tokenizer.ggml.scores is no list of numbers"),
        ("tokenizer.ggml.model", UINT32, 7, "tokenizer.ggml.model is 7 instead of a text"),
        ("tokenizer.chat_template", ARRAY, (STRING, ["x"]), "tokenizer.chat_template is ['x'] instead of a text"),
        ("tokenizer.chat_templates", STRING, "x", "tokenizer.chat_templates is no list of names"),
        ("general.architecture", UINT32, 1, "general.architecture is 1 instead of a text"),
        ("llama.context_length", FLOAT, float("nan"), "llama.context_length is nan instead of a number"),
        ("llama.context_length", INT32, -5, "llama.context_length is -5 instead of a number"),
        ("llama.attention.head_count_kv", ARRAY, (STRING, ["2"]), "head_count_kv is ['2'] instead of a number"),
    ],
)
def test_a_value_that_llama_cpp_cannot_take_is_named(tmp_path, key, kind, content, said):
    """Each is damage that ends the process, or Python's reading of the header, without this check."""
    with pytest.raises(WeightsError) as caught:
        read_header(with_pair(tmp_path / "m.gguf", key, kind, content))
    assert said in str(caught.value)


def test_bytes_that_look_alike_when_shown_are_different_tokens(tmp_path):
    """Two tokens of bytes that are no UTF-8 are both shown as U+FFFD."""
    tokens = [b"\xff", b"\xfe", b"x", b"y", b"z"]
    header = read_header(with_pair(tmp_path / "m.gguf", "tokenizer.ggml.tokens", ARRAY, (STRING, tokens)))
    assert header.values["tokenizer.ggml.tokens"][:2] == ["\ufffd", "\ufffd"]


def test_arrays_of_arrays_and_repeated_keys_are_refused(tmp_path):
    """llama.cpp reads neither; a thousand arrays in one another would use up Python's stack."""
    deep = struct.pack("<IQ", ARRAY, 1) * 5000 + struct.pack("<IQ", UINT32, 0)
    file = tmp_path / "deep.gguf"
    file.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + text("x.deep") + struct.pack("<I", ARRAY) + deep)
    with pytest.raises(WeightsError, match="an array of arrays"):
        read_header(file)
    twice = write(tmp_path / "twice.gguf", ("general.name", STRING, "a"), ("general.name", STRING, "b"))
    with pytest.raises(WeightsError, match=r"the key 'general\.name' twice"):
        read_header(twice)


@pytest.mark.parametrize("kind", [UINT32, STRING])
def test_an_array_longer_than_the_file_takes_no_memory(tmp_path, kind):
    """A length of 2 ** 62 is seen to be wrong before anything is made for it."""
    file = tmp_path / "long.gguf"
    claimed = struct.pack("<IIQ", ARRAY, kind, 1 << 62)
    file.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + text("x.long") + claimed)
    with pytest.raises(WeightsError, match="is no GGUF file that can be read"):
        read_header(file)
