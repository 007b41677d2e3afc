"""How fast the audit reads, and in how much memory: a file of records made here, of 25 MB and of the size asked for.

    python benchmarks/audit.py [MEGABYTES]

Dialogues of four turns with growing histories; a tenth of the answers leaks an end token.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = [
    "the",
    "a",
    "tower",
    "of",
    "stone",
    "and",
    "glass",
    "stands",
    "near",
    "old",
    "harbour",
    "where",
    "ships",
    "go",
    "out",
    "at",
    "night",
    "with",
    "light",
]


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + ".\n"


def lines(rng: random.Random, dialogue: int) -> list[str]:
    messages = [{"role": "user", "content": text(rng, 120)}]
    made = []
    for turn in range(4):
        answer = text(rng, 60).strip()
        prompt = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        leak = "<|im_end|>" if rng.random() < 0.1 else ""
        made.append(
            json.dumps(
                {
                    "schema": 1, "id": f"d{dialogue}", "turn": turn, "sample": 0, "model_name": "m", "label": "m",
                    "messages": messages, "changes": [], "prompt": f"{prompt}<|im_start|>assistant\n",
                    "raw": f"{answer}<|im_end|>", "text": answer + leak, "thinking": None, "outcome": "answered",
                    "finish_reason": "stop", "finish_reason_raw": "eos",
                    "usage": {"input_tokens": 200, "output_tokens": 61, "cached_tokens": 0, "thinking_tokens": None},
                    "params": {"asked": {}, "effective": {"temperature": 0.0, "max_tokens": 300}},
                    "request": None, "response": None, "seconds": 0.5, "time": "2026-01-01T00:00:00.000+00:00",
                    "attempts": 1, "error": None, "seed": None, "details": {},
                    "prompt_ids": [rng.randrange(49152) for _ in range(len(prompt) // 4)],
                    "output_ids": [rng.randrange(49152) for _ in range(61)],
                },
                separators=(",", ":"),
                ensure_ascii=False,
            )
        )  # fmt: skip
        messages = [
            *messages,
            {"role": "assistant", "content": answer + leak},
            {"role": "user", "content": text(rng, 40)},
        ]
    return made


def make(path: Path, megabytes: int) -> None:
    rng = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        dialogue = 0
        while file.tell() < megabytes * 1_000_000:
            file.writelines(line + "\n" for line in lines(rng, dialogue))
            dialogue += 1


def measure(path: Path) -> None:
    """In a process of its own, so that the memory is this audit's alone; CPU time, since other work may disturb."""
    command = [sys.executable, "-m", "playbill", "audit", "--summary", str(path)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    cpu = usage.ru_utime + usage.ru_stime
    size = path.stat().st_size / 1e6
    memory = usage.ru_maxrss / 1024
    print(f"{size:7.1f} MB  {seconds:6.2f} s  {cpu:6.2f} s CPU  {size / cpu:6.1f} MB/s CPU  {memory:6.1f} MiB at most")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in (25, int(sys.argv[1]) if len(sys.argv) > 1 else 250):
            path = Path(folder) / "records.jsonl"
            make(path, megabytes)
            measure(path)
