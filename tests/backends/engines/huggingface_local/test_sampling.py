"""Two parts of huggingface_local alone: text from tokens as they come, and the choice of the next token."""

from __future__ import annotations

import random

import pytest

from playbill.backends import EngineError
from playbill.backends.engines.detokenize import TextTrail
from playbill.backends.engines.huggingface_local.sampling import Sampler
from support.smollm2 import tiny_folder

TEXT = "Hello, 🎭 wörld!\n\nGuess: 日本 — the end.\n"


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tiny_folder() / "tokenizer.json"))


def follow(tokenizer, text: str, *stops: str) -> tuple[list[str], TextTrail]:
    trail = TextTrail(tokenizer.decode, stops)
    pieces = []
    for token in tokenizer.encode(text).ids:
        trail.push(token)
        pieces.append(trail.take())
        if trail.stop_string is not None:
            break
    return [*pieces, trail.take_rest()], trail


def test_pieces_are_whole_characters_and_add_up(tokenizer):
    """No piece has half a character, though some characters here are four tokens, and together they are the text."""
    pieces, trail = follow(tokenizer, TEXT)
    assert "".join(pieces) == TEXT
    assert not [piece for piece in pieces if "\N{REPLACEMENT CHARACTER}" in piece]
    assert trail.stop_string is None


def test_every_stop_string_ends_the_text_where_it_begins(tokenizer):
    """Each substring of a text ends it at its first occurrence; no character of it is given out."""
    rng = random.Random(7)
    for _ in range(300):
        start = rng.randrange(len(TEXT))
        stop = TEXT[start : start + rng.randint(1, 9)]
        pieces, trail = follow(tokenizer, TEXT, stop, "never there")
        assert trail.stop_string == stop
        assert "".join(pieces) == TEXT[: TEXT.index(stop)], stop


def test_of_several_stop_strings_the_first_in_the_text_counts(tokenizer):
    """What ends an answer is what comes first in it, and of two that one token brings the longer."""
    assert follow(tokenizer, TEXT, "Guess", "end", "wör")[1].stop_string == "wör"
    assert follow(tokenizer, TEXT, "Hel", "end", "Hello")[1].stop_string == "Hello"


def test_an_unfinished_character_at_the_end_is_kept_as_it_is(tokenizer):
    """An answer that ends within a character ends with the replacement character, and loses nothing else."""
    ids = tokenizer.encode("ok 🎭").ids[:-1]
    trail = TextTrail(tokenizer.decode)
    for token in ids:
        trail.push(token)
    assert trail.take() + trail.take_rest() == tokenizer.decode(ids)


def test_a_beginning_of_a_stop_string_is_held_back_until_it_is_none(tokenizer):
    """Text that may begin a stop string is given out once it turns out otherwise."""
    pieces, _ = follow(tokenizer, "a b c d", " b c x")
    assert "".join(pieces) == "a b c d"
    assert pieces[:3] == ["a", "", ""]


PEER_SETTINGS = [
    {"temperature": 0.7},
    {"temperature": 1.3, "top_k": 5},
    {"temperature": 0.9, "top_p": 0.6},
    {"temperature": 1.0, "min_p": 0.2},
    {"temperature": 1.1, "top_k": 20, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.4},
    {"temperature": 0.8, "top_p": 0.001},
    {"temperature": 0.5, "top_k": 1000},
]


@pytest.mark.parametrize("settings", PEER_SETTINGS, ids=str)
def test_cuts_and_penalties_are_those_of_transformers(settings):
    """The distribution that is drawn from is the one that transformers' own processors leave."""
    import torch
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    logits = torch.randn(200, generator=torch.Generator().manual_seed(1)) * 3
    prompt = [3, 5, 5, 9]
    processors = {
        "repetition_penalty": RepetitionPenaltyLogitsProcessor,
        "temperature": TemperatureLogitsWarper,
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
    }
    chain = LogitsProcessorList([make(settings[name]) for name, make in processors.items() if name in settings])
    wanted = chain(torch.tensor([prompt]), logits[None])[0].softmax(-1)
    draws = [Sampler({**settings, "seed": seed}, prompt).pick(logits) for seed in range(600)]
    counts = torch.bincount(torch.tensor(draws), minlength=200)
    assert not counts[wanted == 0].any()
    assert (counts / 600 - wanted).abs().max() < 0.1
    generator = torch.Generator().manual_seed(5)
    assert Sampler({**settings, "seed": 5}, prompt).pick(logits) == int(
        torch.multinomial(wanted, 1, generator=generator)
    )


def test_presence_and_frequency_penalties_count_new_tokens_only():
    """A token of the prompt costs nothing; each new occurrence costs the frequency penalty, the first presence too."""
    import torch

    logits = torch.tensor([5.0, 4.0, 3.0])
    sampler = Sampler({"temperature": 0, "presence_penalty": 0.6, "frequency_penalty": 0.6}, [0, 0, 0])
    assert [sampler.pick(logits) for _ in range(6)] == [0, 1, 0, 0, 2, 1]


def test_greedy_is_the_likeliest_token_and_draws_no_seed():
    """Temperature 0 picks the same token ever again, and says nothing of a seed."""
    import torch

    sampler = Sampler({"temperature": 0.0, "top_k": 50, "top_p": 0.1}, [])
    assert {sampler.pick(torch.tensor([0.1, 0.3, 0.2])) for _ in range(20)} == {1}
    assert "seed" not in sampler.effective


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_logits_that_are_not_finite_are_an_error_and_no_token(value, temperature):
    """An overflow in float16 would give token 0 up to the limit; forbidden tokens beside finite ones are usual."""
    torch = pytest.importorskip("torch")
    sampler = Sampler({"temperature": temperature, "seed": 1}, [])
    with pytest.raises(EngineError, match=r"logits are not finite .* set dtype"):
        sampler.pick(torch.full((8,), float(value)))
    assert sampler.pick(torch.tensor([float("-inf"), 1.0, float("-inf")])) == 1
