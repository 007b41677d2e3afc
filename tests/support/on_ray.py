"""Start sessions on a Ray cluster, in an environment that has Ray: .venvs/ray, which sees the packages of this one."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

from playbill.runs import read_records
from support.environments import ROOT, environment

RAY = "ray==2.60.0"
# What every Python of a session does first: an entry may end the process that loads it, and a node may have other
# packages than the rest.
CUSTOM = """
import dataclasses, os
import playbill.backends.registry.backends as b
b._built_in()["programmatic"] = dataclasses.replace(b._built_in()["programmatic"], module="dying")
if torch := os.environ.get("PLAYBILL_TEST_TORCH"):
    import playbill.replicas.worker as w
    w.package_versions = lambda: {"torch": torch}
"""
DYING = """
import os, signal, sys
from playbill.backends.engines import programmatic

def load(entry, context):
    dies = entry.get("x_dies")
    if dies is True or (dies and not os.path.exists(dies)):
        if dies is not True:
            open(dies, "w").close()
        print("the last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return programmatic.load(entry, context)
"""


def session(kind: str, *, before: tuple[str, ...] = (), **arguments: Any) -> dict[str, Any]:
    """What a session told; see `support.ray_sessions`. ``before`` are the words of a command that starts it.

    Its sockets need a folder with a short name. No process may be left.
    """
    python = environment("ray", RAY) / "python"
    paths = [ROOT / "src", ROOT / "tests", sysconfig.get_paths()["purelib"]]
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        (Path(folder) / "sitecustomize.py").write_text(CUSTOM)
        (Path(folder) / "dying.py").write_text(DYING)
        done = subprocess.run(
            [*before, str(python), "-m", "support.ray_sessions", kind, json.dumps(arguments, default=str)],
            capture_output=True,
            text=True,
            timeout=2500,
            env={
                **os.environ,
                "RAY_TMPDIR": folder,
                "PYTHONPATH": os.pathsep.join(map(str, [folder, *paths])),
                "PLAYBILL_TEST_SESSION": folder,
            },
        )
        until = time.monotonic() + 30  # workers of a node that was killed see it soon
        while (left := processes_with(folder)) and time.monotonic() < until:
            time.sleep(0.2)
        assert left == [], [Path(f"/proc/{pid}/cmdline").read_bytes()[:80] for pid in left]
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def processes_with(mark: str) -> list[int]:
    """The processes whose environment names the session's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def kept(folder: str | Path, label: str) -> dict[tuple[str, int, int], tuple[Any, ...]]:
    """What each record says, by its key; each item is there once."""
    found = {}
    for record in read_records(Path(folder, label, "records.jsonl")):
        key = record["id"], record["turn"], record["sample"]
        assert key not in found, "each item once"
        found[key] = tuple(record[name] for name in ("text", "prompt", "output_ids", "outcome", "messages", "params"))
    return found


def check_silent(told: dict[str, Any]) -> None:
    """Nothing of Ray's is on stdout or stderr: stdout is one JSON object, each line of stderr another."""
    if told["out"]:
        json.loads(told["out"])
    for line in told["err"].splitlines():
        assert line.startswith(("{", "playbill: ")), line
