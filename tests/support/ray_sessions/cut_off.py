"""A node whose network is cut: it and what runs on it go on, and nobody hears of them. Needs Linux's namespaces.

The session runs in a network namespace of its own, ``unshare -Urn``, and makes another one for the node.
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
from typing import Any

from support.ray_sessions.cluster import FAST, end_session, ended, start_driver, wait_for, wait_for_word

HEAD, NODE, PORT = "10.77.0.1", "10.77.0.2", 6399
RAY = [str(Path(sys.executable).with_name("ray")), "start"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def in_namespace(pid: int, *command: str) -> list[str]:
    return ["nsenter", "-t", str(pid), "-n", *command]


def cut_off(inputs: str, entry: dict, out: str, turns: int, healed: bool) -> dict[str, Any]:
    """The cable is pulled at a third of the turns; ``healed``: it is put back once the node is missed."""
    os.environ.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)
    other = subprocess.Popen(["unshare", "-n", "sleep", "2000"])
    running = [other]
    try:
        time.sleep(0.5)
        ip("link", "set", "lo", "up")
        ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(other.pid))
        ip("addr", "add", f"{HEAD}/24", "dev", "here")
        ip("link", "set", "here", "up")
        for words in (["addr", "add", f"{NODE}/24", "dev", "there"], ["link", "set", "there", "up"]):
            subprocess.run(in_namespace(other.pid, "ip", *words), check=True)
        subprocess.run(in_namespace(other.pid, "ip", "link", "set", "lo", "up"), check=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        common = ["--num-cpus=1", "--block", "--disable-usage-stats"]
        head = [f"--port={PORT}", f"--node-ip-address={HEAD}", "--include-dashboard=false"]
        running.append(
            subprocess.Popen([*RAY, "--head", *head, f"--system-config={json.dumps(FAST)}", *common], **quiet)
        )
        time.sleep(6)
        joined = [*RAY, f"--address={HEAD}:{PORT}", f"--node-ip-address={NODE}", *common]
        running.append(subprocess.Popen(in_namespace(other.pid, *joined), **quiet))
        time.sleep(6)
        log = Path(f"{out}.log")
        driver = start_driver(inputs, entry, out, f"{HEAD}:{PORT}", "--replicas", "2", log=log)
        wait_for(turns // 3, out, driver)
        ip("link", "set", "here", "down")
        wait_for_word("died", log, driver)
        if healed:
            ip("link", "set", "here", "up")
        return {**ended(driver), "err": log.read_text()}
    finally:
        for process in reversed(running):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
        end_session()
