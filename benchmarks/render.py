"""What `render` costs beside transformers' own call, in one run: `python benchmarks/render.py`.

Prints a table for benchmarks/RESULTS.md. Both functions render the same conversations through the generic
template, one right after the other; each figure is the median of many calls. Needs transformers, no weights.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from playbill.backends.prompt.template import GENERIC_TEMPLATE, render

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = {1: 2000, 10: 1000, 100: 300, 1000: 50, 10_000: 7}


def conversation(length: int) -> list[dict[str, str]]:
    turns = ("user", "assistant")
    return [{"role": turns[i % 2], "content": f"Message {i}: it is round and red. " * 5} for i in range(length)]


def seconds(call: Callable[[], str]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>")))
    print("| messages | transformers, ms | render, ms | ratio |\n|---:|---:|---:|---:|")
    for length, rounds in ROUNDS.items():
        messages = conversation(length)

        def theirs(messages: list[dict[str, str]] = messages) -> str:
            return str(tokenizer.apply_chat_template(messages, chat_template=GENERIC_TEMPLATE, tokenize=False))

        def ours(messages: list[dict[str, str]] = messages) -> str:
            return render(GENERIC_TEMPLATE, messages)

        if theirs() != ours():
            raise SystemExit("the texts differ: there is nothing to compare")
        pairs = [(seconds(theirs), seconds(ours)) for _ in range(rounds)]
        slow, fast = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {length:,} | {slow:.3f} | {fast:.3f} | {fast / slow:.2f} |")


if __name__ == "__main__":
    main()
