"""What a benchmark says of the machine it ran on, and whether others used it meanwhile. Knows no engine."""

from __future__ import annotations

import os
import platform
import resource
import time
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["Others", "describe"]

_STAT = Path("/proc/stat")


class Others:
    """The share of the machine's time that other processes used since this was made; None where nobody says.

    Above a tenth, a figure was disturbed: measure again.
    """

    def __init__(self) -> None:
        self._begin = self._busy()

    def share(self) -> float | None:
        begin, end = self._begin, self._busy()
        if begin is None or end is None:
            return None
        seconds = (end[1] - begin[1]) * (os.cpu_count() or 1)
        return max(0.0, (end[0] - begin[0]) / seconds) if seconds else 0.0

    @staticmethod
    def _busy() -> tuple[float, float] | None:
        """Seconds that others kept cores busy so far, and the time."""
        try:
            user, nice, system, _, _, irq, soft, steal = map(int, _STAT.read_text("ascii").split()[1:9])
        except (OSError, ValueError):
            return None
        own = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        ticks = os.sysconf("SC_CLK_TCK")
        return (user + nice + system + irq + soft + steal) / ticks - own, time.monotonic()


def describe(packages: dict[str, str]) -> str:
    """A line for benchmarks/RESULTS.md."""
    versions = {"Python": platform.python_version(), **packages}
    day = datetime.now(UTC).date().isoformat()
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{day}, {os.cpu_count()} cores, no GPU; {listed}."
