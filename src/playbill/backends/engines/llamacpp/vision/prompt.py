"""A prompt with pictures as llama.cpp's server takes it, and the proof that it had just this one. Asks no server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from playbill.backends.errors import EngineError

__all__ = ["PICTURE_PROMPT", "PicturePrompt"]

PICTURE_PROMPT = "picture_prompt"
"""The name of the feature that the engine is given."""


@dataclass(frozen=True, slots=True)
class PicturePrompt:
    """``text`` has the server's ``marker`` in each picture's place; ``data`` are the pictures, PNG in base64.

    ``key`` are the prompt's ids, but in a picture's place numbers below 0 that are this picture's own: by them two
    prompts are compared. ``shown`` are the texts between the pictures as llama.cpp writes tokens out, and ``tiles``
    says that it writes more in a picture's place. ``pixels`` are those of all pictures.
    """

    text: str
    marker: str
    data: tuple[str, ...] = field(repr=False)
    key: tuple[int, ...] = field(repr=False)
    shown: tuple[str, ...] = ()
    tiles: bool = False
    pixels: int = 0

    def body(self) -> Mapping[str, Any]:
        """Return the prompt of a request."""
        return {"prompt_string": self.text, "multimodal_data": list(self.data)}

    def forgetting_end(self) -> Mapping[str, Any]:
        """Return a prompt that is this one up to its last picture, and goes on otherwise."""
        head, _, end = self.text.rpartition(self.marker)
        return {**self.body(), "prompt_string": f"{head}{self.marker}{'-' if end.startswith('+') else '+'}"}

    def before_pictures(self) -> tuple[int, ...]:
        """Return the ids of the text before the first picture."""
        return self.key[: next(i for i, token in enumerate(self.key) if token < 0)]

    def refuse_other(self, tokens: int | None, text: str | None) -> None:
        """Raise EngineError where llama.cpp had another prompt: another number of tokens, or another text around the
        pictures. What it doesn't say is None."""
        if tokens is not None and tokens != len(self.key):
            raise EngineError(
                f"llama.cpp made {tokens} tokens of the prompt with pictures, and counted {len(self.key)} before; the "
                "model saw something else than was proven"
            )
        if text is not None and not self._is_shown(text):
            raise EngineError(
                "llama.cpp had another text around the pictures than was rendered, so the model saw something else "
                f"than was proven; it begins {text[:80]!r} and ends {text[-80:]!r}"
            )

    def _is_shown(self, text: str) -> bool:
        if not self.tiles:
            return text == "".join(self.shown)
        at = 0
        for piece in self.shown[:-1]:
            found = text.find(piece, at)
            if found < 0 or (at == 0 and found > 0):
                return False
            at = found + len(piece)
        return len(text) - at >= len(self.shown[-1]) and text.endswith(self.shown[-1])
