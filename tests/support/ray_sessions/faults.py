"""What goes wrong without any node that dies: too much is asked for, replicas differ, a worker freezes or dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from threading import Thread
from typing import Any

from support.ray_sessions.cluster import cluster_of, ended, records, start, start_driver, wait_for

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


def faults(inputs: str, entry: dict, dying: dict, relative: dict, out: str, cwd: str) -> dict[str, Any]:
    """One after the other on one cluster, which was started in another folder."""
    with cluster_of(2) as (cluster, _):
        address = cluster.address
        found = {
            "too_many": ended(start_driver(inputs, entry, f"{out}/many", address, "--replicas", "5")),
            "infeasible": ended(start_driver(inputs, {**entry, "num_gpus": 2}, f"{out}/gpus", address)),
            "dies_at_load": ended(start_driver(inputs, dying, f"{out}/dying", address, "--replicas", "1")),
            "dies_once": ended(
                start_driver(inputs, {**dying, "x_dies": f"{out}/died"}, f"{out}/once", address, "--replicas", "1")
            ),
            "relative": ended(start_driver(inputs, relative, f"{out}/relative", address, "-m", "mock", cwd=cwd)),
            "wrong": ended(start_driver(inputs, {**entry, "answers": 7}, f"{out}/wrong", address)),
        }
        driver = start_driver(inputs, {**entry, "delay": 0.5}, f"{out}/stopped", address)
        wait_for(20, f"{out}/stopped", driver)
        driver.send_signal(signal.SIGINT)
        found["interrupted"] = ended(driver)
        found["no_address"] = ended(start_driver(inputs, entry, f"{out}/none", "in.jsonl"))
        found["dead_address"] = ended(start_driver(inputs, entry, f"{out}/dead", "127.0.0.1:9"))
        frozen = [sys.executable, "-c", FROZEN_WORKER, address, inputs, json.dumps(entry), f"{out}/frozen"]
        done = subprocess.run(frozen, capture_output=True, text=True, timeout=300)
        found["frozen"] = {"code": done.returncode, "out": done.stdout, "err": done.stderr}
        return found


def other_replicas(inputs: str, entry: dict, weights: dict, homes: list[str], out: str) -> dict[str, Any]:
    """Two nodes with other packages and other weights: what the second replica of each model says."""
    env = [{"HOME": home, "PLAYBILL_TEST_TORCH": torch} for home, torch in zip(homes, ("9.8", "9.9"), strict=True)]
    with cluster_of(2, env=env) as (cluster, _):
        found = {"versions": ended(start_driver(inputs, entry, f"{out}/versions", cluster.address))}
    with cluster_of(2, env=[{"HOME": home} for home in homes]) as (cluster, _):
        return found | {"weights": ended(start_driver(inputs, weights, f"{out}/weights", cluster.address))}


def busy(inputs: str, entry: dict, out: str) -> dict[str, Any]:
    """Another job holds what a replica needs: that is said, Ctrl-C ends the wait, and so does room."""
    import ray

    @ray.remote(num_cpus=1)
    class Other:
        def here(self) -> bool:
            return True

    with cluster_of(1) as (cluster, _):
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        other = Other.remote()
        ray.get(other.here.remote())
        try:
            run = start_driver(inputs, entry, f"{out}/run", cluster.address)
            time.sleep(15)
            run.send_signal(signal.SIGINT)
            found = {"run": ended(run, 60), "serve": _served(entry, cluster.address)}
            run = start_driver(inputs, entry, f"{out}/run", cluster.address)
            time.sleep(15)
            before = records(f"{out}/run")
            ray.kill(other)
            return found | {"before": before, "freed": ended(run)}
        finally:
            ray.shutdown()


def _served(entry: dict, address: str) -> dict[str, Any]:
    """A server whose only request waits for room is interrupted."""
    serve = start("serve", json.dumps(entry), f"--ray={address}", "--port", "0")
    assert serve.stdout is not None
    url = serve.stdout.readline().strip()
    body = {"model": entry["model_name"], "messages": [{"role": "user", "content": "Hello!"}]}
    asked = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )

    def ask() -> None:
        with suppress(OSError):
            urllib.request.urlopen(asked, timeout=100).read()

    Thread(target=ask, daemon=True).start()
    time.sleep(15)
    serve.send_signal(signal.SIGINT)
    return ended(serve, 60)


def late_node(inputs: str, entry: dict, out: str, turns: int) -> dict[str, Any]:
    """A node joins when an eighth of the turns is done."""
    with cluster_of(1) as (cluster, _):
        driver = start_driver(inputs, entry, out, cluster.address)
        wait_for(turns // 8, out, driver)
        cluster.add_node(num_cpus=1)
        return ended(driver)


def pictures(inputs: str, entry: dict, out: str, cwd: str) -> dict[str, Any]:
    """A vision model, whose dialogues name pictures by relative paths; the nodes were started elsewhere."""
    with cluster_of(2) as (cluster, _):
        return ended(start_driver(inputs, entry, out, cluster.address, "--replicas", "2", cwd=cwd))
