"""What a caller waits for: the future of a turn, and the pieces of its text. Knows no replica.

A stream that began at a replica which died is begun anew at another. The caller gets each piece once.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from playbill.backends.engines.base import Completion, OnText
from playbill.backends.generation import FinishReason, Generation
from playbill.replicas.wire import Answer

__all__ = ["Pieces", "TurnFuture", "Waiting", "Whole"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Completion):
    """A completion that a replica has made a Generation of, rendered and cleaned."""

    generation: Generation = field(default=None)  # type: ignore[assignment]


class TurnFuture(Future[Any]):
    """The future of a turn, which gets a Completion, or the Generation alone. Cancelling it tells the replica."""

    def __init__(self, cancelled: Callable[[], None], wants_generation: bool) -> None:
        super().__init__()
        self._told = cancelled
        self.wants_generation = wants_generation

    def cancel(self) -> bool:
        found = super().cancel()
        if found:
            self._told()
        return found


class Pieces:
    """Hands the pieces of a text on, each once, however often the text is begun anew.

    ``differs`` says that a later start told another text than the first; what comes then is kept back.
    """

    def __init__(self, on_text: OnText) -> None:
        self._on_text = on_text
        self._told: list[str] = []
        self._again = ""
        self.differs = False

    def restart(self) -> None:
        """Note that the text begins anew: what was told already is expected once more."""
        self._again = "".join(self._told)

    def take(self, piece: str) -> None:
        """Hand on what is new in a piece. Raises what the caller's function raises."""
        if self._again:
            known = min(len(piece), len(self._again))
            self.differs = self.differs or piece[:known] != self._again[:known]
            piece, self._again = piece[known:], self._again[known:]
            if not piece:
                return
        if not self.differs:
            self._told.append(piece)
            self._on_text(piece)

    def contradict(self, text: str) -> bool:
        """Return whether what was told is not how the whole text begins."""
        return self.differs or bool(self._again) or not text.startswith("".join(self._told))


@dataclass(slots=True)
class Waiting:
    """Who waits for a turn; ``pieces`` where the text is wanted as it comes."""

    future: TurnFuture
    pieces: Pieces | None = None

    def result(self, answer: Answer, replica: str) -> Completion | Generation:
        """Return what the caller gets, which names the replica."""
        made = answer.generation
        if made is None:
            return Completion(finish_reason=FinishReason.UNKNOWN, text=answer.text)
        details = {**made.details, "replica": replica}
        if self.pieces is not None and self.pieces.contradict(made.text):
            details["stream_differs"] = True
        made = replace(made, details=details)
        if self.future.wants_generation:
            return made
        reason = made.finish_reason or FinishReason.UNKNOWN
        return Whole(finish_reason=reason, text=made.raw, thinking=made.thinking, usage=made.usage, generation=made)
