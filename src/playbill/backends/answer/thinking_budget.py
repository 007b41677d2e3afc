"""Count the tokens of thinking and answer apart, and say when a budget is used up. Knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from playbill.backends.prompt.thinking_families import Tags

__all__ = ["Budget", "TokenLimits"]


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """How many new tokens a request may have: for its answer, for its thinking, and together."""

    answer: int
    thinking: int
    total: int


class Budget:
    """Counts the new tokens of one request, and says when a limit is reached.

    The tags are looked for in the text, since one text can be tokenized in many ways. What stood between two
    end tags was thinking, as it is in the cleaned answer; a tag's own tokens count with what it ends or opens. A text
    that begins like a start tag of several tokens may go on, beyond the answer's limit, until it is known to be none.
    """

    def __init__(self, limits: TokenLimits, tags: Tags | None, decode: Callable[[Sequence[int]], str]) -> None:
        self._limits = limits
        self._tags = tags
        self._decode = decode
        self._window: list[int] = []
        self._reach = max(len(tags.end), len(tags.start or "")) + 4 if tags else 0
        self.in_thinking = tags is not None and (tags.opened or tags.start is None)
        self.thinking = 0
        self.answer = 0
        self._opening = False

    def push(self, token: int) -> str | None:
        """Take the next token; the name of the limit that is reached with it, or None."""
        if self.in_thinking:
            self.thinking += 1
        else:
            self.answer += 1
        if self._tags is not None:
            self._look(token, self._tags)
        if self.thinking + self.answer >= self._limits.total:
            return "max_tokens"
        if self.in_thinking:
            return "max_thinking_tokens" if self.thinking >= self._limits.thinking else None
        return "max_tokens" if self.answer >= self._limits.answer and not self._opening else None

    def _look(self, token: int, tags: Tags) -> None:
        self._window = [*self._window, token][-self._reach :]
        text = self._decode(self._window)
        if tags.end in text:
            self._move(in_thinking=False)
            self.thinking, self.answer = self.thinking + self.answer, 0
            return
        self._opening = not self.in_thinking and _begins(tags.start, text, self.answer == len(self._window))
        if not self.in_thinking and tags.start and tags.start in text:
            own = next(n for n in range(1, len(self._window) + 1) if tags.start in self._decode(self._window[-n:]))
            self._move(in_thinking=True)
            self.thinking, self.answer = self.thinking + own, self.answer - own

    def _move(self, *, in_thinking: bool) -> None:
        self.in_thinking = in_thinking
        self._opening = False
        self._window.clear()


def _begins(start: str | None, text: str, whole: bool) -> bool:
    """Tell whether the ``whole`` text so far is the beginning of a start tag."""
    begun = text.lstrip()
    return whole and bool(begun) and start is not None and start.startswith(begun)
