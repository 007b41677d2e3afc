"""Run a command on a terminal of its own, and read what a person would have seen there. For systems with ptys."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Seen", "on_a_terminal", "shown"]

_PART = re.compile(r"\x1b\[([\d;?]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+|\x1b")


class Seen:
    """What a command left on its terminal: the bytes, the lines in the end, and its exit code."""

    def __init__(self, text: str, code: int, width: int) -> None:
        self.text = text
        self.code = code
        self.lines = shown(text, width)


def shown(text: str, width: int) -> list[str]:
    """Return the lines of a terminal after a text with its control sequences (those that progress bars use)."""
    rows, row, column = [""], 0, 0
    for part in _PART.finditer(text):
        code = part[2]
        if part[0] == "\r":
            column = 0
        elif part[0] == "\n":
            row += 1
        elif code == "A":
            row = max(0, row - int(part[1] or 1))
        elif code == "K":
            rows[row] = "" if part[1] == "2" else rows[row][:column]
        elif code is None and part[0] != "\x1b":
            for character in part[0]:
                if column == width:
                    row, column = row + 1, 0
                while len(rows) <= row:
                    rows.append("")
                rows[row] = rows[row][:column].ljust(column) + character + rows[row][column + 1 :]
                column += 1
        while len(rows) <= row:
            rows.append("")
    return [line.rstrip() for line in rows]


def on_a_terminal(
    *args: str,
    cwd: Path,
    width: int = 100,
    variables: Mapping[str, str] | None = None,
    interrupt_when: Callable[[str], bool] | None = None,
    timeout: float = 60,
) -> Seen:
    """Run `playbill` with these arguments on a terminal; send Ctrl-C once ``interrupt_when`` is true of its text."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    env = {**os.environ, "TERM": "xterm", **(variables or {})}
    env.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "playbill", *args], cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    text, deadline = "", time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break
            if not data:
                break
            text += data.decode(errors="replace")
            if interrupt_when is not None and interrupt_when(text):
                process.send_signal(signal.SIGINT)
                interrupt_when = None
        return Seen(text, process.wait(timeout=20), width)
    finally:
        process.kill()
        os.close(ours)
