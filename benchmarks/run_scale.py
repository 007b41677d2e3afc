"""What a run costs beside the engine: 1,000 to 100,000 dialogues through a run with the programmatic engine.

    python benchmarks/run_scale.py [--sizes 1000 10000 100000] [--repeats 3]

Each size runs in a process of its own, several times: CPU time a record (user and system, imports aside), and the
peak of resident memory. Prints medians with the spread, and exits with 1 where the bound of 0.5 ms is missed at
any size, where a size costs a quarter more a record than the one before, or where the largest run needs 16 MB more
than the smallest.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOUND_MS = 0.5
BOUND_MB = 16
BOUND_GROWTH = 1.25
RULES = "You play a word-guessing game. Answer with one word, in lower case, and nothing else. " * 10


def measure(count: int, turns: int) -> None:
    """One run in this process; prints its figures as JSON."""
    from playbill.runs import run

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.jsonl"
        with path.open("w") as file:
            for i in range(count):
                texts = [f"Clue {turn} for word {i}: it is a thing." for turn in range(turns)]
                file.write(json.dumps({"id": i, "system": RULES, "turns": texts}) + "\n")
        figures = {}
        for name in ("run", "resume"):
            cpu, wall = time.process_time(), time.perf_counter()
            result = run(path, "mock", out=Path(folder) / "out")
            figures[f"{name}_ms"] = (time.process_time() - cpu) / (count * turns) * 1000
            figures[f"{name}_wall_ms"] = (time.perf_counter() - wall) / (count * turns) * 1000
            figures[f"{name}_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            if not result.ok or result.models["mock"].records != count * turns:
                raise SystemExit(f"the run is not whole: {result}")
    print(json.dumps(figures))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        measure(asked.one, asked.turns)
        return 0
    peaks, costs, missed = [], [], False
    print("dialogues  CPU ms/record (spread)   wall ms/record  peak MB   resume: CPU ms/record  peak MB")
    for size in asked.sizes:
        runs = []
        for _ in range(asked.repeats):
            command = [sys.executable, __file__, "--one", str(size), "--turns", str(asked.turns)]
            runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        median = {name: statistics.median(r[name] for r in runs) for name in runs[0]}
        low, high = min(r["run_ms"] for r in runs), max(r["run_ms"] for r in runs)
        print(
            f"{size:9,}  {median['run_ms']:.3f} ({low:.3f} to {high:.3f})    {median['run_wall_ms']:.3f}"
            f"{median['run_mb']:17.1f}   {median['resume_ms']:21.3f}  {median['resume_mb']:7.1f}"
        )
        peaks.append(median["run_mb"])
        costs.append(median["run_ms"])
        missed = missed or costs[-1] > BOUND_MS or (len(costs) > 1 and costs[-1] > BOUND_GROWTH * costs[-2])
    grown = peaks[-1] - peaks[0]
    print(f"memory grows by {grown:.1f} MB from {asked.sizes[0]:,} to {asked.sizes[-1]:,} dialogues")
    return int(missed or grown > BOUND_MB)


if __name__ == "__main__":
    sys.exit(main())
