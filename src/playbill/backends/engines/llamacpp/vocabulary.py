"""Read a GGUF's vocabulary: the bytes of each token, and which tokens are special.

llama.cpp's ``/detokenize`` returns text, so it can't join a character that spans tokens; this table can. A test
compares the two, token by token.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from playbill.backends.engines.detokenize import byte_of_character
from playbill.backends.engines.llamacpp.gguf_header import GgufHeader
from playbill.backends.errors import WeightsError

__all__ = ["Vocabulary", "incomplete"]

_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 2, 3, 4, 5, 6
_BYTE_LEVEL = "gpt2"
_SPACE_MARK = "\u2581"
_RENDERED = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")


class Vocabulary:
    """Tokens by id. Raises WeightsError for a file without a tokenizer."""

    def __init__(self, header: GgufHeader) -> None:
        texts = header.values.get("tokenizer.ggml.tokens")
        if not texts:
            raise WeightsError("the GGUF file has no tokenizer in it")
        self.header = header
        self.texts: Sequence[str] = texts
        types = header.values.get("tokenizer.ggml.token_type") or ()
        self._types = [*types, *([1] * (len(texts) - len(types)))]
        self._byte_level = header.values.get("tokenizer.ggml.model") == _BYTE_LEVEL

    @cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of each token, special ones written out."""
        table = byte_of_character()
        return [self._piece(text, kind, table) for text, kind in zip(self.texts, self._types, strict=True)]

    def _piece(self, text: str, kind: int, table: dict[str, int]) -> bytes:
        if kind in (_CONTROL, _UNKNOWN, _USER_DEFINED):
            return text.encode()
        if kind == _UNUSED:
            return b""
        if kind == _BYTE:
            return bytes([int(text[3:5], 16)]) if text.startswith("<0x") else text.encode()
        if not self._byte_level:
            return text.replace(_SPACE_MARK, " ").encode()
        try:
            return bytes(table[char] for char in text)
        except KeyError:  # a token that is no byte-level text; llama.cpp writes an error text for it
            return text.encode()

    @cached_property
    def special(self) -> frozenset[int]:
        """Control tokens, which llama.cpp leaves out of texts."""
        kinds = enumerate(self._types)
        return frozenset(i for i, kind in kinds if kind == _CONTROL and self.texts[i] not in _RENDERED)

    @cached_property
    def ids_by_piece(self) -> dict[bytes, int]:
        """Ordinary tokens by the bytes that they stand for."""
        return {piece: i for i, piece in enumerate(self.pieces) if piece and i not in self.special}

    @cached_property
    def longest_piece(self) -> int:
        return max(map(len, self.ids_by_piece))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; bytes that are no UTF-8 become U+FFFD."""
        pieces = self.pieces
        return b"".join(pieces[i] for i in ids).decode("utf-8", "replace")

    def text_of(self, key: str) -> str | None:
        """Return the text of the token that the file names under ``tokenizer.ggml.KEY``, as ``bos_token_id``."""
        found = self.header.values.get(f"tokenizer.ggml.{key}")
        return self.texts[found] if isinstance(found, int) and 0 <= found < len(self.texts) else None

    @property
    def adds_bos(self) -> bool:
        """Whether the file says that a text begins with its BOS token; where it says nothing, no."""
        return self.header.values.get("tokenizer.ggml.add_bos_token") is True

    def declared(self) -> dict[str, tuple[int, ...]]:
        """Return the tokens that the file says end a generation, by the key that says so."""
        found: dict[str, tuple[int, ...]] = {}
        for name in ("eos_token_id", "eot_token_id", "eom_token_id"):
            value = self.header.values.get(f"tokenizer.ggml.{name}")
            if isinstance(value, int) and 0 <= value < len(self.texts):
                found[f"gguf {name}"] = (value,)
        return found


def incomplete(text: bytes) -> bool:
    """Tell whether bytes end inside of a UTF-8 character; llama.cpp's server holds such text back."""
    for distance in range(1, min(4, len(text)) + 1):
        byte = text[-distance]
        for mask, lead, length in ((0xE0, 0xC0, 2), (0xF0, 0xE0, 3), (0xF8, 0xF0, 4)):
            if byte & mask == lead and distance < length:
                return True
    return False
