"""How long `playbill list` and a find take with the packaged registry alone, and with 100,000 entries before it.

    python benchmarks/registry.py
    python benchmarks/registry.py --entries 10000 -n 3

The entries are the packaged ones under new names. Whole processes of `playbill list`, A B A B …; finds in one process,
each name for the first time, then again. Times by the clock, and of the processor, which others' load touches less;
the ratios are of the larger registry to the packaged one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playbill.backends import ModelRegistry
from playbill.backends.registry.lookup import FILE_NAME, packaged_file


def write_registry(folder: Path, entries: int) -> Path:
    """A registry of so many entries in a folder of its own; none at all where none are asked for."""
    folder.mkdir()
    known = json.loads(packaged_file().read_text(encoding="utf-8"))
    made = (
        {**known[i % len(known)], "model_name": f"{known[i % len(known)]['model_name']}-{i}"} for i in range(entries)
    )
    if entries:
        (folder / FILE_NAME).write_text(json.dumps(list(made), indent=2), encoding="utf-8")
    return folder


def listing(folder: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processor that one `playbill list` takes."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "playbill", "list"], cwd=folder, check=True, capture_output=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, used


def finds(folder: Path, names: int = 200) -> tuple[float, float]:
    """Milliseconds of the processor that the first find of a name takes, and one more of the same name."""
    os.chdir(folder)
    registry = ModelRegistry.load()
    asked = [entry.name for entry in registry if entry.name][:: max(1, len(registry) // names)]
    times = []
    for _ in range(2):
        started = time.process_time()
        for name in asked:
            registry.find(name)
        times.append((time.process_time() - started) / len(asked) * 1000)
    return times[0], times[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("-n", type=int, default=3, help="counted runs of each")
    options = parser.parse_args()
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as place:
        folders = {n: write_registry(Path(place) / str(n), n) for n in (0, options.entries)}
        lists: dict[int, list[tuple[float, float]]] = {n: [] for n in folders}
        found: dict[int, list[tuple[float, float]]] = {n: [] for n in folders}
        for n, folder in folders.items():
            listing(folder)  # once uncounted
            found[n].append(finds(folder))
        for _ in range(options.n):
            for n, folder in folders.items():
                lists[n].append(listing(folder))
                found[n].append(finds(folder))
        os.chdir(here)
    packaged = len(json.loads(packaged_file().read_text(encoding="utf-8")))
    print("| what | entries | median | from | to | ratio |\n|---|---:|---:|---:|---:|---:|")
    for what, rows, i in (
        ("`playbill list`, s by the clock", lists, 0),
        ("`playbill list`, s of the processor", lists, 1),
        ("find, first time, ms", found, 0),
        ("find, again, ms", found, 1),
    ):
        base = statistics.median(row[i] for row in rows[0])
        for n, measured in rows.items():
            values = [row[i] for row in measured]
            middle = statistics.median(values)
            spread = f"{middle:.4f} | {min(values):.4f} | {max(values):.4f}"
            print(f"| {what} | {n + packaged:,} | {spread} | {middle / base:.1f} |")


if __name__ == "__main__":
    main()
