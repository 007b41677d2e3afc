"""What of a text that is still being generated is certain to stand in the clean answer. Knows no engine, no HTTP.

The end of a generated text may be an end token, a stop string or white space, all of which are removed when it is
whole. So a streamed text lags behind: what might yet be removed waits until it is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from playbill.backends.answer.clean import CleaningRule

__all__ = ["StreamedText"]


class StreamedText:
    """Pieces in, certain pieces out; together with `rest` they are the clean answer, character for character.

    Where only the whole text tells what the answer is (a model that thinks between tags, an
    ``output_split_prefix``), everything waits for the end.
    """

    def __init__(self, rule: CleaningRule, stop_strings: Sequence[str] = ()) -> None:
        self._waits = bool(rule.thinking_end or rule.split_prefix or rule.response or rule.frame)
        self._keeps = rule.keep_white_space
        self._stops = [stop for stop in stop_strings if stop]
        self._ends = [token.rstrip() for token in rule.end_tokens if token.strip()]
        self._raw = ""
        self._sent = ""

    def hold_back(self, stop_strings: Sequence[str]) -> None:
        """Take texts that end the generation, before its first piece comes: they are no part of the answer."""
        self._stops += [stop for stop in stop_strings if stop]

    def feed(self, text: str) -> str:
        """Take the next piece as the engine gave it; give what has become certain, often nothing."""
        if self._waits:
            return ""
        self._raw += text
        return self._extend(self._certain())

    def rest(self, answer: str) -> str | None:
        """Return what is left of the clean answer; None if what was sent is not how it begins."""
        return answer[len(self._sent) :] if answer.startswith(self._sent) else None

    def _extend(self, certain: str) -> str:
        if len(certain) <= len(self._sent):
            return ""
        new, self._sent = certain[len(self._sent) :], certain
        return new

    def _certain(self) -> str:
        text = self._raw
        for stop in self._stops:
            text = text.partition(stop)[0]
        while (shorter := self._without_end(text)) != text:
            text = shorter
        return text if self._keeps else text.strip()

    def _without_end(self, text: str) -> str:
        """Without the longest end that is an end token, or may be the beginning of one or of a stop string, with white
        space after it or without."""
        for candidate in (text, text.rstrip()):
            most = max((len(literal) for literal in (*self._ends, *self._stops)), default=0)
            for size in range(min(most, len(candidate)), 0, -1):
                end = candidate[-size:]
                if any(literal.startswith(end) for literal in (*self._ends, *self._stops)):
                    return candidate[:-size]
        return text
