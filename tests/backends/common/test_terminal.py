"""What is shown in a terminal: control characters are written out, and JSON stays JSON."""

from __future__ import annotations

import io
import json
import sys

import pytest

from playbill.backends.common.terminal import printable_json

ODD = {"\x1b[2J": "\x9b2J", "list": ["\u202e", "\u2028", "\x00", "\x7f", "é", "😀", "\ud83d"]}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_json_reads_back_and_has_no_control_characters(monkeypatch, encoding):
    """On a code page without a character, too."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    shown = printable_json(ODD)
    assert json.loads(shown.encode(encoding)) == ODD
    assert not {c for c in shown if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c == "\u202e"}
