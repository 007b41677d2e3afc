"""Playbill's vllm engine beside bare vLLM, fed continuously and by `LLM.chat`, on the same dialogues, in one run.

    .venvs/vllm/bin/python benchmarks/vllm_engine.py [--repeats 3] [--uneven] [--dialogues 32] [--turns 4]
        [--threads N] [--weights FOLDER] [--dtype bfloat16] [--seats 256] [--only KIND …]

Run it in vLLM's own environment (`pytest tests/test_vllm_real.py` makes one under .venvs/vllm). Playbill's side is a
run: dialogues in, records on disk. The bare engine is vLLM's LLMEngine with the settings that Playbill gives it, and
one loop that adds a dialogue's next turn as soon as the last one is answered. `LLM.chat` gets all dialogues, turn by
turn, once as vLLM's documentation shows it, with everything that Playbill decides left to vLLM but the number format
and the lengths, and once with Playbill's settings, which leaves only the order of the work to tell them apart.
In bfloat16 a near tie may turn over with what else is in the batch, so that numbers of tokens differ a little; rates
are for each token. Each measurement is a process of its own, begins with a short answer that isn't counted, and they
alternate. Prints a block for benchmarks/RESULTS.md; exits with 1 where a bound is missed.

It isn't called vllm.py because Python would then take it for vLLM.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from machine import Others, describe
from workload import MAX_TOKENS, dialogues, uneven_limits

LEAST_OF_BARE, LEAST_OF_CHAT, MOST_COMPUTED = 0.95, 1.1, 1.1
BLOCK = 32
MOST_SECONDS = 240
WEIGHTS = Path(__file__).parents[1] / ".cache" / "tests" / "smollm2-bf16"
ENTRY = {"model_name": "SmolLM2", "backend": "vllm", "premade_chat_template": True, "eos_to_cull": "<|im_end|>"}
CONTEXT = 2048
WARM_UP = [{"role": "user", "content": "Hello."}]


def playbill(work: list[dict[str, Any]], asked: argparse.Namespace) -> dict[str, Any]:
    """The work as a run."""
    from playbill.backends import load_model
    from playbill.runs import run

    begin = time.perf_counter()
    entry = {
        **ENTRY,
        "huggingface_id": str(asked.weights),
        "dtype": asked.dtype,
        "n_ctx": CONTEXT,
        "batch_size": asked.seats,
        "max_tokens": MAX_TOKENS,
    }
    limits = _limits(asked)
    model = load_model(entry, dialogues=len(work), threads=asked.threads, max_tokens=MAX_TOKENS)
    loading = time.perf_counter() - begin
    with model, tempfile.TemporaryDirectory() as folder:
        model.generate(WARM_UP, max_tokens=8)
        if asked.uneven:
            begin = time.perf_counter()
            turns = submitted(model, work, limits)
            seconds = time.perf_counter() - begin
        else:
            result = run(work, model, out=Path(folder) / "out")
            (summary,) = result.models.values()
            if not result.ok:
                raise SystemExit(f"the run is not whole: {summary}")
            seconds = summary.seconds
            records = sorted(result.records(), key=lambda r: (r["id"], r["turn"]))
            turns = [(r["turn"], r["usage"]) for r in records]
    counts = [(turn, u["input_tokens"], u["output_tokens"], u["cached_tokens"]) for turn, u in turns]
    return {
        "seconds": seconds,
        "loading": loading,
        "new": sum(new for _, _, new, _ in counts),
        "sent": sum(sent for _, sent, _, _ in counts),
        "computed": sum(sent - cached for _, sent, _, cached in counts),
        "distinct": distinct([each[:3] for each in counts]),
    }


def submitted(model: Any, work: list[dict[str, Any]], limits: list[list[int]]) -> list[tuple[int, dict[str, Any]]]:
    """The uneven work by `Model.submit`, since a run has one limit for all answers: turns and usages, in order."""
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    talks: list[list[dict[str, str]]] = [[] for _ in work]
    futures: list[list[Any]] = [[] for _ in work]

    def ask(place: int) -> None:
        turn = len(futures[place])
        talks[place].append({"role": "user", "content": work[place]["turns"][turn]})
        futures[place].append(model.submit(talks[place], max_tokens=limits[place][turn]))
        futures[place][-1].add_done_callback(lambda _: done.put(place))

    for place in range(len(work)):
        ask(place)
    for _ in range(sum(len(each["turns"]) for each in work)):
        place = done.get()
        talks[place].append({"role": "assistant", "content": futures[place][-1].result().text})
        if len(futures[place]) < len(work[place]["turns"]):
            ask(place)
    return [(turn, asdict(f.result().usage)) for each in futures for turn, f in enumerate(each)]


def _limits(asked: argparse.Namespace) -> list[list[int]]:
    """How many tokens each answer may have, by dialogue and turn."""
    if asked.uneven:
        return uneven_limits(asked.dialogues, asked.turns)
    return [[MAX_TOKENS] * asked.turns for _ in range(asked.dialogues)]


def distinct(counts: list[tuple[int, int, int]]) -> int:
    """The prompt tokens that each turn adds, rounded up to blocks, since vLLM finds whole blocks again only."""
    total = known = 0
    for turn, prompt, answer in counts:
        new = prompt - (known if turn else 0)
        total += -(-new // BLOCK) * BLOCK
        known = prompt + answer
    return total


def _as_playbill_has_it() -> None:
    from playbill.backends.engines.machine.process_state import wait_briefly
    from playbill.backends.engines.vllm.environment import prepare_environment

    prepare_environment({})
    wait_briefly()


def _plain(asked: argparse.Namespace) -> dict[str, Any]:
    """What any user must say: the model, its number format, the context, and how much memory there is."""
    import psutil

    memory = psutil.virtual_memory().available // 4
    return {
        "model": str(asked.weights),
        "dtype": asked.dtype,
        "max_model_len": CONTEXT,
        "kv_cache_memory_bytes": memory,
    }


def _settings(asked: argparse.Namespace) -> dict[str, Any]:
    """What Playbill gives to vLLM."""
    ours = {"enforce_eager": True, "max_num_seqs": asked.seats, "block_size": BLOCK, "generation_config": "vllm"}
    return {**_plain(asked), **ours}


def bare(work: list[dict[str, Any]], asked: argparse.Namespace) -> dict[str, Any]:
    """The same by vLLM's engine alone, fed continuously: rendering, tokenizing and text by transformers and vLLM."""
    _as_playbill_has_it()
    from transformers import AutoTokenizer
    from vllm import EngineArgs, LLMEngine, SamplingParams, TokensPrompt
    from vllm.sampling_params import RequestOutputKind

    begin = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(asked.weights)
    engine = LLMEngine.from_engine_args(EngineArgs(**_settings(asked), disable_log_stats=True))
    loading = time.perf_counter() - begin
    talks: dict[str, list[dict[str, str]]] = {str(each["id"]): [] for each in work}
    turns = {str(each["id"]): list(each["turns"]) for each in work}
    limits = dict(zip(talks, _limits(asked), strict=True))
    counts = {"new": 0, "computed": 0}

    def ask(name: str, messages: list[dict[str, str]], most: int) -> None:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        sampling = SamplingParams(temperature=0.0, max_tokens=most, output_kind=RequestOutputKind.FINAL_ONLY)
        engine.add_request(name, TokensPrompt(prompt_token_ids=ids), sampling)

    def next_turn(name: str) -> None:
        talks[name].append({"role": "user", "content": turns[name].pop(0)})
        ask(name, talks[name], limits[name].pop(0))

    ask("warm-up", WARM_UP, 8)
    while engine.has_unfinished_requests():
        engine.step()
    begin = time.perf_counter()
    for name in talks:
        next_turn(name)
    while engine.has_unfinished_requests():
        for output in engine.step():
            if not output.finished:
                continue
            answer = output.outputs[0]
            counts["new"] += len(answer.token_ids)
            counts["computed"] += len(output.prompt_token_ids) - (output.num_cached_tokens or 0)
            talks[output.request_id].append({"role": "assistant", "content": answer.text.strip()})
            if turns[output.request_id]:
                next_turn(output.request_id)
    seconds = time.perf_counter() - begin
    engine.engine_core.shutdown()
    return {"seconds": seconds, "loading": loading, **counts}


def chat(work: list[dict[str, Any]], asked: argparse.Namespace) -> dict[str, Any]:
    """The same by `LLM.chat` as vLLM's documentation shows it."""
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    return _chat(work, _plain(asked), _limits(asked))


def tuned_chat(work: list[dict[str, Any]], asked: argparse.Namespace) -> dict[str, Any]:
    """The same by `LLM.chat` with Playbill's settings."""
    _as_playbill_has_it()
    return _chat(work, _settings(asked), _limits(asked))


def _chat(work: list[dict[str, Any]], settings: dict[str, Any], limits: list[list[int]]) -> dict[str, Any]:
    """One turn of all dialogues, and then the next."""
    from vllm import LLM, SamplingParams

    begin = time.perf_counter()
    llm = LLM(**settings)
    loading = time.perf_counter() - begin
    llm.chat(WARM_UP, SamplingParams(temperature=0.0, max_tokens=8), use_tqdm=False)
    talks: list[list[dict[str, str]]] = [[] for _ in work]
    new = computed = 0
    begin = time.perf_counter()
    for turn in range(max(len(each["turns"]) for each in work)):
        for talk, each in zip(talks, work, strict=True):
            talk.append({"role": "user", "content": each["turns"][turn]})
        sampling = [SamplingParams(temperature=0.0, max_tokens=most[turn]) for most in limits]
        outputs = llm.chat(talks, sampling, use_tqdm=False)
        for talk, output in zip(talks, outputs, strict=True):
            new += len(output.outputs[0].token_ids)
            computed += len(output.prompt_token_ids) - (output.num_cached_tokens or 0)
            talk.append({"role": "assistant", "content": output.outputs[0].text.strip()})
    seconds = time.perf_counter() - begin
    llm.llm_engine.engine_core.shutdown()
    return {"seconds": seconds, "loading": loading, "new": new, "computed": computed}


KINDS: dict[str, Callable[[list[dict[str, Any]], argparse.Namespace], dict[str, Any]]] = {
    "bare": bare,
    "playbill": playbill,
    "chat": chat,
    "tuned_chat": tuned_chat,
}
NAMES = {
    "bare": "bare engine, fed continuously",
    "playbill": "Playbill's run",
    "chat": "`LLM.chat`, turn by turn, as its documentation shows it",
    "tuned_chat": "`LLM.chat`, turn by turn, with Playbill's settings",
}


def measured(asked: argparse.Namespace, kind: str) -> dict[str, Any]:
    """One measurement in a process of its own, repeated where others used more than a tenth of the machine."""
    command = [sys.executable, __file__, "--one", kind, "--weights", str(asked.weights), "--dtype", asked.dtype]
    command += ["--seats", str(asked.seats)]
    command += ["--dialogues", str(asked.dialogues), "--turns", str(asked.turns)]
    command += ["--uneven"] if asked.uneven else []
    environment = {n: v for n, v in os.environ.items() if n not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    if asked.threads:
        command += ["--threads", str(asked.threads)]
        environment["OMP_NUM_THREADS"] = str(asked.threads)
    for _ in range(1 + asked.again):
        others = Others()
        found: dict[str, Any] = json.loads(_printed(command, environment).splitlines()[-1])
        found["others"] = others.share() or 0.0
        found["rate"] = found["new"] / found["seconds"]
        print(
            f"{kind:10}: {found['new']:5} tokens in {found['seconds']:6.1f} s, {found['rate']:6.1f} a second; "
            f"{found['computed']:6} prompt tokens computed; loading {found['loading']:.1f} s; "
            f"others used {found['others']:.0%} of the machine",
            file=sys.stderr,
        )
        if found["others"] <= 0.1:
            break
    return found


def _printed(command: list[str], environment: dict[str, str]) -> str:
    """What a measurement prints; after a while it is ended, since vLLM's own threads spin where a core is taken."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"not done after {MOST_SECONDS} s: {' '.join(command)}") from None
    finally:  # an interrupt too leaves none of vLLM's processes behind
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise SystemExit(err)
    return out


def _row(name: str, runs: list[dict[str, Any]]) -> str:
    rates = [r["rate"] for r in runs]
    others = max(r["others"] for r in runs)
    figures = ("seconds", "new", "rate", "computed", "loading")
    middle = {figure: statistics.median(r[figure] for r in runs) for figure in figures}
    return (
        f"| {name} | {middle['seconds']:.1f} | {middle['new']:,.0f} | {middle['rate']:.1f} ({min(rates):.1f} to "
        f"{max(rates):.1f}) | {middle['computed']:,.0f} | {middle['loading']:.1f} | {others:.0%} |"
    )


def report(asked: argparse.Namespace, runs: dict[str, list[dict[str, Any]]]) -> bool:
    """Print the block; whether the bounds are kept."""
    import torch

    from playbill.backends.engines.vllm.environment import vllm_distribution

    found = vllm_distribution()
    rate = {kind: statistics.median(r["rate"] for r in each) for kind, each in runs.items()}
    ours = runs["playbill"][0]
    of = {kind: rate["playbill"] / rate[kind] for kind in runs}
    computed = ours["computed"] / ours["distinct"]
    packages = {found.name: found.version} if found is not None else {}
    print("\n## vllm beside the bare engine\n")
    print(describe({**packages, "torch": torch.__version__}), f"Command: `python {' '.join(sys.argv)}`.")
    story = ", here 8, 24, 40 or 60 in turns and mostly reached" if asked.uneven else ""
    print(
        f"{asked.dialogues} dialogues of {asked.turns} turns of a word-guessing game, answers up to {MAX_TOKENS} "
        f"tokens{story}, greedy, SmolLM2-135M-Instruct, {asked.dtype}, {asked.seats} seats; medians of "
        f"{asked.repeats} runs, each in a process of its own.\n"
    )
    print("| | s | tokens | a second (spread) | prompt tokens computed | loading, s | others' share |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for kind, each in runs.items():
        print(_row(NAMES[kind], each))
    print(
        "\nPlaybill's rate is "
        + ", ".join(f"{of[k]:.2f} times that of {NAMES[k]}" for k in of if k != "playbill")
        + "."
    )
    print(
        f"It computed {computed:.2f} of the prompt tokens "
        f"that are distinct per dialogue, in blocks of {BLOCK} ({ours['distinct']:,}; {ours['sent']:,} were sent)."
    )
    fast = of.get("bare", 1) >= LEAST_OF_BARE and of.get("chat", LEAST_OF_CHAT) >= LEAST_OF_CHAT
    return fast and computed <= MOST_COMPUTED


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dialogues", type=int, default=32)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="a folder of SmolLM2-135M-Instruct in bf16")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--uneven", action="store_true", help="limits from 8 to 60 tokens, and answers that reach them")
    parser.add_argument("--only", nargs="+", choices=[*KINDS], default=[*KINDS], metavar="KIND")
    parser.add_argument(
        "--seats", type=int, default=256, help="how many are computed together at the most, by all but plain `LLM.chat`"
    )
    parser.add_argument("--again", type=int, default=1, help="how often a disturbed measurement is repeated")
    parser.add_argument("--one", choices=[*KINDS], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not (asked.weights / "config.json").is_file():
        raise SystemExit(
            f"{asked.weights} holds no model; --weights names a folder that does (the tests make one there)"
        )
    if asked.one is not None:
        work = dialogues(asked.dialogues, asked.turns, uneven=asked.uneven)
        print(json.dumps(KINDS[asked.one](work, asked)))
        return 0
    runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS if kind in {"playbill", *asked.only}}
    for _ in range(asked.repeats):
        for kind, each in runs.items():
            each.append(measured(asked, kind))
    return 0 if report(asked, runs) else 1


if __name__ == "__main__":
    sys.exit(main())
