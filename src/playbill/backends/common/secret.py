"""Secrets: a value that prints masked, and functions that scrub known secrets from texts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["MASK", "Secret", "scrub"]

MASK = "[secret]"
_SHORTEST = 8
_WORD = re.compile(r"[A-Za-z]+(?:[-_ ][A-Za-z]+)*")
"""A placeholder as `anything` or `no-key-needed`, which servers without keys are given. Scrubbing it would eat
words."""
_known: tuple[str, ...] = ()  # longest first; replaced, never changed, so that any thread may read it


def _remember(value: str) -> None:
    """Know a secret, also as it looks once it was escaped or stripped, so that it can be scrubbed."""
    global _known
    forms = {value, value.strip(), json.dumps(value)[1:-1], repr(value)[1:-1], *value.splitlines()}
    new = {form for form in forms if len(form) >= _SHORTEST and not _WORD.fullmatch(form)} - {*_known}
    if new:
        _known = tuple(sorted({*_known, *new}, key=lambda s: (-len(s), s)))


class Secret:
    """A secret string. It prints, formats, pickles and logs masked; ``reveal`` gives it to who sends it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        _remember(value)

    def reveal(self) -> str:
        """Return the secret itself, for the wire and for key.json only."""
        return self._value

    @property
    def masked(self) -> str:
        """Enough to tell two keys apart: the last four characters of a long one."""
        return f"…{self._value[-4:]}" if len(self._value) >= 16 else "…"

    def __repr__(self) -> str:
        return f"Secret({self.masked})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a Secret can't be pickled")


def scrub(value: Any) -> Any:
    """Return a JSON value or text in which every secret that was loaded is replaced by a mask.

    Only exact occurrences, and not of secrets that are shorter than eight characters or plain words, since these
    stand in ordinary text as well.
    """
    if not _known:
        return value
    if isinstance(value, str):
        for secret in _known:
            if secret in value:
                value = value.replace(secret, MASK)
        return value
    if isinstance(value, Mapping):
        return {scrub(k): scrub(v) for k, v in value.items()}
    if isinstance(value, list):
        return [scrub(v) for v in value]
    return tuple(scrub(v) for v in value) if isinstance(value, tuple) else value
