"""`exact`: an answer doesn't depend on its company, bit by bit; and what is said on load where it does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from playbill.backends import load_model
from playbill.backends.engines.base import Request
from support.smollm2 import smollm2_folder
from support.tiny_models import VOCABULARY, tiny_model

torch = pytest.importorskip("torch")
KINDS = ("llama", "qwen2", "qwen3", "gemma3_text", "mistral", "phi3", "qwen3_moe")
ROWS = 8


def decoder_of(model: Any, batching: str = "exact", **keys: Any) -> Any:
    from playbill.backends.engines.huggingface_local.batching.choice import choose_decoder

    return choose_decoder({"model_name": "tiny", "batching": batching, "batch_size": ROWS, **keys}, model, 2)


class Watched:
    """A decoder that keeps a copy of the keys and values of each row that is complete, and fails with several rows at
    the steps that it is told."""

    def __init__(self, decoder: Any, faults: dict[int, type[Exception]]) -> None:
        self._decoder, self._faults, self._step = decoder, faults, 0
        self.most_rows, self.facts = decoder.most_rows, decoder.facts
        self.stored: dict[tuple[int, ...], list[Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def advance(self, rows: Any, meanwhile: Any = bool) -> Any:
        self._step += 1
        if len(rows) > 1 and (error := self._faults.get(self._step)):
            raise error("on purpose")
        return self._decoder.advance(rows, meanwhile)

    def close(self) -> None:
        """The decoder is used again."""

    def finish(self, row: Any) -> None:
        run = row.kv_cache
        pools = self._decoder._kv_cache.pools
        parts = [pool[:, :, run.start : run.start + len(run.ids)].clone() for layer in pools for pool in pools[layer]]
        self.stored[tuple(row.request.prompt_ids)] = parts
        self._decoder.finish(row)


class Engine:
    """An engine whose decoder is watched, over a model that several of them use one after the other."""

    def __init__(self, decoder: Any, faults: dict[int, type[Exception]] | None = None) -> None:
        from playbill.backends.engines.huggingface_local.engine import TransformersEngine

        self.watched = Watched(decoder, faults or {})
        self.engine = TransformersEngine(self.watched, vocabulary=VOCABULARY, decode=str, facts=dict, threads=2)

    def submit(self, prompt: Sequence[int], **params: Any) -> Any:
        given = {"max_tokens": 6, **params}
        return self.engine.submit(Request(messages=(), params=given, prompt_ids=tuple(prompt)))


def work(seed: int) -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    """Prompts of dialogues, some of which begin alike or go on from one another, and how they are sampled."""
    draw = random.Random(seed)
    rules = [draw.randrange(3, VOCABULARY) for _ in range(70)]
    found = []
    for _ in range(9):
        own = [draw.randrange(3, VOCABULARY) for _ in range(draw.choice((1, 5, 40, 63, 64, 65, 130)))]
        prompt = tuple(rules * draw.randrange(2) + own)
        params = draw.choice(
            [{}, {"temperature": 0.9, "seed": draw.randrange(99)}, {"temperature": 0.7, "seed": 1, "top_p": 0.8},
             {"logprobs": 3}, {"repetition_penalty": 1.3}, {"temperature": 1.0, "seed": 4, "top_k": 9, "min_p": 0.05}]
        )  # fmt: skip
        found.append((prompt, {"max_tokens": draw.randint(1, 9), **params}))
    found.append((found[0][0] + (7, 8, 9) * 30, {"max_tokens": 5}))
    return found


def answer_of(future: Any) -> Any:
    completion = future.result(120)
    return completion.output_ids, completion.details.get("logprobs")


def schedule(decoder: Any, asked: Any, seed: int) -> tuple[list[Any], dict[Any, Any]]:
    """Ask all in some order, a few at a time, beside others that are cancelled, while passes fail; the answers, and
    what was stored of each."""
    draw = random.Random(seed)
    faults = {draw.randrange(2, 40): draw.choice((RuntimeError, MemoryError)) for _ in range(draw.randrange(4))}
    decoder.ahead = draw.random() < 0.5
    engine = Engine(decoder, faults)
    order = draw.sample(range(len(asked)), len(asked))
    answers: dict[int, Any] = {}
    while order:
        some, order = order[: (n := draw.randint(1, 6))], order[n:]
        others = [engine.submit([draw.randrange(3, VOCABULARY)] * draw.randint(1, 90), max_tokens=40) for _ in range(2)]
        futures = {i: engine.submit(asked[i][0], **asked[i][1]) for i in some}
        waited = draw.random() < 0.5
        for i, future in futures.items() if waited else ():
            answers[i] = answer_of(future)
        for other in others:
            other.cancel()
        answers |= {i: answer_of(future) for i, future in futures.items() if i not in answers}
    engine.engine.close()
    return [answers[i] for i in range(len(asked))], engine.watched.stored


def alone(decoder: Any, asked: Any) -> tuple[list[Any], dict[Any, Any]]:
    """Ask one after the other, and nothing is known of any before."""
    engine = Engine(decoder)
    answers = []
    for prompt, params in asked:
        answers.append(answer_of(engine.submit(prompt, **params)))
        decoder.make_room()
    engine.engine.close()
    return answers, engine.watched.stored


def check_schedules(kind: str, dtype: Any, seeds: Sequence[int]) -> None:
    decoder = decoder_of(tiny_model(kind).to(dtype))
    assert decoder.facts["company_independent"] is True
    for seed in seeds:
        asked = work(seed)
        wanted, stored = alone(decoder, asked)
        found, kept = schedule(decoder, asked, seed)
        assert found == wanted, (kind, dtype, seed)
        for prompt, _ in asked:
            assert all(map(torch.equal, kept[prompt], stored[prompt])), (kind, dtype, seed)
        decoder.make_room()
    decoder.close()


@pytest.mark.parametrize(
    ("kind", "dtype"), [("llama", "bfloat16"), ("gemma3_text", "float32"), ("qwen3_moe", "float16")]
)
def test_company_changes_no_bit(kind, dtype):
    """Whatever runs beside it, in whatever order, retried, cut off or resumed: answers, log probabilities, keys and
    values are those of a dialogue alone."""
    check_schedules(kind, getattr(torch, dtype), range(2))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_company_changes_no_bit_in_two_hundred_schedules(kind, dtype):
    """Ten schedules for each of seven architectures in three number formats: 210."""
    check_schedules(kind, getattr(torch, dtype), range(100, 110))


class Leaky(torch.nn.Module):
    """A layer that scales each row by the largest number of all, as a number format of few bits does with one scale."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        scale = x.abs().max()
        return self.inner((x / scale * 127).round() / 127 * scale)


def test_a_layer_that_looks_across_rows_is_found_named_and_recorded(caplog):
    """It answers all the same; the facts say that answers may depend on their company, and where that begins."""
    model = tiny_model("llama", num_hidden_layers=4)
    model.model.layers[2].mlp.down_proj = Leaky(model.model.layers[2].mlp.down_proj)
    decoder = decoder_of(model)
    assert decoder.facts["company_independent"] is False
    assert decoder.facts["differs"] == "what comes into layer 3, or is made of it,"
    assert "computed with it: what comes into layer 3, or is made of it, has other bits in other company" in caplog.text
    decoder.close()


def test_experts_too_large_to_multiply_token_by_token_are_said_to_depend_on_company(caplog):
    """How many tokens an expert gets depends on the others; a trial that happens to pass shows nothing."""
    decoder = decoder_of(tiny_model("qwen3_moe", moe_intermediate_size=6144).bfloat16())
    assert decoder.facts["company_independent"] is False
    assert "a layer of experts, each of which gets as many tokens as the company brings" in caplog.text
    decoder.close()


def test_sizes_that_sum_otherwise_are_not_taken():
    """A kernel that takes another way for fewer rows leaves only those sizes that have the bits of the largest."""

    class Fickle(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            found = self.inner(x)
            return found if x.shape[-2] >= 4 else found + 1e-3

    model = tiny_model("llama").bfloat16()
    model.model.layers[1].mlp = Fickle(model.model.layers[1].mlp)
    decoder = decoder_of(model)
    assert decoder.facts["company_independent"] is True
    assert decoder.facts["row_sizes"][0] >= 4
    decoder.close()


def test_real_weights_answer_the_same_in_any_company():
    """SmolLM2 in bfloat16, over two turns: alone, together and the other way round; a second turn takes what is known
    of the first prompt, in whole pieces."""
    words = ("tower", "piano", "river")
    rules = "Describe the thing that I name, in a few words, and never use its name. " * 8
    entry = {
        "model_name": "smol",
        "backend": "huggingface_local",
        "huggingface_id": str(smollm2_folder()),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "max_tokens": 6,
        "threads": 2,
    }
    with load_model(entry) as model:
        facts = model.engine.facts()["batching"]
        assert facts["company_independent"] is True
        assert facts["kind"] == "exact"
        chats = [[{"role": "user", "content": f"{rules}\n\nName: {word}"}] for word in words]
        first = model.generate_batch(chats)
        assert [a.output_ids for a in model.generate_batch(chats[::-1])][::-1] == [a.output_ids for a in first]
        later = [
            [*chat, {"role": "assistant", "content": "A."}, {"role": "user", "content": "Go on."}] for chat in chats
        ]
        alone = [model.generate(chat) for chat in later]
        assert [a.output_ids for a in model.generate_batch(later)] == [a.output_ids for a in alone]
        assert all(a.usage.cached_tokens >= 128 and a.usage.cached_tokens % 32 == 0 for a in alone)
