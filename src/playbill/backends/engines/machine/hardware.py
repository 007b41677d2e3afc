"""What this machine computes with: its processor and NVIDIA's cards. Loads no library of theirs."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which

__all__ = ["NvidiaCard", "nvidia_cards", "processor_name"]

_ASKED = "index,uuid,name,driver_version,memory.total,memory.free,compute_cap"
_PATIENCE_SECONDS = 20.0
"""For a driver that hangs."""


@dataclass(frozen=True, slots=True)
class NvidiaCard:
    """A card as the driver's own tool describes it; ``total`` and ``free`` are bytes, ``capability`` is as ``9.0``."""

    index: str
    uuid: str
    name: str
    driver: str
    total: int
    free: int
    capability: str

    @property
    def compute_capability(self) -> tuple[int, int]:
        """The capability as numbers, to be compared; 0.0 where the driver doesn't tell it."""
        major, _, minor = self.capability.partition(".")
        return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)


def nvidia_cards(*, visible: bool = False) -> tuple[NvidiaCard, ...]:
    """Return NVIDIA's cards by the driver's own tool, which needs no CUDA context; none without it.

    With ``visible`` only those that ``CUDA_VISIBLE_DEVICES`` leaves to this process.
    """
    program = which("nvidia-smi")
    if program is None:
        return ()
    command = [program, f"--query-gpu={_ASKED}", "--format=csv,noheader,nounits"]
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        said = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=True).stdout
        cards = [_card(line) for line in said.splitlines() if line.strip()]
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        if not visible or named is None:
            return tuple(cards)
        wanted = [name.strip() for name in named.split(",")]
        return tuple(card for card in cards if _is_named(card, wanted))
    return ()


def _card(line: str) -> NvidiaCard:
    index, uuid, name, driver, total, free, capability = (cell.strip() for cell in line.split(","))
    return NvidiaCard(index, uuid, name, driver, int(total) << 20, int(free) << 20, capability)


def _is_named(card: NvidiaCard, wanted: list[str]) -> bool:
    """Tell whether a list of cards means this one: by its number, or by the beginning of its id."""
    return any(name == card.index or (name.startswith("GPU-") and card.uuid.startswith(name)) for name in wanted)


def processor_name() -> str:
    """Return the processor's name, as Linux has it, else what Python knows."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
