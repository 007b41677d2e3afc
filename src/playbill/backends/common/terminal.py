"""Make strangers' text safe for a terminal: no escape sequences."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["json_text", "printable"]

# C0 and C1 controls but for line feed and tab, and the characters that reorder what a reader sees.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return the text with control characters written out, as ``\x1b``; line breaks and tabs stay.

    >>> printable("\x1b[2Jcleared")
    '\\x1b[2Jcleared'
    """
    return _UNSAFE.sub(lambda m: m[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def json_text(value: Any, *, indent: int | None = 2) -> str:
    r"""Return the value as JSON, in which characters that a terminal would obey are escaped; its meaning is the same.

    >>> json_text("\x9b2J", indent=None)
    '"\\u009b2J"'
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNSAFE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)
