"""Choose llama.cpp's CPU kernels: batch-invariant ones (a token's logits don't depend on the rest of the batch), or the
fastest.

llama.cpp has no switch for this. The choices come from ggml-cpu's source and from comparing log probabilities of
dialogues alone and in a batch. Weights that are not quantized have no batch-invariant kernels. Tried with xllamacpp
2026.10 on x86-64.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.engines.llamacpp.gguf_header import GgufHeader
from playbill.backends.engines.machine.process_state import use_tiled_kernels
from playbill.backends.registry.fields.table import setting

__all__ = ["Kernels", "choose_kernels"]

_TILED = "GGML_CPU_TILED_MM"
"""llama.cpp multiplies K-quants in blocks from eight tokens on, which sums in another order than for fewer tokens,
unless this variable says otherwise. It reads the variable once in a process."""
_theirs = os.environ.get(_TILED)
_Q4_K = 12
_IN_BLOCKS = frozenset({10, 11, _Q4_K, 13, 14, 16, 17, 18, 19, 21, 22, 23, 29})
"""Formats that are multiplied in blocks, by ggml's numbers: Q2_K to Q6_K, and IQ1 to IQ4 except IQ4_NL."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels to use. ``keys`` and ``values`` are the KV cache's formats, by ggml's names. ``repacked``: weights
    may be laid out anew for products with several tokens. ``tiled``: K-quants may be multiplied in blocks."""

    keys: str
    values: str
    repacked: bool
    tiled: bool


def choose_kernels(
    entry: Mapping[str, Any], header: GgufHeader, gpu_layers: int, machine: str = platform.machine()
) -> Kernels:
    """Return what an entry's `batching` asks for.

    Attention adds up in another order for one token of one dialogue, for few and for many where keys and values are of
    one format, so they get two; products in bfloat16 are the faster way on x86, and slow elsewhere. Q4_K repacked is
    multiplied otherwise with four tokens than with one.
    """
    exact = setting(entry, "batching") != "fast"
    tiled = _tiled(exact)
    if gpu_layers or not exact:
        return Kernels("F16", "F16", True, tiled)
    if tiled and _theirs is None and header.formats & _IN_BLOCKS:
        warn_once(
            f"{entry.get('model_name')}: an answer may depend on what is computed beside it, since a model with "
            "batching 'fast' was loaded first in this process"
        )
    keys, values = ("BF16", "F16") if machine.lower() in ("x86_64", "amd64") else ("F16", "BF16")
    return Kernels(keys, values, _Q4_K not in header.formats, tiled)


def _tiled(exact: bool) -> bool:
    """Return the user's word, or that of the first model in this process; read as C's atoi does."""
    return re.match(r"\s*[+-]?0*[1-9]", use_tiled_kernels(not exact)) is not None
