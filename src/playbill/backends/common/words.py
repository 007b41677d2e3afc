"""Write counted things as people do: `1 dialogue`, `2 dialogues`, `no errors`."""

from __future__ import annotations

__all__ = ["counted", "plural"]


def plural(noun: str) -> str:
    """Return an English noun in the plural, by the rules that our messages need.

    >>> plural("dialogue"), plural("entry"), plural("key")
    ('dialogues', 'entries', 'keys')
    """
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"


def counted(number: int, noun: str, *, none: str = "0") -> str:
    """Return a number and its noun, which agree; ``none`` is what zero is called.

    >>> counted(1, "model"), counted(1200, "entry"), counted(0, "error", none="no")
    ('1 model', '1200 entries', 'no errors')
    """
    return f"{number or none} {noun if number == 1 else plural(noun)}"
