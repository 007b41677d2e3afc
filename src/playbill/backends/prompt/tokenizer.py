"""The interface of a local engine's tokenizer: text to ids and back. Engines bring their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Tokenizer"]


class Tokenizer(Protocol):
    """Text to ids and back, adding nothing and dropping nothing."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text in which special tokens are recognised; none is added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens written out, white space untouched."""
        ...

    def special_ids(self) -> frozenset[int]:
        """Return the ids of special (control) tokens."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Return what tells this tokenizer apart: its class, slow or fast, its library's version."""
        ...
