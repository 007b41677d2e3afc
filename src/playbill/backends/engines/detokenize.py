"""The incremental detokenizer: text of tokens as they come, in whole characters, with stop strings across tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["TextTrail", "byte_of_character"]

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER = 16


def byte_of_character() -> dict[str, int]:
    """Return the byte that each character of byte-level BPE stands for: printable ones themselves, then from U+0100."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{chr(b): b for b in plain}, **{chr(256 + n): b for n, b in enumerate(others)}}


class TextTrail:
    """Follows the tokens of one answer. ``stop_string`` is the first that its text came to contain.

    A token is decoded together with those before it, since its text depends on them: a character's bytes may
    be spread over several tokens, and a word's leading space may be left out at the beginning of a text.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop_strings: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stops = tuple(stop_strings)
        self._longest = max((len(s) for s in self._stops), default=0)
        self._ids: list[int] = []
        self._known = 0  # ids whose text is in `text`
        self._context = 0  # from here on ids are decoded together with new ones
        self._sent = 0
        self._end = 0
        self.text = ""
        self.stop_string: str | None = None

    def push(self, token: int) -> None:
        """Take the next token; look for a stop string in what it made whole."""
        self._ids.append(token)
        before = self._decode(self._ids[self._context : self._known])
        now = self._decode(self._ids[self._context :])
        waits = now.endswith(_UNFINISHED) and len(self._ids) - self._known < _LONGEST_CHARACTER
        if waits or len(now) <= len(before):
            return
        searched = max(0, len(self.text) - self._longest + 1)
        self.text += now[len(before) :]
        self._context, self._known = self._known, len(self._ids)
        found = [(self.text.find(s, searched), -len(s), s) for s in self._stops]
        hits = [hit for hit in found if hit[0] >= 0]
        if hits:
            self._end, _, self.stop_string = min(hits)

    def take(self) -> str:
        """Return the text since the last call that is sure to be part of the answer: nothing that may begin a stop
        string."""
        sure = self._end if self.stop_string is not None else len(self.text) - self._begun()
        return self._send(sure)

    def take_rest(self) -> str:
        """Return all that is left, now that no more tokens come; an unfinished character is in it as it is."""
        if self.stop_string is not None:
            return self._send(self._end)
        before = self._decode(self._ids[self._context : self._known])
        self.text += self._decode(self._ids[self._context :])[len(before) :]
        self._known = self._context = len(self._ids)
        return self._send(len(self.text))

    def _send(self, end: int) -> str:
        text = self.text[self._sent : end]
        self._sent = max(self._sent, end)
        return text

    def _begun(self) -> int:
        """Return how many characters at the end of the text may be the beginning of a stop string."""
        for length in range(min(self._longest - 1, len(self.text)), 0, -1):
            tail = self.text[-length:]
            if any(s.startswith(tail) for s in self._stops):
                return length
        return 0
