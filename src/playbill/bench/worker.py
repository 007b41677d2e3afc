"""Measure one way in a process of its own.

So none has another's memory or settings, a crash ends one of them, and a peak of memory is that way's own.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from playbill.backends.common.secret import scrub
from playbill.backends.common.terminal import printable
from playbill.backends.engines.machine.memory import card_memory
from playbill.backends.errors import PlaybillError
from playbill.bench.device import forget_peaks, torch_cards
from playbill.bench.measure import measure
from playbill.bench.ways import OWN, Job, open_way

__all__ = ["measure_apart", "measure_way"]

_KILLED = 9
"""SIGKILL, which not every system has."""


def measure_way(job: Job) -> dict[str, Any]:
    """Load a way and measure it, in this process.

    Of Playbill's own engines, as many requests as one computes together; for more it is loaded once more with that
    `batch_size`, unless the entry has one. ``loads`` in the result are these, with what each took and said; ``left``
    are the numbers of requests that weren't measured; ``error`` says why not, or is None.
    """
    found: dict[str, Any] = {"way": job.way, "loads": [], "left": [], "error": None}
    rows: Sequence[int] = sorted(job.work.rows)
    try:
        while rows:
            load = _load(job, rows)
            found["loads"].append(load)
            rows = [n for n in rows if n not in [rate["rows"] for rate in load["rates"]]]
            if job.batch_size is not None or not _may_be_larger(job, load):
                break
            job = replace(job, batch_size=max(rows, default=None))
    except (Exception, SystemExit) as e:  # noqa: BLE001 - what a foreign engine raises is its own fate
        found["error"] = str(e) if isinstance(e, PlaybillError) else f"{type(e).__name__}: {e}"
    return {**found, "left": list(rows)}


def _load(job: Job, rows: Sequence[int]) -> dict[str, Any]:
    free, begin = card_memory(), time.perf_counter()
    with open_way(job) as way:
        seconds = time.perf_counter() - begin
        forget_peaks()
        rates = []
        for n in [n for n in rows if way.most is None or n <= way.most]:
            click.echo(f"{job.way}: measuring {n} at once", err=True)
            rates.append(asdict(measure(way.complete, n, job.work, together=way.most)))
        load = {
            "batch_size": job.batch_size,
            "seconds": seconds,
            "concurrency": way.most,
            "facts": dict(way.facts()),
            "torch_cards": torch_cards(),
            "rates": rates,
            "memory": dict(way.memory()),
            "cards_taken": [before - after for before, after in zip(free, card_memory(), strict=False)],
        }
    gc.collect()
    return load


def _may_be_larger(job: Job, load: dict[str, Any]) -> bool:
    """Whether the way may compute more requests together than it did, if it is told to."""
    spec = job.spec
    ours = job.way in OWN or job.way == "vllm"
    return ours and load["concurrency"] != 1 and "batch_size" not in spec and spec.get("batching") != "single"


def measure_apart(job: Job) -> dict[str, Any]:
    """As `measure_way`, in a process of its own; what it says goes to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "job", Path(folder) / "found"
        asked.write_bytes(pickle.dumps(job))
        command = [sys.executable, "-m", "playbill.bench.worker", str(asked), str(answered)]
        code = subprocess.run(command, check=False).returncode
        if not answered.exists():
            return {"way": job.way, "loads": [], "left": list(job.work.rows), "error": _ended(code)}
        found: dict[str, Any] = pickle.loads(answered.read_bytes())
        return found


def _ended(code: int) -> str:
    if code == -_KILLED:
        return "its process was killed, as the system does where memory runs out"
    return f"its process ended with code {code}; what it said stands above"


class _Said(logging.Handler):
    """What Playbill says on the way: one line each, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"playbill: {record.levelname.lower()}: {printable(scrub(record.getMessage()))}", err=True)


def main() -> None:
    asked, answered = map(Path, sys.argv[1:3])
    log = logging.getLogger("playbill")
    log.handlers, log.propagate = [_Said()], False
    os.dup2(2, 1)  # engines print to stdout
    found = measure_way(pickle.loads(asked.read_bytes()))
    answered.write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main()
