"""What the same bits in any company cost llamacpp with K-quants: `batching` `exact` beside `fast`, in one run.

    python benchmarks/llamacpp_kernels.py [--quants Q4_K Q5_K] [--repeats 3] [--layers 8] [--width 2048]

The model has random weights, most of them in the format named, the rest in Q6_K, as files called Q4_K_M have it. Eight
prompts that share nothing, with an answer of one token; then eight short ones with answers of 48. Each measurement is a
process of its own; the two ways alternate. Prints a block for benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import Others, describe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

WAYS = ("fast", "exact")
AT_ONCE, WORDS, ANSWER = 8, 130, 48


def measure(file: str, way: str) -> dict[str, float]:
    """Tokens a second of prompts, and of answers."""
    from gguf_smollm2 import entry, user

    from playbill.backends import load_model

    texts = [" ".join(f"{number} {place}" for place in range(WORDS)) for number in range(AT_ONCE)]
    with load_model(entry(huggingface_id=file, batching=way), dialogues=AT_ONCE) as model:
        model.generate(user("Hello."), max_tokens=2)
        begin = time.perf_counter()
        answers = model.generate_batch([user(text) for text in texts], max_tokens=1)
        prompt = sum(a.usage.input_tokens - (a.usage.cached_tokens or 0) for a in answers) / (
            time.perf_counter() - begin
        )
        begin = time.perf_counter()
        answers = model.generate_batch([user(f"{number} is") for number in range(AT_ONCE)], max_tokens=ANSWER)
        answer = sum(len(a.output_ids) for a in answers) / (time.perf_counter() - begin)
    return {"prompt": prompt, "answer": answer}


def measured(file: Path, way: str) -> dict[str, float]:
    others = Others()
    done = subprocess.run([sys.executable, __file__, "--one", file, way], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{file.parent.name} {way:5}: {found}, others {others.share() or 0:.0%}", file=sys.stderr)
    return {**found, "others": others.share() or 0.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quants", nargs="+", default=["Q4_K", "Q5_K"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(measure(*asked.one)))
        return 0
    from importlib.metadata import version

    from gguf_smollm2 import write_noise

    print("\n## What exactness costs llamacpp with K-quants\n")
    print(describe({"xllamacpp": version("xllamacpp")}), f"Command: `python {' '.join(sys.argv)}`.\n")
    print("| weights | `batching` | prompts, tokens a second | answers, tokens a second | others' share |")
    print("|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for quant in asked.quants:
            (place := Path(folder) / quant).mkdir()
            file = write_noise(place, quant, "Q6_K", layers=asked.layers, width=asked.width)
            runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
            for _ in range(asked.repeats):
                for way, each in runs.items():
                    each.append(measured(file, way))
            for way, each in runs.items():
                figures = " | ".join(_figure([r[name] for r in each]) for name in ("prompt", "answer"))
                print(f"| {quant}, Q6_K | `{way}` | {figures} | {max(r['others'] for r in each):.0%} |")
    return 0


def _figure(rates: list[float]) -> str:
    return f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"


if __name__ == "__main__":
    sys.exit(main())
