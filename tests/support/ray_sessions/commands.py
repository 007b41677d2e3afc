"""Commands beside `playbill run` on a cluster, a replica of which is killed in the middle."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from support.ray_sessions.cluster import busiest, cluster_of, ended, kill, replica_processes, start, wait_until


def _asked(url: str, body: dict) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=300)
    connection.request("POST", f"{parts.path}/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    return connection.getresponse()


def _texts(line: bytes) -> str:
    """What an event of a stream adds to the text."""
    if not line.startswith(b"data: {"):
        return ""
    return "".join(choice["delta"].get("content") or "" for choice in json.loads(line[6:]).get("choices", ()))


def serve(entry: dict, messages: list, max_tokens: int) -> dict[str, Any]:
    """A whole answer, then a stream whose replica is killed after its first words, then another whole answer."""
    with cluster_of(2) as (cluster, nodes):
        server = start("serve", json.dumps(entry), f"--ray={cluster.address}", "--port", "0")
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        body = {"model": entry["model_name"], "messages": messages, "max_tokens": max_tokens}
        first = json.load(_asked(url, body))
        wait_until(lambda: len(replica_processes(nodes)) == 2)
        pieces, events = [], []
        killed = None
        for line in _asked(url, {**body, "stream": True}):
            events.append(line.decode())
            pieces.append(_texts(line))
            if killed is None and len("".join(pieces)) > 20:
                killed = busiest(replica_processes(nodes))
                kill(killed)
        last = json.load(_asked(url, body))
        server.send_signal(signal.SIGTERM)
        return {
            "first": first,
            "streamed": "".join(pieces),
            "events": events[-3:],
            "last": last,
            "killed": killed is not None,
            **ended(server, 60),
        }


def clem(players: list[dict], python: str, cwd: str) -> dict[str, Any]:
    """Games over replicas, one of which is killed after the first episodes."""
    with cluster_of(2) as (cluster, nodes):
        models = [word for player in players for word in ("-m", json.dumps(player))]
        options = [f"--ray={cluster.address}", "--clem-python", python, "-r", "ray", "--replicas", "2", "--json"]
        game = start("clem", "run", "-g", "relay", *models, *options, cwd=cwd)
        wait_until(lambda: list(Path(cwd, "ray").glob("**/interactions.json")) or game.poll() is not None)
        found = replica_processes(nodes)
        if found:
            kill(found[0])
        return {"replicas": len(found), **ended(game)}


def starts_local(inputs: str, entry: dict, out: str) -> dict[str, Any]:
    """A cluster that the command starts for itself, in whose context a program's own prints stay on stdout."""
    code = (
        "from playbill.replicas.ray_places import ray_places; from playbill.runs import run\n"
        "with ray_places(replicas=1) as places:\n"
        f"    print(run({inputs!r}, {entry!r}, out={f'{out}-api'!r}, places=places).ok)"
    )
    api = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    command = ["run", inputs, "-m", json.dumps(entry), "-o", out, "--json", "--ray"]
    return {"command": ended(start(*command), 200), "api": {"out": api.stdout, "err": api.stderr}}


def joins_auto(inputs: str, entry: dict, out: str) -> dict[str, Any]:
    """A cluster that `ray start` made, as the how-to says, joined by `auto`; and `auto` once it is gone.

    There is a token in the home, as after any earlier cluster of one's own: Ray wants it then from all who join.
    """
    del os.environ["RAY_AUTH_MODE"]
    token = Path.home() / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text("0123456789abcdef" * 4)
    ray = Path(sys.executable).with_name("ray")
    head = [ray, "start", "--head", "--node-ip-address=127.0.0.1", "--port=6398", "--num-cpus=2", "--block"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    cluster = subprocess.Popen([*head, "--include-dashboard=false", "--disable-usage-stats"], **quiet)
    try:
        time.sleep(8)
        command = ["run", inputs, "-m", json.dumps(entry), "-o", out, "--ray=auto"]
        found = {"joined": ended(start(*command))}
        named = [*command[:-3], "-o", f"{out}-named", "--ray=localhost:6398"]
        found["named"] = ended(start(*named))
    finally:
        cluster.send_signal(signal.SIGTERM)
        cluster.wait(60)
    return found | {"gone": ended(start(*command), 60)}
