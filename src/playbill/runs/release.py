"""Give back the memory of a model that failed, so that the next one finds room."""

from __future__ import annotations

import gc
import sys
import traceback

__all__ = ["release"]


def release(e: BaseException) -> None:
    """Let go of all that the frames of an error still hold: its traceback stays, without the variables.

    An error of a load holds the half-loaded model, and so does whoever keeps the error. CUDA's cache is freed too.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [e]
    while left:
        error = left.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        left += [error.__cause__, error.__context__]
        left += error.exceptions if isinstance(error, BaseExceptionGroup) else []
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
