"""`playbill run --shard` and `playbill merge` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path


def test_two_shards_and_the_whole(playbill):
    """The default folders are the shards' own; the merged folder is complete for the command of the whole."""
    Path("in.jsonl").write_text("".join(json.dumps({"id": i, "turns": ["a", "b"]}) + "\n" for i in range(10)))
    assert playbill("run", "in.jsonl", "-m", "mock", "--shard", "1/2")[0] == 0
    code, out, _ = playbill("audit", "runs/in-1of2--mock")
    assert code == 0, out
    code, out, err = playbill("merge", "runs/in-1of2--mock", "-o", "early", "--json")
    assert (code, json.loads(out)["missing"]) == (1, ["mock: shard 2 of 2"])
    assert "missing: mock: shard 2 of 2" in err
    assert playbill("run", "in.jsonl", "-m", "mock", "--shard", "2/2")[0] == 0
    code, out, err = playbill("merge", "runs/in-1of2--mock", "runs/in-2of2--mock", "-o", "whole")
    assert (code, err) == (0, "")
    assert "mock: 20 records" in out
    code, out, _ = playbill("run", "in.jsonl", "-m", "mock", "-o", "whole", "--json")
    assert (code, json.loads(out)["models"]["mock"]["new_records"]) == (0, 0)
    assert json.loads(Path("whole/manifest.json").read_text())["inputs"]["turns"] == 20
    assert playbill("audit", "whole")[0] == 0


def test_a_wrong_shard_and_foreign_folders(playbill):
    """Each ends with 2 and says what to type."""
    Path("in.jsonl").write_text('{"id": 1, "turns": ["a"]}\n')
    code, _, err = playbill("run", "in.jsonl", "-m", "mock", "--shard", "5/4")
    assert code == 2
    assert "shards of 4 are 1/4 to 4/4" in err
    playbill("run", "in.jsonl", "-m", "mock", "-o", "a")
    playbill("run", "in.jsonl", "-m", "mock", "-o", "b", "--seed", "1")
    code, _, err = playbill("merge", "a", "b", "-o", "c")
    assert code == 2
    assert "seed: nothing in a, 1 in b" in err
