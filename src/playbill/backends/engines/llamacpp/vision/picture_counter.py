"""Ask a server that has a model's mmproj file: its marker for a picture, and how many tokens it makes of one.

llama.cpp counts the tokens of a conversation with pictures without computing anything. What is counted here is one
picture in llama.cpp's own form of a conversation, so no template and no prompt of Playbill's plays a part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbill.backends.engines.llamacpp.gguf_header import GgufHeader
from playbill.backends.engines.llamacpp.server import LlamaServer, xllamacpp
from playbill.backends.engines.llamacpp.tokenizer import shell_params, write_shell
from playbill.backends.errors import EngineError

__all__ = ["PictureCounter", "counting_server", "use_mmproj"]

_COUNT, _RENDER, _TOKENIZE = "/v1/chat/completions/input_tokens", "/apply-template", "/tokenize"
_KEPT = 4096
"""Pictures whose number of tokens is remembered."""


class PictureCounter:
    """Counts by a server that `use_mmproj` prepared."""

    def __init__(self, server: LlamaServer) -> None:
        self._server = server
        self.marker = str(server.get("/props")["media_marker"])
        self._counts: dict[str, int] = {}
        self._beside: int | None = None

    def count(self, sha256: str, data: str) -> int:
        """Return how many tokens a picture takes, with the marks that llama.cpp writes around it.

        ``data`` is a PNG in base64, ``sha256`` its name.
        """
        found = self._counts.get(sha256)
        if found is None:
            part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
            body = {"messages": [{"role": "user", "content": [part]}]}
            if self._beside is None:
                self._beside = self._count_beside(body)
            found = int(self._server.post(_COUNT, body)["input_tokens"]) - self._beside
            if len(self._counts) < _KEPT:
                self._counts[sha256] = found
        return found

    def _count_beside(self, body: Mapping[str, Any]) -> int:
        """Return how many tokens the conversation has beside its picture."""
        pieces = str(self._server.post(_RENDER, body)["prompt"]).split(self.marker)
        if len(pieces) != 2:
            raise EngineError(f"llama.cpp's own form of a conversation has {len(pieces) - 1} places for one picture")
        return self._tokens(pieces[0], add_special=True) + self._tokens(pieces[1], add_special=False)

    def _tokens(self, text: str, *, add_special: bool) -> int:
        asked = {"content": text, "add_special": add_special, "parse_special": True}
        return len(self._server.post(_TOKENIZE, asked)["tokens"])


def use_mmproj(params: Any, mmproj: Path, *, gpu: bool) -> None:
    """Set a server's parameters so that it sees, and can count.

    Each picture is encoded alone: the encoder's last bits may depend on what is beside it, and so on whether a
    dialogue's earlier pictures are in memory still.
    """
    params.mmproj.path = str(mmproj)
    params.mtmd_batch_max_tokens = 1  # the first of a batch always gets in
    params.mmproj_use_gpu = gpu
    params.chat_template = "chatml"


def counting_server(header: GgufHeader, mmproj: Path, width: int) -> LlamaServer:
    """Return a server that has an mmproj file and a file's tokenizer, and no weights of the model."""
    with tempfile.TemporaryDirectory(prefix="playbill-") as folder:
        shell = Path(folder) / "tokenizer.gguf"
        write_shell(header, shell, width)
        params = shell_params(shell)
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_MMAP  # the weights are a hole, never read
        use_mmproj(params, mmproj, gpu=False)
        return LlamaServer(params)
