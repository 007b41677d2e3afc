"""What is compared of a prompt with pictures where a side doesn't give its ids: the text around the pictures, and how
many tokens there are. Opens no picture and asks no server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playbill.backends.prompt.prompt_path import Prompt, PromptPath

__all__ = ["Around", "around_of", "difference_of_counts"]


@dataclass(frozen=True, slots=True)
class Around:
    """``text`` is all that the model reads but the pictures themselves, marks around them included.

    ``tokens`` counts the pictures' tokens too, None where the side doesn't say: then a ``placeholder`` that the other
    side knows may stand in its text.
    """

    text: str
    tokens: int | None = None
    placeholder: str = ""

    def beside(self, other: Around) -> str:
        """Return the text as it is compared with another's."""
        return self.text.replace(other.placeholder, "") if self.tokens is None and other.placeholder else self.text

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "tokens": self.tokens}


def around_of(path: PromptPath, prompt: Prompt) -> Around | None:
    """Return the text around a prompt's pictures; None where it has none, or its picture tokens can't be told."""
    if not prompt.shown or prompt.ids is None or path.processor is None:
        return None
    total = sum(int(made.get("tokens", 0)) for made in prompt.made)
    for marker in path.processor.markers:
        found = path.tokenizer.encode(marker)
        if len(found) == 1 and prompt.ids.count(found[0]) == total:
            text = path.decode([token for token in prompt.ids if token != found[0]])
            return Around(text, len(prompt.ids), path.processor.placeholder)
    return None


def difference_of_counts(left: Around, right: Around) -> str | None:
    """Say that two sides have other numbers of tokens, where both tell theirs."""
    if left.tokens is None or right.tokens is None or left.tokens == right.tokens:
        return None
    return f"A has {left.tokens} tokens with the pictures', B {right.tokens}"
