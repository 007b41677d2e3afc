"""A Ray cluster of several nodes on the loopback address, and commands of Playbill's that join it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ |= {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all on the loopback address
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
}

import psutil
from ray.cluster_utils import Cluster

FAST = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
REPLICA = "_Replica"


@contextmanager
def cluster_of(nodes: int, cpus: float = 1, env: list[dict[str, str]] | None = None) -> Iterator[tuple[Cluster, list]]:
    """A head without CPUs, so that it is never the node that dies, and some nodes, each with its own environment."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": FAST},
    )
    try:
        yield cluster, [cluster.add_node(num_cpus=cpus, env_vars=(env or [{}] * nodes)[i]) for i in range(nodes)]
    finally:
        cluster.shutdown()


def start(*command: str, cwd: str | None = None, log: Path | None = None) -> subprocess.Popen[str]:
    """Start a command of Playbill's; what it says on stderr goes into ``log``, if one is given."""
    return subprocess.Popen(
        [sys.executable, "-m", "playbill", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if log is None else log.open("w"),
        text=True,
        cwd=cwd,
    )


def start_driver(inputs: str, entry: dict, out: str, address: str, *more: str, **options: Any) -> subprocess.Popen[str]:
    words = ["run", inputs, "-m", json.dumps(entry), "-o", out, f"--ray={address}", "--json"]
    return start(*words, *more, **options)


def wait_for_word(word: str, log: Path, driver: subprocess.Popen[str]) -> None:
    """Wait until a command has said a word in its log, or is over."""
    while word not in log.read_text() and driver.poll() is None:
        time.sleep(0.05)


def ended(driver: subprocess.Popen[str], seconds: float = 500) -> dict[str, Any]:
    """What a command said and how it ended, and in how many seconds from now."""
    began = time.monotonic()
    try:
        out, err = driver.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        driver.kill()
        out, err = driver.communicate()
        return {"code": None, "out": out, "err": err, "seconds": seconds}
    return {"code": driver.returncode, "out": out, "err": err, "seconds": time.monotonic() - began}


def records(out: str) -> int:
    path = next(iter(Path(out).glob("*/records.jsonl")), None)
    return path.read_bytes().count(b"\n") if path is not None else 0


def wait_for(count: int, out: str, driver) -> None:
    while records(out) < count and driver.poll() is None:
        time.sleep(0.02)


def wait_until(true: Callable[[], Any], seconds: float = 120) -> Any:
    """What becomes true in time; what it is then, if it does not."""
    until = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def processes_of(node: Any) -> list[int]:
    """The node's own processes, and the workers that its raylet started."""
    found = [each.process.pid for group in node.all_processes.values() for each in group]
    return found + [child.pid for pid in found for child in psutil.Process(pid).children(recursive=True)]


def signalled(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end_session() -> None:
    """Kill what Ray itself leaves of a cluster whose head was killed, or of a node that was cut off: its agents."""
    mark = os.environ["PLAYBILL_TEST_SESSION"].encode()  # in any variable: titles of processes overwrite some
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes() and int(path.parent.name) != os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)


def replica_processes(nodes: list[Any]) -> list[psutil.Process]:
    """The actors' processes that these nodes have."""
    found = []
    for pid in {pid for node in nodes for pid in processes_of(node)}:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if REPLICA in " ".join(process.cmdline()):
                found.append(process)
    return found


def busiest(processes: list[psutil.Process]) -> psutil.Process:
    """The one that computes."""
    before = [sum(p.cpu_times()[:2]) for p in processes]
    time.sleep(0.3)
    spent = [sum(p.cpu_times()[:2]) - b for p, b in zip(processes, before, strict=True)]
    return processes[spent.index(max(spent))]


def kill(process: psutil.Process) -> None:
    process.send_signal(signal.SIGKILL)
