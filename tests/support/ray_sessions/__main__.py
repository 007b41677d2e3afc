"""Run one session; see the package."""

from __future__ import annotations

import json
import sys

from support.ray_sessions import commands, cut_off, deaths, faults

KINDS = {
    "disturbed": deaths.disturbed,
    "stopped_node": deaths.stopped_node,
    "head_dies": deaths.head_dies,
    "cut_off": cut_off.cut_off,
    "faults": faults.faults,
    "other_replicas": faults.other_replicas,
    "busy": faults.busy,
    "late_node": faults.late_node,
    "pictures": faults.pictures,
    "serve": commands.serve,
    "clem": commands.clem,
    "starts_local": commands.starts_local,
    "joins_auto": commands.joins_auto,
}


if __name__ == "__main__":
    print(json.dumps(KINDS[sys.argv[1]](**json.loads(sys.argv[2]))))
