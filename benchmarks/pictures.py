"""Dialogues about pictures: Playbill's huggingface_local beside clemcore's way, and many at once beside one at a time.

    python benchmarks/pictures.py [--repeats 3] [--side 1000] [--threads 2] [--dialogues 8]

Needs the extras hf and vision. clemcore's way is its own three calls for a message with pictures (template, processor,
`generate`), made here: clemcore 3.7.2 itself loads models by AutoModelForCausalLM, which has none for this kind. The
model is SmolVLM-256M at half its width and half its depth, with random weights in float32: only how much is computed
counts. All ways are in this process and take turns, each with the same messages; tiles that the vision encoder gets are
counted. Prints figures for benchmarks/RESULTS.md; exits with 1 where a tile is encoded more than once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from machine import Others, describe

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests")]

TOKENS = 8
LONGER = 32
TURNS = ["What is on the table?", "How many are there?", "Which colour have they?", "Are you sure?"]
TEXT = {
    "model_type": "llama",
    "hidden_size": 288,
    "intermediate_size": 768,
    "num_hidden_layers": 15,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "vocab_size": 4928,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EYES = {
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "image_size": 512,
    "patch_size": 16,
}


def save_model(folder: Path) -> None:
    """Write a checkpoint of half of SmolVLM-256M, in width and depth."""
    import torch
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    from support.vision.kinds import KINDS

    kind = KINDS["idefics3"]
    processor = kind.processor()
    processor.chat_template = kind.template
    processor.image_seq_len = 64
    processor.image_processor.size = {"longest_edge": 1024}
    processor.image_processor.max_image_size = {"longest_edge": 512}
    token = processor.tokenizer.convert_tokens_to_ids("<image>")
    config = Idefics3Config(text_config=TEXT, vision_config=EYES, image_token_id=token, scale_factor=4, pad_token_id=0)
    torch.manual_seed(0)
    Idefics3ForConditionalGeneration(config).float().eval().save_pretrained(folder)
    processor.save_pretrained(folder)


class ClemcoreWay:
    """What clemcore 3.7.2 does for a message with pictures: template, processor, `generate`, each turn anew."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForImageTextToText.from_pretrained(folder).eval()

    def generate_response(self, messages: list[dict[str, Any]]) -> tuple[Any, Any, str]:
        from transformers.image_utils import load_image

        images, shown = [], []
        for message in messages:
            images += [load_image(message["image"])] if "image" in message else []
            parts = [{"type": "image"}] if "image" in message else []
            shown.append({"role": message["role"], "content": [*parts, {"type": "text", "text": message["content"]}]})
        text = self.processor.apply_chat_template(shown, add_generation_prompt=True, tokenize=False)
        inputs = self.processor(text=text, images=images, return_tensors="pt")
        made = self.model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)
        return None, None, self.processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def talk(answer: Callable[[list[dict[str, Any]]], str], picture: Path) -> float:
    """Play four turns, and return the seconds of CPU that this process took: others may have the cores meanwhile."""
    messages: list[dict[str, Any]] = []
    begin = time.process_time()
    for i, text in enumerate(TURNS):
        messages.append({"role": "user", "content": text, **({"image": str(picture)} if i == 0 else {})})
        said = answer([dict(message) for message in messages])
        messages.append({"role": "assistant", "content": said or "."})
    return time.process_time() - begin


def talk_all(model: Any, pictures: list[Path], folder: Path) -> Spent:
    """Play four turns of a dialogue about each picture, a turn of all at once."""
    dialogues: list[list[dict[str, Any]]] = [[] for _ in pictures]
    tokens, begin, cpu = 0, time.perf_counter(), time.process_time()
    for i, text in enumerate(TURNS):
        for messages, picture in zip(dialogues, pictures, strict=True):
            messages.append({"role": "user", "content": text, **({"image": str(picture)} if i == 0 else {})})
        asked = [model.submit(messages, folder=folder, max_tokens=LONGER) for messages in dialogues]
        for messages, future in zip(dialogues, asked, strict=True):
            made = future.result()
            assert made.output_ids, made.error
            tokens += len(made.output_ids)
            messages.append({"role": "assistant", "content": made.text or "."})
    return Spent(time.perf_counter() - begin, time.process_time() - cpu, tokens)


@dataclass(frozen=True)
class Spent:
    """Seconds and seconds of CPU, and how many tokens came of them."""

    wall: float
    cpu: float
    tokens: int


class Tiles:
    """Counts the tiles that come to the vision encoders of this process."""

    def __init__(self) -> None:
        from torch.nn.modules.module import register_module_forward_hook

        self.seen = 0
        register_module_forward_hook(self._note)

    def _note(self, module: Any, given: Any, made: Any) -> None:
        if type(module).__name__ == "Idefics3VisionEmbeddings":
            self.seen += made.shape[0]

    def taken(self) -> int:
        """Return how many came since the last time."""
        seen, self.seen = self.seen, 0
        return seen


def one_dialogue(folder: Path, picture: Path, tiles: Tiles, asked: argparse.Namespace) -> bool:
    """Compare clemcore's way with Playbill's over four turns, and print it; whether no tile was encoded twice."""
    from playbill.backends import load_model
    from support.vision.checkpoint import entry_of

    clem = ClemcoreWay(folder)
    entry = entry_of(folder, max_tokens=TOKENS, threads=asked.threads, dtype="float32")
    seconds: dict[str, list[float]] = {"clemcore": [], "Playbill": []}
    encoded: dict[str, list[int]] = {"clemcore": [], "Playbill": []}
    for _ in range(asked.repeats):
        with load_model(entry) as model:  # anew each time: nothing is kept of the last dialogue
            ways = {
                "clemcore": lambda messages: clem.generate_response(messages)[2],
                "Playbill": lambda messages, model=model: _text(model, messages, picture.parent),
            }
            for way, answer in ways.items():
                tiles.taken()
                seconds[way].append(talk(answer, picture))
                encoded[way].append(tiles.taken())
    for way in seconds:
        each = ", ".join(f"{s:.1f}" for s in seconds[way])
        print(f"{way}: {statistics.median(seconds[way]):.1f} s of CPU ({each}), tiles encoded: {encoded[way]}")
    ratio = statistics.median(c / p for c, p in zip(seconds["clemcore"], seconds["Playbill"], strict=True))
    print(f"ratio: {ratio:.2f}")
    return all(4 * ours == theirs for ours, theirs in zip(encoded["Playbill"], encoded["clemcore"], strict=True))


def many_dialogues(folder: Path, pictures: list[Path], tiles: Tiles, asked: argparse.Namespace) -> None:
    """Compare dialogues at once with dialogues one at a time, and print it."""
    from playbill.backends import load_model
    from support.vision.checkpoint import entry_of

    spent: dict[str, list[Spent]] = {"single": [], "exact": [], "fast": []}
    for _ in range(asked.repeats):
        for way, found in spent.items():
            with load_model(entry_of(folder, threads=asked.threads, dtype="float32", batching=way)) as model:
                tiles.taken()
                found.append(talk_all(model, pictures, folder.parent))
                print(f"{way}: {found[-1]}, tiles encoded: {tiles.taken()}", flush=True)
    for way, found in spent.items():
        rate = statistics.median(each.tokens / each.wall for each in found)
        faster = statistics.median(s.wall / each.wall for s, each in zip(spent["single"], found, strict=True))
        cheaper = statistics.median(s.cpu / each.cpu for s, each in zip(spent["single"], found, strict=True))
        print(f"{way}: {rate:.1f} tokens/s, {faster:.2f} x one at a time, {cheaper:.2f} x by CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dialogues", type=int, default=8)
    asked = parser.parse_args()

    import torch
    from PIL import Image

    from playbill.backends.engines.checkpoint.vision.torchvision import mend_torchvision

    mend_torchvision()
    torch.set_num_threads(asked.threads)
    tiles = Tiles()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "eyes"
        save_model(folder)
        pictures = []
        for i in range(asked.dialogues):
            pictures.append(Path(name) / f"kitchen-{i}.png")
            size = asked.side - 60 * i, asked.side * 3 // 4 + 30 * i
            Image.radial_gradient("L").resize(size).rotate(20 * i).convert("RGB").save(pictures[-1])
        others = Others()
        once = one_dialogue(folder, pictures[0], tiles, asked)
        many_dialogues(folder, pictures, tiles, asked)
    print(describe({"torch": torch.__version__, "transformers": version("transformers")}))
    print(f"others used {others.share() or 0:.0%} of the machine")
    sys.exit(0 if once else 1)


def _text(model: Any, messages: list[dict[str, Any]], folder: Path) -> str:
    generation = model.submit(messages, folder=folder).result()
    assert generation.output_ids, generation.error
    return str(generation.text)


if __name__ == "__main__":
    main()
