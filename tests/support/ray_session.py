"""A Ray cluster of several nodes on the loopback address, and runs on it that lose a node and their driver.

Run by test_ray_cluster in an environment that has Ray; prints what happened as JSON on its last line. No test itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

os.environ |= {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all on the loopback address
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
}

from ray.cluster_utils import Cluster

FAST = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


def start_cluster(nodes: int, cpus: float = 1) -> tuple[Cluster, list]:
    """A head without CPUs, so that it is never the node that dies, and some nodes."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": FAST},
    )
    return cluster, [cluster.add_node(num_cpus=cpus) for _ in range(nodes)]


def start_driver(inputs: str, entry: dict, out: str, address: str, *more: str, cwd: str | None = None):
    command = [sys.executable, "-m", "playbill", "run", inputs, "-m", json.dumps(entry), "-o", out]
    return subprocess.Popen(
        [*command, f"--ray={address}", "--json", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def records(out: str) -> int:
    path = next(iter(Path(out).glob("*/records.jsonl")), None)
    return path.read_bytes().count(b"\n") if path is not None else 0


def wait_for(count: int, out: str, driver) -> None:
    while records(out) < count and driver.poll() is None:
        time.sleep(0.02)


def ended(driver) -> dict:
    out, err = driver.communicate(timeout=500)
    return {"code": driver.returncode, "out": out, "err": err}


def disturbed(inputs: str, entry: dict, out: str, nodes: int, turns: int) -> dict:
    """A run that loses a node at a third of its turns, its driver at two thirds, and is started again."""
    cluster, there = start_cluster(nodes)
    try:
        began = time.monotonic()
        driver = start_driver(inputs, entry, out, cluster.address)
        wait_for(turns // 3, out, driver)
        cluster.remove_node(there[0], allow_graceful=False)
        wait_for(2 * turns // 3, out, driver)
        alive = driver.poll() is None
        driver.send_signal(signal.SIGKILL)
        first = ended(driver)
        before = records(out)
        last = ended(start_driver(inputs, entry, out, cluster.address))
        return {
            "alive": alive,
            "before": before,
            "first_err": first["err"],
            **last,
            "seconds": time.monotonic() - began,
        }
    finally:
        cluster.shutdown()


def processes_of(node) -> list[int]:
    """The node's own processes, and the workers that its raylet started."""
    import psutil

    found = [each.process.pid for group in node.all_processes.values() for each in group]
    return found + [child.pid for pid in found for child in psutil.Process(pid).children(recursive=True)]


def signalled(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def frozen_node(inputs: str, entry: dict, out: str, turns: int) -> dict:
    """A node stops answering, as one that is cut off does: nothing of it ends, and nothing of it speaks."""
    cluster, there = start_cluster(2)
    stopped: list[int] = []
    try:
        driver = start_driver(inputs, entry, out, cluster.address)
        wait_for(turns // 3, out, driver)
        stopped = processes_of(there[0])
        signalled(stopped, signal.SIGSTOP)
        return ended(driver)
    finally:
        signalled(stopped, signal.SIGKILL)
        cluster.shutdown()


FROZEN_WORKER = """
import json, os, signal, sys
from playbill.replicas.ray_places import ray_places
from playbill.runs import Silent, run

class Freeze(Silent):
    def planned(self, plan):
        self.folder = plan.folder
    def said(self, label, text):
        print(text, file=sys.stderr)
    def recorded(self, label, tick):
        if tick.recorded == 30:
            found = json.loads((self.folder / "manifest.json").read_text())["starts"][-1]["replicas"][label]
            os.kill(found[0]["pid"], signal.SIGSTOP)

with ray_places(sys.argv[1], 2, silence=4) as places:
    result = run(sys.argv[2], json.loads(sys.argv[3]), out=sys.argv[4], places=places, observer=Freeze())
print(json.dumps({"ok": result.ok}))
"""


def faults(inputs: str, entry: dict, dying: dict, relative: dict, out: str, cwd: str) -> dict:
    """What goes wrong without any node that dies, one after the other on one cluster that was started elsewhere."""
    cluster, _ = start_cluster(2)
    try:
        address = cluster.address
        found = {
            "too_many": ended(start_driver(inputs, entry, f"{out}/many", address, "--replicas", "5")),
            "infeasible": ended(start_driver(inputs, {**entry, "num_gpus": 2}, f"{out}/gpus", address)),
            "dies_at_load": ended(start_driver(inputs, dying, f"{out}/dying", address, "--replicas", "1")),
            "relative": ended(start_driver(inputs, relative, f"{out}/relative", address, "-m", "mock", cwd=cwd)),
            "wrong": ended(start_driver(inputs, {**entry, "answers": 7}, f"{out}/wrong", address)),
        }
        driver = start_driver(inputs, {**entry, "delay": 0.5}, f"{out}/stopped", address)
        wait_for(20, f"{out}/stopped", driver)
        driver.send_signal(signal.SIGINT)
        found["interrupted"] = ended(driver)
        found["no_address"] = ended(start_driver(inputs, entry, f"{out}/none", "in.jsonl"))
        began = time.monotonic()
        found["dead_address"] = ended(start_driver(inputs, entry, f"{out}/dead", "127.0.0.1:9"))
        found["dead_seconds"] = time.monotonic() - began
        frozen = [sys.executable, "-c", FROZEN_WORKER, address, inputs, json.dumps(entry), f"{out}/frozen"]
        done = subprocess.run(frozen, capture_output=True, text=True, timeout=300)
        found["frozen"] = {"code": done.returncode, "out": done.stdout, "err": done.stderr}
        return found
    finally:
        cluster.shutdown()


def main() -> None:
    kind, arguments = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps(globals()[kind](**arguments)))


if __name__ == "__main__":
    main()
