"""The non-fast tokenizer: a model's own SentencePiece file, encoded by SentencePiece itself.

transformers 5 ignores ``use_fast`` and rebuilds every SentencePiece model in Rust, which for some texts gives
other ids. Here its SentencePiece class encodes; decoding is our own, since its one breaks byte pieces and strips.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from playbill.backends.common.packages import installed_version
from playbill.backends.engines.checkpoint.source import Source

__all__ = ["SentencePieceTokenizer", "load_slow"]

_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model")
_SPACE = "▁"


class SentencePieceTokenizer:
    """A SentencePiece model with the added tokens of its repository."""

    def __init__(self, backend: Any, *, prefix_space: bool) -> None:
        self._backend = backend
        self._model = backend.sp_model
        self._prefix_space = prefix_space

    def encode(self, text: str) -> list[int]:
        backend = self._backend
        if not text or not self._prefix_space:
            return list(backend.convert_tokens_to_ids(backend.tokenize(text, split_special_tokens=False)))
        tokens = backend.tokenize(_SPACE + text.replace(_SPACE, " "), split_special_tokens=False)
        if len(tokens) > 1 and tokens[0] == _SPACE and tokens[1] in backend.added_tokens_encoder:
            tokens = tokens[1:]
        return list(backend.convert_tokens_to_ids(tokens))

    def decode(self, ids: Sequence[int]) -> str:
        added = self._backend.added_tokens_decoder
        text = b"".join(self._bytes(i, added) for i in ids).decode("utf-8", errors="replace")
        first_is_text = bool(ids) and ids[0] not in added
        return text[1:] if first_is_text and text.startswith(" ") else text

    def _bytes(self, token: int, added: Mapping[int, Any]) -> bytes:
        if token in added:
            return str(added[token]).encode()
        if token >= self._model.get_piece_size():
            return b""
        piece = self._model.id_to_piece(token)
        if self._model.is_byte(token):
            return bytes([int(piece[3:-1], 16)])
        return str(piece).replace(_SPACE, " ").encode()

    def token_bytes(self, token: int) -> bytes:
        return self._bytes(token, self._backend.added_tokens_decoder)

    def special_ids(self) -> frozenset[int]:
        control = (i for i in range(self._model.get_piece_size()) if self._model.is_control(i))
        added = (i for i, token in self._backend.added_tokens_decoder.items() if token.special)
        return frozenset([*self._backend.all_special_ids, *added, *control])

    def facts(self) -> Mapping[str, Any]:
        return {
            "class": type(self._backend).__name__,
            "slow": True,
            "slow_asked": True,
            "transformers": installed_version("transformers"),
            "sentencepiece": installed_version("sentencepiece"),
        }


def load_slow(source: Source, fast: Any) -> SentencePieceTokenizer | None:
    """Return the SentencePiece tokenizer of a model; None where it has no such file, or one that the model's ids don't
    follow: some models number their pieces differently, which only a class of their own would know."""
    from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

    file = next((name for name in _FILES if _is_sentencepiece(source.folder / name)), None)
    if file is None:
        return None
    own: Any = type("SentencePieceBackend", (SentencePieceBackend,), {"vocab_files_names": {"vocab_file": file}})
    backend = own.from_pretrained(source.name, **source.options)
    if not _same_numbers(backend.sp_model, fast):
        return None
    return SentencePieceTokenizer(backend, prefix_space=_wants_prefix_space(source.folder))


def _is_sentencepiece(path: Path) -> bool:
    """Tell whether the file is there and SentencePiece can read it; files of that name may be tiktoken's."""
    from sentencepiece import SentencePieceProcessor

    if not path.is_file():
        return False
    try:
        return bool(SentencePieceProcessor().Load(str(path)))
    except RuntimeError:
        return False


def _same_numbers(model: Any, fast: Any) -> bool:
    size = model.get_piece_size()
    names = fast.convert_ids_to_tokens(range(min(size, len(fast))))
    same = sum(1 for i, name in enumerate(names) if name == model.id_to_piece(i))
    return bool(same >= 0.9 * size)


def _wants_prefix_space(folder: Path) -> bool:
    """Tell whether one space goes before the whole text, and none after special tokens: Llama's ``legacy: false``."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    is_llama = "Llama" in str(config.get("tokenizer_class"))
    return is_llama and config.get("legacy") is False and config.get("add_prefix_space") is not False
