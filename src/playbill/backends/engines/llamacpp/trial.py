"""Try whether llama.cpp can load a GGUF file, without its weights, and say why not in llama.cpp's own words.

A copy of the file is loaded whose tensors are a hole of the right size: so unknown architectures, tokenizers that
llama.cpp doesn't know, missing tensors and cut-off files show within a second. It runs in a process of its own, since
llama.cpp ends the process over some files. Reads nothing of the weights.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playbill.backends.engines.llamacpp.gguf_header import header_length
from playbill.backends.engines.llamacpp.socket_folder import socket_folder
from playbill.backends.errors import WeightsError
from playbill.backends.weights.cache import cache_directory
from playbill.backends.weights.gguf import Weights

__all__ = ["load", "why_unloadable"]

_SECONDS = 120
_WAKE = 0.05  # seconds
_WHY = re.compile(
    r"(?:error loading model: |clip_init: failed to load model '[^']*': (?:operator\(\): )?|"
    r"mtmd_init_from_file: error: )(.+)|(GGML_ASSERT\(.+)"
)


def why_unloadable(weights: Weights) -> str | None:
    """Return why llama.cpp can't load a model, as the rest of a sentence; None where it can.

    Raises WeightsError where that can't be tried.
    """
    place = cache_directory()
    try:
        place.mkdir(parents=True, exist_ok=True)
        sockets = socket_folder()
        try:
            with tempfile.TemporaryDirectory(prefix="trial-", dir=place) as folder:
                copies = [_hollow(file, Path(folder)) for file in weights.files]
                eyes = _hollow(weights.mmproj, Path(folder)) if weights.mmproj is not None else None
                return _tried(copies[0], eyes, Path(folder), sockets / "s.sock")
        finally:
            shutil.rmtree(sockets, ignore_errors=True)
    except OSError as e:
        raise WeightsError(f"can't try {weights.path} in {place}: {e.strerror or e}") from e


def _hollow(file: Path, folder: Path) -> Path:
    """Write a file with another's header and size, and a hole in place of its tensors."""
    copy = folder / file.name
    with file.open("rb") as old, copy.open("wb") as new:
        new.write(old.read(header_length(file)))
        new.truncate(file.stat().st_size)
    return copy


def _tried(file: Path, eyes: Path | None, folder: Path, address: Path) -> str | None:
    said = folder / "said"
    arguments = [str(file), str(address), *([str(eyes)] if eyes is not None else [])]
    command = [sys.executable, "-P", "-c", f"from {__name__} import load; load()", *arguments]
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
    with said.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        until = time.monotonic() + _SECONDS
        while process.poll() is None:
            # The binding's constructor sometimes doesn't return though the server runs, so that is asked.
            if _answers(address):
                return None
            if time.monotonic() > until:
                raise WeightsError(f"llama.cpp wasn't done with {file.name} after {_SECONDS} s")
            time.sleep(_WAKE)
    finally:
        process.kill()
        process.wait()
    if process.returncode == 0:
        return None
    text = said.read_text("utf-8", "replace")
    found = _WHY.search(text)
    if found is None and "ImportError" in text.replace("ModuleNotFoundError", "ImportError"):
        raise WeightsError(f"llama.cpp can't be tried in a process of its own: {text.strip().splitlines()[-1]}")
    if found is None:
        return f"it {_end_of(process.returncode)}, and said nothing of it"
    return (found[1] or found[2]).strip().replace(f"{folder}/", "")


def _end_of(code: int) -> str:
    return f"crashed ({signal.Signals(-code).name})" if -code in set(signal.Signals) else f"ended with code {code}"


def _answers(address: Path) -> bool:
    """Tell whether the server at a socket has loaded its model."""
    if not address.exists():
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(1)
            line.connect(str(address))
            line.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            return b" 200 " in line.recv(64)
    except OSError:
        return False


def load() -> None:
    """Load a file in this process, with as little as there can be around it; its path, a socket and perhaps its mmproj
    are the arguments."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx = params.n_batch = params.n_ubatch = 64
    params.n_parallel = params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 2
    params.n_gpu_layers = params.cache_ram_mib = 0
    params.warmup = params.fit_params = params.ui = params.use_jinja = params.enable_chat_template = False
    params.no_extra_bufts = True
    params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_MMAP
    params.verbosity = 1
    if len(sys.argv) > 3:
        params.mmproj.path = sys.argv[3]
    if hasattr(socket, "AF_UNIX"):
        params.hostnames = [sys.argv[2]]
    xllamacpp.Server(params)
    os._exit(0)  # nothing is to be ended in order
