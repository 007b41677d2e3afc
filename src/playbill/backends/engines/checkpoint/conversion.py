"""Tell what becomes of a checkpoint's numbers where they can't be computed in the format that they are stored in.

transformers makes plain numbers of some quantized weights where a card has no instructions for their format. By
transformers 5.24: quantizers/quantizer_finegrained_fp8.py and quantizer_mxfp4.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from playbill.backends.registry.fields.local import dtype_of

__all__ = ["bytes_loaded", "said_of_conversion"]

Capability = tuple[int, int]
_CONVERTED: Mapping[str, tuple[int, Capability]] = {"fp8": (2, (8, 9)), "mxfp4": (4, (7, 5))}
"""By method: how much larger weights get as bfloat16, and from which compute capability on they stay as they are."""
_HAS_BFLOAT16: Capability = (8, 0)


def bytes_loaded(size: int, method: str | None, capability: Capability | None) -> int:
    """Return what quantized weights take once they are loaded. ``capability`` is the least compute capability of the
    cards, None where there is none."""
    return size if _is_computed(method, capability) else size * _CONVERTED[str(method)][0]


def said_of_conversion(
    entry: Mapping[str, Any], config: Mapping[str, Any], capability: Capability | None
) -> str | None:
    """Return in words how an entry's numbers are computed otherwise than they are stored; None where they aren't."""
    stored = config.get("quantization_config")
    method = str(stored.get("quant_method")) if isinstance(stored, dict) else None
    if not _is_computed(method, capability):
        return (
            f"the weights are stored as {method}, which {_named(capability)} can't compute: transformers makes "
            f"bfloat16 of them, {_CONVERTED[str(method)][0]} times as large, and other numbers than on a card that can"
        )
    asked, own = dtype_of(entry), str(config.get("dtype") or config.get("torch_dtype"))
    if asked == "float16" and own == "bfloat16":
        return (
            "the weights are stored in bfloat16, and the entry asks for float16, whose largest number is 65,504: "
            "what is larger becomes infinite"
        )
    if capability is not None and capability < _HAS_BFLOAT16 and (own if asked == "auto" else asked) == "bfloat16":
        return f"bfloat16 is asked for, which {_named(capability)} only emulates, slowly"
    return None


def _is_computed(method: str | None, capability: Capability | None) -> bool:
    """Tell whether weights of a method are computed as they are stored."""
    if method is None or method not in _CONVERTED:
        return True
    kernels = method != "mxfp4" or (find_spec("kernels") is not None and find_spec("triton") is not None)
    return capability is not None and capability >= _CONVERTED[method][1] and kernels


def _named(capability: Capability | None) -> str:
    if capability is None:
        return "a machine without a card"
    return f"a card of compute capability {capability[0]}.{capability[1]}"
