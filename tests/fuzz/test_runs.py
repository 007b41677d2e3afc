"""Folders of runs that others may have touched: records and manifests are read, gone on with, or refused in words."""

from __future__ import annotations

import json
import shutil

from hypothesis import strategies as st

from playbill.runs.inputs.inputs import open_inputs
from support.audited import chatml, record
from support.fuzzing import command, fuzz
from support.mutations import json_bytes, json_lines

SERVICE = {
    "prompt": None,
    "raw": "Hi.",
    "text": "Hi.",
    "request": {"model": "x", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0.0},
    "response": {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}},
}
SECOND = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "b"}]
RECORDS = [
    record(),
    record(turn=1, messages=SECOND, details={"stop_string": "x", "fingerprint": "f"}, changes=["merged"]),
    record(id="d2", **SERVICE),
    record(id="d2", turn=1, outcome="error", error={"type": "EngineError", "message": "no"}, text="", raw=None),
    record(id="d3", thinking="hm", outcome="truncated", finish_reason="length", sample=1),
]
DIALOGUE = {"id": "d1", "turns": ["Hello!"]}
DIGEST = open_inputs([DIALOGUE]).digest
MANIFEST = {
    "schema": 1, "playbill": "0.1", "created": "2026-01-01T00:00:00+00:00", "date": "2026-01-01T00:00:00",
    "seed": None, "repeat": 1,
    "inputs": {"files": [{"path": "in.jsonl", "dialogues": 1}], "dialogues": 1, "sha256": DIGEST},
    "starts": [{"time": "2026-01-01T00:00:00+00:00", "models": ["m"], "playbill": "0.1", "packages": {}}],
    "models": {"m": {
        "folder": "m", "model_name": "m", "spec": {"model_name": "m", "backend": "programmatic", "answers": ["a"]},
        "parameters": {"asked": {}, "effective": {"temperature": 0.0}}, "weights": {"sha256": "a"},
        "cleaning": {"eos_to_cull": ["<|im_end|>"], "thinking_start": "<think>", "end_tokens": ["<|im_end|>"]},
    }, "local": {
        "folder": "local", "template": {"text": chatml(("user", "{{ messages[0].content }}")), "source": "custom",
        "variables": {}}, "cleaning": {"frame": ["a"], "response": None}, "weights": {"sha256": "a"},
    }},
}  # fmt: skip


def _read_all(place, manifest, records):
    folder = place / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "manifest.json").write_bytes(manifest)
    for label in ("m", "local"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / "records.jsonl").write_bytes(records)
    for name in ("audit", "replay", "report"):
        command(name, "run")
    command("replay", "run", "--json")
    (place / "in.jsonl").write_text(json.dumps(DIALOGUE) + "\n")
    (place / "r.json").write_text(json.dumps([{"model_name": "m", "backend": "programmatic", "answers": ["a"]}]))
    command("run", "in.jsonl", "-m", "m", "-o", "run", "--registry", "r.json")
    reader = {"model_name": "p", "backend": "replay", "records": "run/m/records.jsonl"}
    (place / "r.json").write_text(json.dumps([reader]))
    command("run", "in.jsonl", "-m", "p", "-o", "again", "--registry", "r.json")
    shutil.rmtree(place / "again", ignore_errors=True)


@fuzz(json_lines(RECORDS), quick=15)
def test_records(example, place):
    """Beside a sound manifest."""
    _read_all(place, json.dumps(MANIFEST).encode(), example)


@fuzz(st.tuples(json_bytes([MANIFEST]), json_lines(RECORDS, most=1)), quick=15)
def test_a_manifest(example, place):
    """Beside records of all kinds."""
    _read_all(place, *example)
