"""Make strangers' text safe for a terminal: no escape sequences, as text and as JSON."""

from __future__ import annotations

import codecs
import json
import re
import sys
from typing import Any

__all__ = ["printable", "printable_json"]

# C0 and C1 controls but for line feed and tab, and the characters that reorder what a reader sees.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return the text with control characters written out, as ``\x1b``; line breaks and tabs stay.

    >>> printable("\x1b[2Jcleared")
    '\\x1b[2Jcleared'
    """
    return _UNSAFE.sub(lambda m: m[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def printable_json(value: Any, *, indent: int | None = 2) -> str:
    r"""Return a value as JSON for stdout: it reads back the same, and has no control characters.

    ASCII alone where stdout is no UTF-8 (a code page of Windows), since JSON in another encoding is none.

    >>> printable_json("\x9b2J\u202eé")
    '"\\u009b2J\\u202eé"'
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = json.dumps(value, ensure_ascii=codecs.lookup(encoding).name != "utf-8", indent=indent)
    return _UNSAFE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)
