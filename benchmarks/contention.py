"""What a second busy process on one core costs a local engine: its rate alone, and beside it.

    python benchmarks/contention.py [MODEL …] [--repeats 3] [--dialogues 8] [--tokens 48] [--threads N]

vllm has an environment of its own, so its part is run with that one's Python and a selector:

    .venvs/vllm/bin/python benchmarks/contention.py '{"model_name": "SmolLM2", "backend": "vllm",
        "huggingface_id": ".cache/tests/smollm2-bf16", "premade_chat_template": true, "eos_to_cull": "<|im_end|>"}'

Each model (a name of the registry, or a JSON selector) is loaded once, in a process of its own, and answers the same
questions alone and beside a process that does nothing but count on one core, in turns. Prints a block for
benchmarks/RESULTS.md; exits with 1 where an engine keeps less than a third of its rate.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from machine import Others, describe
from workload import dialogues

MODELS = ["SmolLM2-135M-Instruct-Q4", "SmolLM2-135M-Instruct"]
LEAST = 1 / 3
_BUSY = "import os\nif hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {CORE})\nwhile True: pass"


@contextmanager
def busy_core() -> Iterator[None]:
    """A process that keeps one core busy, the last of those that we may use."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    process = subprocess.Popen([sys.executable, "-c", _BUSY.replace("CORE", str(cores[-1]))])
    try:
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def measure(asked: argparse.Namespace, name: str) -> dict[str, Any]:
    """Rates of one model, alone and beside a busy process."""
    from playbill.backends import load_model

    selector = json.loads(name) if name.startswith("{") else name
    keys = {"threads": asked.threads, "max_tokens": asked.tokens}
    with load_model(selector, dialogues=asked.dialogues, **keys) as model:
        batch = [[{"role": "user", "content": d["turns"][0]}] for d in dialogues(asked.dialogues)]
        model.generate_batch(batch[:1])
        found: dict[str, Any] = {"alone": [], "beside": [], "others": []}
        for turn in range(asked.repeats):
            others = Others()
            found["alone"].append(_rate(model, batch, 2 * turn))
            found["others"].append(others.share() or 0.0)
            with busy_core():
                found["beside"].append(_rate(model, batch, 2 * turn + 1))
        found["threads"] = model.engine.facts().get("threads")
    return found


def _rate(model: Any, batch: list[list[dict[str, str]]], mark: int) -> float:
    """Tokens a second; the mark makes prompts new, so that no cache has them."""
    marked = [[{"role": "user", "content": f"({mark}) {each[0]['content']}"}] for each in batch]
    begin = time.perf_counter()
    generations = model.generate_batch(marked)
    seconds = time.perf_counter() - begin
    # Prompts count: most of the work is theirs.
    return sum((g.usage.input_tokens or 0) + (g.usage.output_tokens or 0) for g in generations) / seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", default=MODELS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dialogues", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked, asked.models[0])))
        return 0
    print("\n## A second busy process\n")
    print(describe({}), f"Command: `python {' '.join(sys.argv)}`.")
    print(
        f"{asked.dialogues} prompts of about 300 tokens at once, answers up to {asked.tokens} tokens; tokens of "
        f"prompt and answer a second, medians of {asked.repeats}.\n"
    )
    print("| model | threads | alone (spread) | beside a busy process (spread) | ratio | others' share |")
    print("|---|---:|---:|---:|---:|---:|")
    kept = True
    for name in asked.models:
        options = [f"--{key}={getattr(asked, key)}" for key in ("repeats", "dialogues", "tokens", "threads")]
        command = [sys.executable, __file__, "--one", name, *(o for o in options if not o.endswith("=None"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        ratio = statistics.median(found["beside"]) / statistics.median(found["alone"])
        kept = kept and ratio >= LEAST
        columns = " | ".join(
            f"{statistics.median(found[k]):.0f} ({min(found[k]):.0f} to {max(found[k]):.0f})"
            for k in ("alone", "beside")
        )
        shown = "{model_name}, {backend}".format(**json.loads(name)) if name.startswith("{") else name
        print(f"| {shown} | {found['threads']} | {columns} | {ratio:.2f} | {max(found['others']):.0%} |", flush=True)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
