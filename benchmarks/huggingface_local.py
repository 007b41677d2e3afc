"""Playbill's huggingface_local engine beside clemcore's, on the same dialogues with the same histories, in one run.

    python benchmarks/huggingface_local.py [--clem PYTHON] [--weights FOLDER] [--repeats 3] [--dialogues 32]

PYTHON is that of an environment with clemcore[huggingface] and torch; without it one is made in .venvs/clemcore (a
download of gigabytes). The weights are SmolLM2-135M-Instruct in bfloat16; without --weights those of the tests. First
Playbill answers one at a time; what it says is the history for all others, so that all compute the same prompts. Then
`fast`, `exact` and clemcore's generate_batch_response of all dialogues alternate, each in a process of its own; a
measurement during which others used more than a tenth of the machine is repeated. Prints a block for
benchmarks/RESULTS.md; exits with 1 where a bound is missed. Smaller: --repeats 1 --dialogues 8 --turns 2.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from machine import Others, describe
from workload import MAX_TOKENS, dialogues

ROOT = Path(__file__).parents[1]
CLEMCORE = "clemcore[huggingface]==3.7.2"
BOUNDS = {"fast": 3.0, "exact": 1.8, "alone": 8.0}
FLOAT_SHARE = 0.99

# Runs in clemcore's environment: argument is a JSON file with the work; prints seconds, loading and the answers.
CLEM = """
import json, sys, time
begin = time.perf_counter()
import torch
from clemcore.backends import ModelSpec
from clemcore.backends.huggingface_local_api import HuggingfaceLocal
asked = json.load(open(sys.argv[1]))
config = {"premade_chat_template": True, "eos_to_cull": r"<\\|im_end\\|>", "padding_side": "left"}
spec = {"model_name": "smol", "backend": "huggingface_local", "huggingface_id": asked["weights"]}
spec["model_config"] = config
model = HuggingfaceLocal().get_model_for(ModelSpec.from_dict(spec))
model.set_gen_args(temperature=0.0, max_tokens=asked["max_tokens"])
if asked["threads"]:
    torch.set_num_threads(asked["threads"])
loading = time.perf_counter() - begin
begin, answers, new = time.perf_counter(), [], 0
for turn in zip(*asked["work"]):
    turn = [[dict(m) for m in messages] for messages in turn]
    if asked["batch"]:
        texts = [text for _, _, text in model.generate_batch_response(turn)]
    else:
        texts = [model.generate_response(messages)[2] for messages in turn]
    answers.append(texts)
seconds = time.perf_counter() - begin
new = sum(len(model.tokenizer(t).input_ids) + 1 for texts in answers for t in texts)
print(json.dumps({"seconds": seconds, "loading": loading, "new": new, "threads": torch.get_num_threads()}))
"""


def prompts(work: list[dict[str, Any]], histories: list[list[str]]) -> list[list[list[dict[str, str]]]]:
    """For each dialogue the messages of each turn, the answers before it being those of the histories."""
    found = []
    for dialogue, history in zip(work, histories, strict=True):
        messages: list[dict[str, str]] = []
        turns = []
        for text, answer in zip(dialogue["turns"], history, strict=True):
            messages = [*messages, {"role": "user", "content": text}]
            turns.append(messages)
            messages = [*messages, {"role": "assistant", "content": answer}]
        found.append(turns)
    return found


def playbill(asked: dict[str, Any]) -> dict[str, Any]:
    """The work by Playbill, a thread for each dialogue; without histories each has its own answers as such."""
    from playbill.backends import load_model

    entry = {
        "model_name": "smol",
        "backend": "huggingface_local",
        "huggingface_id": asked["weights"],
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "max_tokens": asked["max_tokens"],
        "batching": asked["kind"],
        "dtype": asked["dtype"],
        **({"threads": asked["threads"]} if asked["threads"] else {}),
    }
    begin = time.perf_counter()
    model = load_model(entry)
    loading = time.perf_counter() - begin
    work, histories = asked["work"], asked["histories"]
    answers: list[list[Any]] = [[] for _ in work]

    def talk(place: int) -> None:
        messages: list[dict[str, str]] = []
        for turn, text in enumerate(work[place]["turns"]):
            messages.append({"role": "user", "content": text})
            answer = model.submit(messages, dialogue=work[place]["id"]).result()
            answers[place].append(answer)
            said = histories[place][turn] if histories else answer.text
            messages.append({"role": "assistant", "content": said})

    talks = [threading.Thread(target=talk, args=(place,)) for place in range(len(work))]
    begin = time.perf_counter()
    for each in talks:
        each.start()
    for each in talks:
        each.join()
    seconds = time.perf_counter() - begin
    every = [answer for turns in answers for answer in turns]
    facts = model.engine.facts()
    model.close()
    if bad := [a.error for a in every if a.error]:
        raise SystemExit(f"{len(bad)} requests failed: {bad[0]}")
    return {
        "seconds": seconds,
        "loading": loading,
        "new": sum(len(a.output_ids) for a in every),
        "sent": sum(a.usage.input_tokens for a in every),
        "computed": sum(a.usage.input_tokens - (a.usage.cached_tokens or 0) for a in every),
        "answers": [[a.output_ids for a in turns] for turns in answers],
        "texts": [[a.text for a in turns] for turns in answers],
        "threads": facts["threads"],
    }


class Bench:
    """Starts the measurements, each in a process of its own."""

    def __init__(self, asked: argparse.Namespace, folder: Path, clem: Path, weights: Path) -> None:
        self.asked, self.folder, self.clem = asked, folder, clem
        self.common = {"weights": str(weights), "max_tokens": MAX_TOKENS, "threads": asked.threads}
        self.work = dialogues(asked.dialogues, asked.turns)

    def ours(self, kind: str, histories: Any, dtype: str = "bfloat16", number: int | None = None) -> dict[str, Any]:
        work, histories = self.work[:number], histories[:number] if histories else None
        job = {**self.common, "kind": kind, "dtype": dtype, "work": work, "histories": histories}
        return self._measured(f"{kind}, {dtype}", [sys.executable, str(Path(__file__).absolute()), "--one"], job)

    def theirs(self, histories: Any, *, threads: int, batch: bool = True, number: int | None = None) -> dict[str, Any]:
        work = prompts(self.work, histories)[:number]
        name = "clemcore, " + ("batch" if batch else "one at a time") + (f", {threads} threads" if threads else "")
        command = [str(self.clem), "-c", CLEM]
        return self._measured(name, command, {**self.common, "threads": threads, "work": work, "batch": batch})

    def _measured(self, name: str, command: list[str], job: dict[str, Any]) -> dict[str, Any]:
        file = self.folder / "job.json"
        file.write_text(json.dumps(job))
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        if command[0] != sys.executable:
            environment.pop("PYTHONPATH", None)
        for _ in range(1 + self.asked.again):
            others = Others()
            options = {"capture_output": True, "text": True, "check": False, "env": environment, "cwd": self.folder}
            done = subprocess.run([*command, str(file)], **options)
            if done.returncode:
                raise SystemExit(done.stderr[-3000:])
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            found |= {"others": others.share() or 0.0, "dialogues": len(job["work"])}
            rate = found["new"] / found["seconds"]
            print(
                f"{name:32} {found['new']:5} tokens in {found['seconds']:6.1f} s, {rate:6.1f} a second, "
                f"{found['threads']} threads; loading {found['loading']:.1f} s; others used "
                f"{found['others']:.0%} of the machine",
                file=sys.stderr,
                flush=True,
            )
            if found["others"] <= 0.1:
                break
        return found


def same(a: dict[str, Any], b: dict[str, Any]) -> list[int]:
    """For each turn, how many answers are the same, id by id."""
    pairs = [[x == y for x, y in zip(p, q, strict=True)] for p, q in zip(a["answers"], b["answers"], strict=True)]
    return [sum(turn) for turn in zip(*pairs, strict=True)]


def per_dialogue(runs: list[dict[str, Any]]) -> float:
    return statistics.median(r["seconds"] / r["dialogues"] for r in runs)


def row(name: str, runs: list[dict[str, Any]], base: list[dict[str, Any]], agreement: str = "") -> str:
    seconds = [r["seconds"] for r in runs]
    rate = statistics.median(r["new"] / r["seconds"] for r in runs)
    return (
        f"| {name} | {runs[0]['dialogues']} | {len(runs)} | {runs[0]['threads']} | {statistics.median(seconds):.1f} "
        f"({min(seconds):.1f} to {max(seconds):.1f}) | {rate:.1f} | {per_dialogue(base) / per_dialogue(runs):.2f} | "
        f"{agreement} | {max(r['others'] for r in runs):.0%} |"
    )


def compare(bench: Bench, asked: argparse.Namespace) -> bool:
    """Take all measurements and print the block; whether the bounds are kept."""
    from importlib.metadata import version

    single = bench.ours("single", None)
    histories = single["texts"]
    runs: dict[str, list[dict[str, Any]]] = {"clemcore": [], "fast": [], "exact": []}
    for _ in range(asked.repeats):
        runs["clemcore"].append(bench.theirs(histories, threads=0))
        runs["fast"].append(bench.ours("fast", histories))
        runs["exact"].append(bench.ours("exact", histories))
    threaded = [bench.theirs(histories, threads=single["threads"])]
    alone = [bench.theirs(histories, threads=0, batch=False, number=asked.alone)]
    floats = [bench.ours(kind, histories, "float32", asked.floats) for kind in ("single", "fast")]
    turns = len(single["answers"][0])
    shares = {k: same(single, runs[k][0]) for k in ("fast", "exact")}
    shares["float32"] = same(*floats)
    base = runs["clemcore"]

    def share(name: str, number: int) -> str:
        return f"{' '.join(map(str, shares[name]))} of {number} ({sum(shares[name]) / (number * turns):.1%})"

    packages = {name: version(name) for name in ("torch", "transformers")}
    print("\n## huggingface_local beside clemcore\n")
    print(describe({**packages, "clemcore": "3.7.2"}), f"Command: `python {' '.join(sys.argv)}`.")
    print(
        f"Dialogues of {turns} turns of a word-guessing game, answers up to {MAX_TOKENS} tokens, greedy, "
        "SmolLM2-135M-Instruct in bfloat16, histories fixed; medians.\n"
    )
    print(
        "| | dialogues | runs | threads | s (spread) | tokens a second | × clemcore as it is | same answers as one at "
        "a time, by turn | others' share |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---|---:|")
    print(row("clemcore, batch, as it is", base, base))
    print(row("clemcore, batch, as many threads", threaded, base))
    print(row("clemcore, one at a time, as it is", alone, base))
    print(row("Playbill, `single`", [single], base))
    print(row("Playbill, `exact`", runs["exact"], base, share("exact", asked.dialogues)))
    print(row("Playbill, `fast`", runs["fast"], base, share("fast", asked.dialogues)))
    print(row("Playbill, `fast`, float32", [floats[1]], base, share("float32", floats[1]["dialogues"])))
    ratios = {k: per_dialogue(base) / per_dialogue(runs[k]) for k in ("fast", "exact")}
    ratios["alone"] = per_dialogue(alone) / per_dialogue(runs["fast"])
    fast = runs["fast"][0]
    print(
        f"\n`fast` is {ratios['alone']:.1f} times as fast as clemcore one at a time. Of {fast['sent']:,} prompt tokens "
        f"it computed {fast['computed']:,}."
    )
    float32 = sum(shares["float32"]) / (floats[1]["dialogues"] * turns)
    return all(ratios[k] >= bound for k, bound in BOUNDS.items()) and float32 >= FLOAT_SHARE


def clem_python() -> Path:
    """Python of an environment with clemcore, made where it isn't there yet, with the torch that is used here."""
    from importlib.metadata import version

    folder = ROOT / ".venvs" / "clemcore"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        torch = version("torch")
        pip = [str(python), "-m", "pip"]
        # First by its public version, since an index may not know the local one; then pinned against another build.
        subprocess.run([*pip, "install", "--quiet", f"torch=={torch.partition('+')[0]}"], check=True)
        subprocess.run([*pip, "install", "--quiet", f"torch=={torch}", CLEMCORE], check=True)
        # It comes built for GPUs, and transformers fails over it beside a torch for CPUs; text needs none of it.
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", "torchvision"], check=True)
    return python


def tests_weights() -> Path:
    """The weights that the tests use, in the hub's form."""
    sys.path.insert(0, str(ROOT / "tests"))
    from smollm2 import smollm2_folder

    return Path(smollm2_folder())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clem", type=Path, help="Python of an environment with clemcore")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dialogues", type=int, default=32)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0, help="of Playbill; by default what it chooses")
    parser.add_argument("--alone", type=int, default=4, help="dialogues for clemcore one at a time")
    parser.add_argument("--floats", type=int, default=8, help="dialogues in float32")
    parser.add_argument("--again", type=int, default=0, help="how often a disturbed measurement is repeated")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(playbill(json.loads(asked.one.read_text()))))
        return 0
    weights = asked.weights or tests_weights()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(asked, Path(folder), (asked.clem or clem_python()).absolute(), weights.absolute())
        return 0 if compare(bench, asked) else 1


if __name__ == "__main__":
    sys.exit(main())
