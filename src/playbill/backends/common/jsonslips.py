"""Name the slips that people make when they write JSON by hand: commas, comments, quotes, words of other languages."""

from __future__ import annotations

import re

__all__ = ["name_slip"]

_WORD = re.compile(r"[A-Za-z_]\w*")
_TYPOGRAPHIC = "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
_MEANT = {"true": "true", "false": "false", "none": "null", "null": "null", "nil": "null", "undefined": "null"}
_WANTED_COMMA = "Expecting ',' delimiter"
_WORDS = {
    "Extra data": "something follows the first value; a JSON file holds one value, JSONL (.jsonl) one a line",
    "Expecting ':' delimiter": "a colon is missing between a key and its value",
    "Unterminated string starting at": "a string begins here that has no end; its closing quote is missing",
    "Invalid control character at": "a line break or another control character in a string; write \\n for a line break",
    "Invalid \\escape": "a backslash in a string that begins no escape; write it twice: \\\\",
    "Illegal trailing comma before end of object": "a comma stands before the closing '}'; take it out",
    "Illegal trailing comma before end of array": "a comma stands before the closing ']'; take it out",
}
"""What the parser of the standard library says, in words that say what to do."""


def name_slip(text: str, place: int, message: str) -> tuple[int, str]:
    """Return where JSON is wrong and what it is, given where its parser stopped (``place``) and what that said.

    >>> name_slip('{"a": True}', 6, "Expecting value")
    (6, 'True is no value of JSON; write true')
    """
    return _slip(text, place, message) or (place, _WORDS.get(message, message[:1].lower() + message[1:]))


def _slip(text: str, place: int, message: str) -> tuple[int, str] | None:
    rest, before = text[place : place + 80], text[:place].rstrip()
    comma = place if rest.startswith(",") else len(before) - 1
    closing = text[comma + 1 :].lstrip()[:1]
    if comma >= 0 and text[comma] == "," and closing in ("]", "}"):
        return comma, f"a comma stands before the closing '{closing}'; take it out"
    if rest.startswith(("//", "/*", "#")):
        return place, "a comment, which JSON doesn't have; take it out"
    if rest[:1] == "'":
        return place, 'a string in single quotes; JSON takes double ones: "…"'
    if rest and rest[0] in _TYPOGRAPHIC:
        return place, f'a typographic quote ({rest[0]}); JSON takes plain double ones: "…"'
    if not rest.strip() and not message.startswith(("Unterminated", "Invalid")):
        return place, "it ends too early; a closing bracket or brace is missing" if before else "it is empty"
    if message == _WANTED_COMMA:
        return _missing_comma(rest, before)
    word = _WORD.match(rest) if message.startswith("Expecting") else None
    return (place, _bare_word(word[0], is_name="property name" in message)) if word else None


def _missing_comma(rest: str, before: str) -> tuple[int, str] | None:
    """Tell a missing comma, which something that could be the next item follows, from what can't stand there."""
    if rest[0] in '"{[':
        return len(before), "a comma is missing here"
    return None


def _bare_word(word: str, *, is_name: bool) -> str:
    """Say what a word without quotes should have been. A value is not shown: it might be a key."""
    if meant := _MEANT.get(word.lower()):
        return f"{word} is no value of JSON; write {meant}"
    return f'{word} stands without quotes; write "{word}"' if is_name else 'a word without quotes; write "…"'
