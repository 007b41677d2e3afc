"""Runs that lose a node, their driver, or the head."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from support.ray_sessions.cluster import (
    cluster_of,
    end_session,
    ended,
    processes_of,
    records,
    signalled,
    start_driver,
    wait_for,
    wait_for_word,
)


def disturbed(inputs: str, entry: dict, out: str, nodes: int, turns: int) -> dict[str, Any]:
    """A run that loses a node at a third of its turns, its driver at two thirds, and is started again."""
    with cluster_of(nodes) as (cluster, there):
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
        took = time.monotonic() - began
        return {"alive": alive, "before": before, "first_err": first["err"], **last, "seconds": took}


def stopped_node(inputs: str, entry: dict, out: str, turns: int, thawed: bool) -> dict[str, Any]:
    """A node stops at a third of the turns, as one that freezes; ``thawed``: once it is missed, it goes on."""
    with cluster_of(2) as (cluster, there):
        stopped: list[int] = []
        try:
            log = Path(f"{out}.log")
            driver = start_driver(inputs, entry, out, cluster.address, log=log)
            wait_for(turns // 3, out, driver)
            stopped = processes_of(there[0])
            signalled(stopped, signal.SIGSTOP)
            wait_for_word("died", log, driver)
            if thawed:
                signalled(stopped, signal.SIGCONT)
            return {**ended(driver), "err": log.read_text()}
        finally:
            signalled(stopped, signal.SIGKILL)


def head_dies(inputs: str, entry: dict, out: str, turns: int, number: int) -> dict[str, Any]:
    """The head's server is killed, or stopped, at a third of the turns; the second start has another cluster."""
    with cluster_of(2) as (cluster, _):
        driver = start_driver(inputs, entry, out, cluster.address)
        wait_for(turns // 3, out, driver)
        (server,) = cluster.head_node.all_processes["gcs_server"]
        server.process.send_signal(number)
        first = ended(driver, 120)
        again = ended(start_driver(inputs, entry, out, cluster.address), 60)
        server.process.kill()
    end_session()
    before = records(out)
    with cluster_of(2) as (cluster, _):
        last = ended(start_driver(inputs, entry, out, cluster.address))
    return {"first": first, "again": again, "before": before, "last": last}
