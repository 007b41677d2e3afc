"""The ways of batching of huggingface_local beside each other, or beside another checkout's, in one run.

    python benchmarks/batching.py [--weights FOLDER] [--other SRC] [--dtypes bfloat16] [--rows 1,8,32] [--repeats 3]

Each way is a process of its own that stays loaded; they answer the same dialogues by turns, so that whatever else the
machine does meets all of them. SRC is the `src` folder of another checkout, whose `exact` is measured as `before`.
Dialogues have two turns of a word-guessing game with fixed histories. Printed are tokens a second, seconds of CPU a
thousand tokens, and both beside `exact`; then how many of 128 answers of `exact` are the same in three companies: in
order, in the opposite order, and alone. Exits with 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import Others, describe
from workload import dialogues

SRC = Path(__file__).parents[1] / "src"
TOKENS, TURNS, ALONE = 32, 2, 8
SAID = "GUESS: window\nREASON: It is made of glass, and it fits to each of the clues that I was given so far."


def work(asked: dict[str, Any]) -> None:
    """A process that has loaded one way: a line of JSON in, a line out."""
    from playbill.backends import load_model

    entry = {
        "model_name": "smol",
        "backend": "huggingface_local",
        "huggingface_id": asked["weights"],
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "max_tokens": TOKENS,
        "batching": asked["batching"],
        "dtype": asked["dtype"],
        "threads": asked["threads"],
    }
    begin = time.perf_counter()
    model = load_model(entry)
    print(json.dumps({"loading": time.perf_counter() - begin}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        talks = [dialogues(32, 4)[place % 32]["turns"] for place in order]
        begin, used = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        answers: list[list[Any]] = [[] for _ in talks]
        for turn in range(TURNS):
            histories = []
            for place, talk in zip(order, talks, strict=True):
                first = talk[0].replace("another player", f"player {place}")
                messages = [{"role": "user", "content": first}]
                for text in talk[1 : turn + 1]:
                    messages += [{"role": "assistant", "content": SAID}, {"role": "user", "content": text}]
                histories.append(messages)
            for own, answer in zip(answers, model.generate_batch(histories), strict=True):
                own.append(answer.output_ids)
        found = {
            "seconds": time.perf_counter() - begin,
            "cpu": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - used,
            "tokens": sum(len(ids) for own in answers for ids in own),
            "answers": answers,
        }
        print(json.dumps(found), flush=True)


class Worker:
    """One way of batching, loaded."""

    def __init__(self, name: str, src: Path, **asked: Any) -> None:
        self.name = name
        environment = {**os.environ, "PYTHONPATH": str(src), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, str(Path(__file__).absolute()), "--work", json.dumps(asked)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, env=environment, **pipes)
        self.loading = self._read()["loading"]

    def ask(self, order: list[int]) -> dict[str, Any]:
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended")
        found: dict[str, Any] = json.loads(line)
        return found


def measure(workers: list[Worker], rows: int, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Let all answer so many dialogues by turns; the first turn of each is not counted."""
    found: dict[str, list[dict[str, Any]]] = {worker.name: [] for worker in workers}
    for repeat in range(repeats + 1):
        for worker in workers if repeat % 2 else workers[::-1]:
            # Other dialogues each time, so that nothing but the instructions is known.
            done = worker.ask([1000 * (repeat + 1) + place for place in range(rows)])
            if repeat:
                found[worker.name].append(done)
    return found


def print_rows(dtype: str, rows: int, found: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Print a row for each way; the rate of `exact` beside each of them, turn by turn."""
    shares = {}
    for name, runs in found.items():
        rate = statistics.median(run["tokens"] / run["seconds"] for run in runs)
        cpu = statistics.median(1000 * run["cpu"] / run["tokens"] for run in runs)
        pairs = list(zip(found["exact"], runs, strict=True))
        ratio = statistics.median((e["tokens"] / e["seconds"]) / (r["tokens"] / r["seconds"]) for e, r in pairs)
        spent = statistics.median((e["cpu"] / e["tokens"]) / (r["cpu"] / r["tokens"]) for e, r in pairs)
        shares[name] = ratio
        print(f"| {dtype} | {rows} | {name} | {rate:.1f} | {cpu:.1f} | {ratio:.2f} | {spent:.2f} |", flush=True)
    return shares


def same(worker: Worker) -> tuple[int, int]:
    """How many of 128 answers are the same in order and in the opposite order, and of some of them alone."""
    order = list(range(64))
    answers = [worker.ask(order)["answers"], worker.ask(order[::-1])["answers"][::-1]]
    alone = [worker.ask([place])["answers"][0] for place in order[:ALONE]]
    some = sum(a == b for p, q in zip(*answers, strict=True) for a, b in zip(p, q, strict=True))
    return some, sum(a == b for p, q in zip(alone, answers[0], strict=False) for a, b in zip(p, q, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--dtypes", default="bfloat16")
    parser.add_argument("--rows", default="1,8,32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--work", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(json.loads(asked.work))
        return 0
    from importlib.metadata import version

    if asked.weights is None:
        sys.path.insert(0, str(SRC.parent / "tests"))
        from support.smollm2 import smollm2_folder

        asked.weights = smollm2_folder()
    others, kept = Others(), True
    print("\n## The ways of batching of huggingface_local\n")
    print(
        describe({name: version(name) for name in ("torch", "transformers")}),
        f"Command: `python {' '.join(sys.argv)}`.\n",
    )
    print("| dtype | dialogues | way | tokens a second | CPU s a 1,000 tokens | rate of `exact` | its CPU |")
    print("|---|---:|---|---:|---:|---:|---:|")
    for dtype in asked.dtypes.split(","):
        common = {"weights": str(asked.weights), "dtype": dtype, "threads": asked.threads}
        workers = [Worker(name, SRC, batching=name, **common) for name in ("exact", "fast")]
        if asked.other is not None:
            workers.append(Worker("before", asked.other, batching="exact", **common))
        for rows in map(int, asked.rows.split(",")):
            shares = print_rows(dtype, rows, measure(workers, rows, asked.repeats))
            if dtype == "bfloat16":
                kept &= shares.get("before", 1.0) >= 1.0 and (rows < 32 or shares["fast"] >= 0.95)
        some, single = same(workers[0])
        loading = ", ".join(f"{worker.name} {worker.loading:.1f} s" for worker in workers)
        print(
            f"\n{dtype}: {some} of 128 answers the same in both orders, {single} of {TURNS * ALONE} alone. "
            f"Loading: {loading}."
        )
        kept &= some == 128 and single == TURNS * ALONE
        for worker in workers:
            worker.close()
    print(f"Others used {others.share() or 0:.0%} of the machine.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
