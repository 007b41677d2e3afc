"""Which of its ways of computing llama.cpp is to use, and that those of `exact` give the same bits in any company."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp", reason="the extra llamacpp is not installed")

from playbill.backends import load_model
from playbill.backends.common.warn import warned
from playbill.backends.engines.llamacpp.exact import kernels
from playbill.backends.engines.llamacpp.exact.kernels import choose_kernels
from playbill.backends.engines.llamacpp.gguf_header import GgufHeader, read_header
from support.gguf_smollm2 import RULES, entry, gguf, user, write_noise, write_tiny

Q4_1, Q8_0, Q4_K, Q5_K = 3, 8, 12, 13
QUESTIONS = ["Name a colour.", "What is 3?", "Guess!", "Go on.", "Why?", "Who are you?", "A word, please.", "Ready?"]


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has loaded no model yet."""
    monkeypatch.setattr(kernels, "_theirs", None)
    monkeypatch.setenv("GGML_CPU_TILED_MM", "")
    monkeypatch.delenv("GGML_CPU_TILED_MM")


def header(*formats: int) -> GgufHeader:
    return GgufHeader({}, {}, frozenset(formats))


@pytest.mark.usefixtures("undecided")
def test_keys_and_values_have_two_formats_on_a_cpu() -> None:
    """In one, attention would sum in other orders for few and for many tokens."""
    found = [choose_kernels(entry(), header(), 0, each) for each in ("x86_64", "AMD64", "aarch64", "arm64")]
    assert [(k.keys, k.values) for k in found] == [("BF16", "F16")] * 2 + [("F16", "BF16")] * 2
    on_gpu = choose_kernels(entry(execute_on="gpu"), header(), 99)
    assert (on_gpu.keys, on_gpu.values) == ("F16", "F16")


@pytest.mark.usefixtures("undecided")
def test_only_what_gives_other_bits_is_given_up() -> None:
    """Q4_K laid out anew is multiplied otherwise; the others keep that."""
    assert [choose_kernels(entry(), header(Q4_1, each), 0).repacked for each in (Q4_1, Q4_K, Q5_K)] == [
        True,
        False,
        True,
    ]
    assert os.environ["GGML_CPU_TILED_MM"] == "0"


@pytest.mark.usefixtures("undecided")
def test_fast_is_llama_cpps_own_way() -> None:
    found = choose_kernels(entry(batching="fast"), header(Q4_K), 0)
    assert (found.keys, found.values, found.repacked, found.tiled) == ("F16", "F16", True, True)


@pytest.mark.usefixtures("undecided")
def test_the_first_model_of_a_process_decides_and_exact_ones_say_what_that_means() -> None:
    """But only those whose format it concerns, and not where the user said so."""
    choose_kernels(entry(batching="fast"), header(Q4_K), 0)
    before = len(warned())
    assert choose_kernels(entry(), header(Q4_1), 0).tiled
    assert len(warned()) == before
    choose_kernels(entry(model_name="second"), header(Q5_K), 0)
    assert warned()[-1].startswith("second: an answer may depend on what is computed beside it")


@pytest.mark.parametrize(("word", "tiled"), [("1", True), ("0", False), ("", False), ("off", False), (" 01", True)])
def test_the_users_word_stands_as_llama_cpp_reads_it(monkeypatch: pytest.MonkeyPatch, word: str, tiled: bool) -> None:
    monkeypatch.setattr(kernels, "_theirs", word)
    monkeypatch.setenv("GGML_CPU_TILED_MM", word)
    before = len(warned())
    assert choose_kernels(entry(), header(Q5_K), 0).tiled is tiled
    assert len(warned()) == before


def test_the_formats_of_all_parts_count(tmp_path: Path) -> None:
    """The file that is named may be the one without them; vectors don't count."""
    assert read_header(gguf()).formats == {Q4_1, Q8_0}
    parts = write_tiny(tmp_path, tensors=4)
    assert read_header(parts[-1]).formats == {Q4_1}
    assert read_header(parts[-1], *parts).formats == {Q4_1, Q8_0}


FORMATS = [
    ("Q4_K", "Q6_K"),
    ("Q5_K", "Q5_K"),
    ("Q2_K", "Q3_K"),
    ("IQ4_XS", "Q6_K"),
    ("IQ4_NL", "Q8_0"),
    ("Q4_0", "Q5_0"),
]
"""Most of the weights, and the rest."""


@pytest.mark.parametrize(("most", "rest"), FORMATS)
def test_not_a_bit_depends_on_company_in_other_formats_either(tmp_path: Path, most: str, rest: str) -> None:
    """By K-quants llama.cpp multiplies in another way for eight tokens and more, unless it is kept from it."""
    noise = entry(huggingface_id=str(write_noise(tmp_path, most, rest)))
    batch = [user(RULES + question) for question in QUESTIONS]
    asked = {"max_tokens": 8, "logprobs": 1}
    with load_model(noise, dialogues=1) as single:
        alone = [single.generate(messages, **asked) for messages in batch]
    with load_model(noise, dialogues=8) as model:
        together = model.generate_batch(batch, **asked)
    assert [g.output_ids for g in together] == [g.output_ids for g in alone]
    assert [g.details["logprobs"] for g in together] == [g.details["logprobs"] for g in alone]
