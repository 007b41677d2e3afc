"""The ids of a streamed answer, those included that llama.cpp's stream leaves out.

While the text ends inside of a UTF-8 character, the server sends nothing, and of the tokens that it so held back
only the last is named later. How many are missing is known, and so is their text; nearly always only one row of
tokens makes up that text. Answers that are not streamed have all their ids and need none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from playbill.backends.engines.base import OnText
from playbill.backends.engines.llamacpp.vocabulary import Vocabulary, incomplete

__all__ = ["Restored", "StreamedIds"]

_MOST_CANDIDATES = 16


@dataclass(frozen=True, slots=True)
class Restored:
    """All ids of an answer, and how many of them are a guess, or missing because nothing tells what they were."""

    ids: tuple[int, ...]
    uncertain: int = 0

    def cut(self, length: int) -> Restored:
        return Restored(self.ids[:length], self.uncertain)


@dataclass
class StreamedIds:
    """Gathers a stream's chunks, and passes their text on.

    ``probabilities`` and ``cached`` are what the stream said of log probabilities and of the prompt's cache.
    """

    vocabulary: Vocabulary
    on_text: OnText | None = None
    ids: list[int] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    text: str = ""
    probabilities: list[Any] = field(default_factory=list)
    cached: int | None = None
    _shown_text: str = ""

    def add(self, token: int, count: int, text: str, *, hidden: bool = False) -> None:
        """Take the newest token's id, how many there are with it, and the text since the last chunk.

        Of a ``hidden`` token the text is not passed on.
        """
        missing = count - 1 - self.counted
        if missing > 0:
            self.gaps.append((len(self.ids), missing))
        self.ids.append(token)
        self.text += text
        if not hidden:
            self._show(text)

    def show_rest(self, ids: Sequence[int]) -> None:
        """Pass on what wasn't yet of the text of ids, such as what was held back as a stop string's beginning."""
        whole = self._shown(ids).decode("utf-8", "ignore")
        if whole.startswith(self._shown_text):
            self._show(whole[len(self._shown_text) :])

    def _show(self, text: str) -> None:
        self._shown_text += text
        if text and self.on_text is not None:
            self.on_text(text)

    @property
    def counted(self) -> int:
        """How many tokens came so far, with those that the stream left out."""
        return len(self.ids) + sum(length for _, length in self.gaps)

    def restore(self, count: int, stop_string: str | None, encode: Callable[[str], Sequence[int]]) -> Restored:
        """Return all ids of an answer of so many tokens. ``stop_string`` was cut off its text; ``encode`` breaks a
        tie."""
        tail = max(0, count - self.counted)
        text = (self.text + (stop_string or "")).encode()
        found: list[int] = []
        uncertain, at, length = tail, 0, 0
        for place, missing in self.gaps:
            found += self.ids[at:place]
            length += len(self._shown(self.ids[at:place]))
            at = place
            row, sure = self._fill(text, length, missing, self.ids[place], encode)
            found += row
            length += len(self._shown(row))
            uncertain += 0 if sure else missing
        return Restored((*found, *self.ids[at:]), uncertain)

    def _shown(self, ids: Sequence[int]) -> bytes:
        pieces, special = self.vocabulary.pieces, self.vocabulary.special
        return b"".join(pieces[i] for i in ids if i not in special)

    def _fill(
        self, text: bytes, start: int, missing: int, following: int, encode: Callable[[str], Sequence[int]]
    ) -> tuple[Sequence[int], bool]:
        """Return a row of so many ids that makes up the text from a place on, before a known token; and if it is
        sure."""
        after = self._shown([following])
        rows = [
            row
            for row in islice(self._rows(text, start, missing), _MOST_CANDIDATES)
            if text.startswith(after, start + len(self._shown(row)))
        ]
        if len(rows) == 1:
            return rows[0], True
        for row in rows:
            whole = [*row, following]
            if list(encode(self.vocabulary.decode(whole))) == whole:
                return row, False
        return (rows[0], False) if rows else ((), False)

    def _rows(self, text: bytes, at: int, missing: int) -> Iterator[tuple[int, ...]]:
        if missing == 0:
            yield ()
            return
        for end in range(at + 1, len(text) + 1):
            if end - at > self.vocabulary.longest_piece:
                return
            token = self.vocabulary.ids_by_piece.get(text[at:end])
            if token is None or not incomplete(text[:end]):
                continue
            for rest in self._rows(text, end, missing - 1):
                yield (token, *rest)
