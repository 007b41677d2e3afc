"""llama.cpp's server inside of this process: its beginning and its end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.gguf_smollm2 import gguf

_OPEN_AND_CLOSE = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from pathlib import Path
from playbill.backends.engines.llamacpp.gguf_header import read_header
from playbill.backends.engines.llamacpp.tokenizer import tokenizer_server
header = read_header(Path(sys.argv[1]))
for _ in range(4):
    tokenizer_server(header).close()
print("closed")
"""


@pytest.mark.slow
def test_a_server_that_is_closed_at_once_ends(tmp_path):
    """Also on a crowded core, where its own threads have not begun yet: closing it then waited for ever."""
    command = [sys.executable, "-c", _OPEN_AND_CLOSE, str(gguf())]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) for _ in range(4)]
    try:
        assert [process.communicate(timeout=120)[0].strip() for process in running] == ["closed"] * 4
    finally:
        for process in running:
            process.kill()
