"""How much memory this process may still take: of the machine, and of the control groups that a job runs in.

A cluster's job has a limit of its own, often far below what its node has free; beyond it the kernel ends the job.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from playbill.backends.engines.machine.hardware import nvidia_cards

__all__ = ["card_memory", "free_memory", "gibibytes"]

_UNLIMITED = 1 << 60
"""Version 1 of control groups writes a number close to 2^63 where there is no limit."""
_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By the name of the controller's folder (version 2 has none): limit, use, and what of it can be given back at once."""


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that can still be had: the least of what the machine and each control group say.

    None where the system says nothing. Another ``proc`` and ``groups`` are looked at for tests.
    """
    stated = [*_of_machine(proc), *_of_groups(proc, groups)]
    return max(0, min(stated)) if stated else None


def gibibytes(count: int) -> str:
    """Return a number of bytes as people compare memory.

    >>> gibibytes(16 << 30)
    '16.0 GiB'
    """
    return f"{count / (1 << 30):.1f} GiB"


def card_memory() -> tuple[int, ...]:
    """Return the free bytes of each NVIDIA card that this process may use; empty without."""
    return tuple(card.free for card in nvidia_cards(visible=True))


def _of_machine(proc: Path) -> Iterator[int]:
    with suppress(OSError, ValueError, IndexError):
        text = (proc / "meminfo").read_text("ascii")
        yield int(text.partition("MemAvailable:")[2].split()[0]) * 1024
        return
    with suppress(ImportError):
        import psutil

        yield int(psutil.virtual_memory().available)


def _of_groups(proc: Path, groups: Path) -> Iterator[int]:
    """What is left in the groups of this process, and in those around them."""
    try:
        lines = (proc / "self" / "cgroup").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in {"memory", ""} & set(controllers.split(",")):
            root = groups / controller
            within = root / path.strip("/")
            for folder in (within, *within.parents):
                if folder.is_relative_to(root):
                    yield from _left_in(folder, *_FILES[controller])


def _left_in(folder: Path, limit_file: str, used_file: str, cached: str) -> Iterator[int]:
    with suppress(OSError, ValueError):
        limit, used = (int((folder / name).read_text("ascii")) for name in (limit_file, used_file))
        if limit < _UNLIMITED:
            yield limit - used + _stated(folder / "memory.stat", cached)


def _stated(file: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in file.read_text("ascii").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
