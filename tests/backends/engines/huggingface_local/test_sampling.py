"""Two parts of huggingface_local alone: text from tokens as they come, and the choice of the next tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from playbill.backends.engines.detokenize import TextTrail
from playbill.backends.engines.huggingface_local.sampling import COLUMNS, Pick, Sampling, columns_of, pick
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


def picks(rows: Sequence[Sampling], logits: Any) -> list[Pick]:
    """The next tokens of several requests, from logits of shape (rows, vocabulary)."""
    import torch

    columns = torch.tensor(columns_of(rows), dtype=torch.int32).view(len(rows), COLUMNS)
    return pick(rows, logits, columns)


def one(row: Sampling, logits: Any) -> int:
    return picks([row], logits[None])[0].token


PEER_SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0.7},
    {"temperature": 1.3, "top_k": 5},
    {"temperature": 0.9, "top_p": 0.6},
    {"temperature": 1.0, "min_p": 0.2},
    {"temperature": 1.1, "top_k": 20, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.4},
    {"temperature": 0.8, "top_p": 0.001},
    {"temperature": 0.5, "top_k": 1000},
]
PROMPT = [3, 5, 5, 9]


def some_logits() -> Any:
    import torch

    return torch.randn(200, generator=torch.Generator().manual_seed(1)) * 3


@pytest.mark.parametrize("settings", PEER_SETTINGS, ids=str)
def test_cuts_and_penalties_are_those_of_transformers(settings):
    """10,000 draws have the shares that transformers' own processors leave; each is within five deviations."""
    import torch
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    logits = some_logits()
    processors = {
        "repetition_penalty": RepetitionPenaltyLogitsProcessor,
        "temperature": TemperatureLogitsWarper,
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
    }
    chain = LogitsProcessorList([make(settings[name]) for name, make in processors.items() if name in settings])
    wanted = chain(torch.tensor([PROMPT]), logits[None])[0].softmax(-1)
    draws = 10_000
    rows = [Sampling({**settings, "seed": seed}, PROMPT) for seed in range(draws)]
    tokens = [found.token for found in picks(rows, logits.expand(draws, -1))]
    counts = torch.bincount(torch.tensor(tokens), minlength=200)
    assert not counts[wanted == 0].any()
    deviation = (draws * wanted * (1 - wanted)).sqrt()
    assert ((counts - draws * wanted).abs() <= 5 * deviation + 1).all()


def test_a_draw_is_the_first_token_at_which_the_shares_exceed_the_number():
    """Computed by hand, in float64, from the generator of the row's seed."""
    logits = some_logits()
    shares = (logits / 0.7).softmax(-1).double().cumsum(-1)
    for seed in range(50):
        number = random.Random(seed).getrandbits(32) / 2**32 * float(shares[-1])
        wanted = next(token for token, share in enumerate(shares.tolist()) if share > number)
        assert one(Sampling({"temperature": 0.7, "seed": seed}, []), logits) == wanted


def test_no_row_depends_on_how_the_others_are_sampled():
    """Each request's tokens and log probabilities over six steps are those that it gets alone, in any place."""
    import torch

    draw = random.Random(3)
    asked = [
        {**settings, "seed": place, **({"logprobs": draw.randint(1, 7)} if draw.random() < 0.5 else {})}
        for place, settings in enumerate([*PEER_SETTINGS, {}, {"frequency_penalty": 0.5}, {"presence_penalty": 1.0}])
    ]
    steps = [torch.randn(len(asked), 500).mul(4).bfloat16() for _ in range(6)]
    alone = []
    for place, params in enumerate(asked):
        row = Sampling(params, PROMPT)
        alone.append([picks([row], logits[place : place + 1])[0] for logits in steps])
    order = list(range(len(asked)))
    for _ in range(5):
        draw.shuffle(order)
        rows = {place: Sampling(asked[place], PROMPT) for place in order}
        for step, logits in enumerate(steps):
            found = picks([rows[place] for place in order], logits[order])
            assert found == [alone[place][step] for place in order]


def test_of_equally_likely_tokens_the_first_is_reported_first():
    """In few bits many are equally likely; how many are asked for changes none."""
    import torch

    logits = torch.zeros(1, 300)
    for count in (1, 4, 30):
        row = Sampling({"logprobs": count}, [])
        assert [each["id"] for each in picks([row], logits)[0].logprob["top"]] == list(range(count))


def test_presence_and_frequency_penalties_count_new_tokens_only():
    """A token of the prompt costs nothing; each new occurrence costs the frequency penalty, the first presence too."""
    import torch

    logits = torch.tensor([5.0, 4.0, 3.0])
    row = Sampling({"temperature": 0, "presence_penalty": 0.6, "frequency_penalty": 0.6}, [0, 0, 0])
    assert [one(row, logits) for _ in range(6)] == [0, 1, 0, 0, 2, 1]


def test_greedy_is_the_likeliest_token_and_draws_no_seed():
    """Temperature 0 picks the same token ever again, and says nothing of a seed."""
    import torch

    row = Sampling({"temperature": 0.0, "top_k": 50, "top_p": 0.1}, [])
    assert {one(row, torch.tensor([0.1, 0.3, 0.2])) for _ in range(20)} == {1}
    assert "seed" not in row.effective


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_logits_that_are_not_finite_are_an_error_and_no_token(value, temperature):
    """An overflow in float16 would give token 0 up to the limit; forbidden tokens beside finite ones are usual."""
    torch = pytest.importorskip("torch")
    row = Sampling({"temperature": temperature, "seed": 1}, [])
    bad, sound = torch.full((8,), float(value)), torch.tensor([float("-inf"), 1.0] + [float("-inf")] * 6)
    found = picks([row, Sampling({}, [])], torch.stack([bad, sound]))
    assert f"the model's logits are not finite ({value}), as when" in found[0].fault
    assert found[1] == Pick(1)
    assert one(row, sound) == 1
