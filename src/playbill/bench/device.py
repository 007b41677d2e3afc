"""Describe the machine that is measured on, and the memory that a process has taken of it."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from typing import Any

from playbill.backends.common.packages import installed_version
from playbill.backends.engines.machine.cpu_threads import usable_cores
from playbill.backends.engines.machine.hardware import nvidia_cards, processor_name
from playbill.backends.engines.machine.memory import free_memory

__all__ = ["describe_machine", "forget_peaks", "peak_memory", "torch_cards"]

_PACKAGES = ("torch", "transformers", "accelerate", "vllm", "xllamacpp", "clemcore", "bitsandbytes")


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, free memory, NVIDIA cards, and the versions of what computes. Imports no engine."""
    return {
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": usable_cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "memory_free": free_memory(),
        "cards": _cards(),
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := installed_version(name))},
    }


def torch_cards() -> list[dict[str, Any]]:
    """Return what torch, where it is loaded, says of its cards; AMD's too."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [
        {
            "name": torch.cuda.get_device_name(card),
            "capability": list(torch.cuda.get_device_capability(card)),
            "memory": torch.cuda.get_device_properties(card).total_memory,
            "cuda": torch.version.cuda or torch.version.hip,
        }
        for card in range(torch.cuda.device_count())
    ]


def forget_peaks() -> None:
    """Count the peaks of GPU memory from now on."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        for card in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(card)


def peak_memory() -> dict[str, int]:
    """Return the most bytes that this process has had in use: of the computer's memory, and of each GPU by torch."""
    found = {"computer": most} if (most := _peak_of_process()) else {}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        used = {f"cuda:{card}": torch.cuda.max_memory_reserved(card) for card in range(torch.cuda.device_count())}
        found |= {card: most for card, most in used.items() if most}
    return found


def _peak_of_process() -> int | None:
    """None where the system doesn't say it, as Windows without psutil."""
    with suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with suppress(ImportError, AttributeError):
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    return None


def _cards() -> list[dict[str, Any]]:
    """Return NVIDIA's cards as JSON."""
    return [
        {
            "index": int(card.index),
            "name": card.name,
            "driver": card.driver,
            "memory": card.total,
            "free": card.free,
            "capability": card.capability,
        }
        for card in nvidia_cards()
    ]
