"""What is set for the whole process: Ctrl-C is never lost to a library."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A process of its own: other threads of this one would take the signal.
PROGRAM = """
import os, signal
from playbill.backends.engines.machine.process_state import interrupts_wait
before = signal.getsignal(signal.SIGINT)
try:
    with interrupts_wait():
        signal.signal(signal.SIGINT, lambda *_: print("lost"))  # as llama.cpp's server does
        os.kill(os.getpid(), signal.SIGINT)
        print("loaded")
except KeyboardInterrupt:
    print("interrupted", signal.getsignal(signal.SIGINT) is before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals can't be blocked there")
def test_ctrl_c_during_a_native_call_comes_after_it():
    """Though the library took the signal for itself: Python's handler is back, and gets it once."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["loaded", "interrupted", "True"], done.stderr
