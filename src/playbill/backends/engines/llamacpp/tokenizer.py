"""llama.cpp's own tokenizer, with or without the model's weights.

Without weights, a copy of the file's tokenizer is combined with an empty one-layer model, which loads in a fraction
of a second: the ids are llama.cpp's own.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from playbill.backends.engines.llamacpp.gguf_header import GgufHeader
from playbill.backends.engines.llamacpp.server import LlamaServer, xllamacpp
from playbill.backends.engines.llamacpp.vocabulary import Vocabulary

__all__ = ["GgufTokenizer", "shell_params", "tokenizer_server", "write_shell"]

_COPIED = ("tokenizer.", "general.name")
_WIDTH = 2
_UINT32, _FLOAT32, _STRING, _F32_TENSOR, _ALIGNMENT = 4, 6, 8, 0, 32


class AddedIds(NamedTuple):
    """Ids before and after a text."""

    before: tuple[int, ...]
    after: tuple[int, ...]


class GgufTokenizer:
    """A `Tokenizer` whose ids are llama.cpp's, from a server that has the file's vocabulary."""

    def __init__(self, vocabulary: Vocabulary, server: LlamaServer) -> None:
        self.vocabulary = vocabulary
        self._server = server

    def encode(self, text: str) -> list[int]:
        return self._encoded(text, add_special=False) if text else []

    def added_ids(self) -> AddedIds:
        """Return what llama.cpp puts around a text that it encodes itself, as it does for one with pictures."""
        plain, whole = self.encode("a"), self._encoded("a", add_special=True)
        at = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
        return AddedIds(tuple(whole[:at]), tuple(whole[at + len(plain) :]))

    def _encoded(self, text: str, *, add_special: bool) -> list[int]:
        asked = {"content": text, "add_special": add_special, "parse_special": True}
        return [int(i) for i in self._server.post("/tokenize", asked)["tokens"]]

    def decode(self, ids: Sequence[int]) -> str:
        return self.vocabulary.decode(ids)

    def token_bytes(self, token: int) -> bytes:
        return self.vocabulary.pieces[token]

    def special_ids(self) -> frozenset[int]:
        return self.vocabulary.special

    def facts(self) -> Mapping[str, Any]:
        return {
            "class": "llama.cpp",
            "slow": False,
            "adds_bos": self.vocabulary.adds_bos,
            "xllamacpp": xllamacpp.__version__,
        }

    def ending_ids(self) -> tuple[int, ...]:
        """Return the tokens at which llama.cpp itself ends a generation, by the file's word or by their text.

        It doesn't list them, but with ``ignore_eos`` it forbids just these, and says what is forbidden.
        """
        asked = {"prompt": [0], "n_predict": 1, "ignore_eos": True, "cache_prompt": False}
        answer = self._server.post("/completion", asked)
        return tuple(sorted(int(each["token"]) for each in answer["generation_settings"]["logit_bias"]))


def tokenizer_server(header: GgufHeader) -> LlamaServer:
    """Return a server that has the file's tokenizer and no weights."""
    with tempfile.TemporaryDirectory(prefix="playbill-") as folder:
        shell = Path(folder) / "tokenizer.gguf"
        write_shell(header, shell)
        params = shell_params(shell)
        params.enable_chat_template = False
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE  # the file goes away
        return LlamaServer(params)


def shell_params(shell: Path) -> Any:
    """Return the parameters of a server that only encodes or counts, over a file that `write_shell` wrote."""
    params = xllamacpp.CommonParams()
    params.model.path = str(shell)
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 2
    params.n_gpu_layers = 0
    params.cache_ram_mib = 0
    params.warmup = params.use_jinja = False
    return params


def write_shell(header: GgufHeader, path: Path, width: int = _WIDTH) -> None:
    """Write a GGUF file with another's tokenizer and a model of all zeros, whose vectors are so wide."""
    size = len(header.values["tokenizer.ggml.tokens"])
    pairs = [_pair("general.architecture", _STRING, _text("llama"))]
    numbers = {"block_count": 1, "context_length": 256, "embedding_length": width, "feed_forward_length": width}
    numbers |= {"attention.head_count": 1, "rope.dimension_count": width, "vocab_size": size}
    pairs += [_pair(f"llama.{name}", _UINT32, struct.pack("<I", value)) for name, value in numbers.items()]
    pairs.append(_pair("llama.attention.layer_norm_rms_epsilon", _FLOAT32, struct.pack("<f", 1e-5)))
    pairs += [raw for key, raw in header.raw.items() if key.startswith(_COPIED) and "chat_template" not in key]
    tensors, length = _tensors(size, width)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(tensors)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(_aligned(len(head)) + length)


def _tensors(vocabulary_size: int, width: int) -> tuple[list[bytes], int]:
    """Return the descriptions of the tensors of a one-layer model, and the length of their zeros."""
    vector, matrix = (width,), (width, width)
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (width, vocabulary_size), "output_norm": vector}
    shapes |= {f"blk.0.{name}_norm": vector for name in ("attn", "ffn")}
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes |= {f"blk.0.{name}": matrix for name in names}
    described, offset = [], 0
    for name, shape in shapes.items():
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        described.append(_text(f"{name}.weight") + dimensions + struct.pack("<IQ", _F32_TENSOR, offset))
        numbers = shape[0] * (shape[1] if len(shape) > 1 else 1)
        offset += _aligned(4 * numbers)
    return described, offset


def _aligned(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value
