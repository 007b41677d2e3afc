"""Answer batches with clemcore's own HuggingFace backend: a line of JSON in, a line out.

The first line is what to load: ``{"spec": …}``. Each further one is ``{"rows", "prompt", "new", "seed"}``: so many
dialogues of one message, of about as many tokens, each answered with exactly ``new`` tokens by one call of
``generate_batch_response``. Runs in clemcore's environment: knows clemcore and the standard library only.
"""

from __future__ import annotations

import json
import os
import random
import sys
from contextlib import suppress
from typing import Any, TextIO

__all__ = ["main"]

_WORDS = "the a one of time people way day man thing woman life child world school state family hand part place"
_Shape = tuple[int, int]


def main() -> None:
    """Load, and answer until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no reply
    spec = json.loads(sys.stdin.readline())["spec"]
    try:
        import torch
        from clemcore.backends import ModelSpec
        from clemcore.backends.huggingface_local_api import HuggingfaceLocal
    except ImportError as e:
        _say(replies, {"missing": e.name or str(e)})
        return
    model = HuggingfaceLocal().get_model_for(ModelSpec.from_dict(spec))
    shapes = _counted(model.model)
    empty = model.tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    around = len(model.tokenizer(empty, add_special_tokens=False).input_ids)
    facts = {
        "class": type(model.model).__name__,
        "dtype": str(model.model.dtype).replace("torch.", ""),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    _say(replies, {"facts": facts})
    for line in sys.stdin:
        asked = json.loads(line)
        _answer(model, asked, max(1, asked["prompt"] - around))
        (rows, prompt), (_, total) = shapes.pop()
        counts = {"prompt_tokens": rows * prompt, "new_tokens": rows * (total - prompt)}
        _say(replies, {**counts, "memory": _memory(torch)})


def _answer(model: Any, asked: dict[str, Any], words: int) -> None:
    draw = random.Random(asked["seed"])
    texts = [" ".join(draw.choices(_WORDS.split(), k=words)) for _ in range(asked["rows"])]
    model.set_gen_args(temperature=0.0, max_tokens=asked["new"])
    model.model.generation_config.min_new_tokens = asked["new"]  # so that no answer ends early
    model.generate_batch_response([[{"role": "user", "content": text}] for text in texts])


def _counted(model: Any) -> list[tuple[_Shape, _Shape]]:
    """Return a list to which each call of ``generate`` adds the shapes of its prompts and of what it returned."""
    shapes: list[tuple[_Shape, _Shape]] = []
    generate = model.generate

    def counted(ids: Any, **options: Any) -> Any:
        found = generate(ids, **options)
        shapes.append((tuple(ids.shape), tuple(found.sequences.shape)))
        return found

    model.generate = counted
    return shapes


def _memory(torch: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    with suppress(ImportError):  # Windows has none
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        found["computer"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    cards = range(torch.cuda.device_count())
    return found | {f"cuda:{card}": used for card in cards if (used := torch.cuda.max_memory_reserved(card))}


def _say(replies: TextIO, what: dict[str, Any]) -> None:
    replies.write(json.dumps(what) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
