"""How long a user waits for `playbill list` and for `import playbill.backends`, beside clemcore's, in one run.

    python -m venv .venvs/clemcore && .venvs/clemcore/bin/pip install clemcore==3.7.2
    python benchmarks/startup.py --clem .venvs/clemcore/bin/clem

Whole processes, A B A B …, after one warm-up of each; medians and spread. Without --clem only ours is timed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(command: list[str], folder: str) -> float:
    """The time of one whole process, which must succeed."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def compare(commands: dict[str, list[str]], runs: int) -> dict[str, list[float]]:
    """Times of each command, taken in turn."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for command in commands.values():
            seconds(command, folder)
        for _ in range(runs):
            for name, command in commands.items():
                found[name].append(seconds(command, folder))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clem", type=Path, help="the `clem` of an environment with clemcore")
    parser.add_argument("-n", type=int, default=5, help="counted runs of each command")
    options = parser.parse_args()
    commands = {
        "playbill list": [sys.executable, "-m", "playbill", "list"],
        "import playbill.backends": [sys.executable, "-c", "import playbill.backends"],
    }
    if options.clem:
        clem = options.clem.absolute()
        commands["clem list models"] = [str(clem), "list", "models"]
        commands["import clemcore.backends"] = [str(clem.parent / "python"), "-c", "import clemcore.backends"]
    found = compare(commands, options.n)
    print("| command | median s | from | to |\n|---|---:|---:|---:|")
    for name, times in found.items():
        print(f"| `{name}` | {statistics.median(times):.3f} | {min(times):.3f} | {max(times):.3f} |")
    if options.clem:
        ratios = [a / b for a, b in zip(found["playbill list"], found["clem list models"], strict=True)]
        print(f"\n`playbill list` takes {statistics.median(ratios):.3f} of `clem list models`, pair by pair.")


if __name__ == "__main__":
    main()
