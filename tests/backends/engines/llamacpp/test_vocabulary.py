"""Real vocabularies of many makes, without weights: ids to bytes as llama.cpp itself has it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("xllamacpp", reason="the extra llamacpp is not installed")

from playbill.backends.engines.llamacpp.exact.stream_ids import StreamedIds
from playbill.backends.engines.llamacpp.gguf_header import read_header
from playbill.backends.engines.llamacpp.tokenizer import GgufTokenizer, tokenizer_server
from playbill.backends.engines.llamacpp.vocabulary import Vocabulary, incomplete
from support.assets import vocabularies
from support.gguf_smollm2 import gguf

TEXT = "Grüße 👋🏽 an 日本語,\n\n  naïve x²\t<|im_end|> हिन्दी"
LOSSY = ("bert-bge", "nomic-bert-moe")  # tokenizers of encoders, which drop case and white space
BATCH = 500


NAMES = [
    *("aquila", "baichuan", "bert-bge", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2"),
    *("gpt-neox", "llama-bpe", "llama-spm", "mpt", "nomic-bert-moe", "phi-3", "qwen2", "qwen35", "refact", "starcoder"),
]


def file_of(name: str) -> Path:
    return next(path for path in vocabularies() if path.stem == f"ggml-vocab-{name}")


def test_the_archive_holds_these_vocabularies() -> None:
    assert {path.stem.removeprefix("ggml-vocab-") for path in vocabularies()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_token_has_the_text_that_llama_cpp_gives_it(name: str) -> None:
    """Those that are whole characters are compared by llama.cpp's own text; the others come back in a text."""
    header = read_header(file_of(name))
    vocabulary = Vocabulary(header)
    server = tokenizer_server(header)
    whole = [i for i, piece in enumerate(vocabulary.pieces) if not _broken(piece)]
    if name == "command-r":  # has tokens that are no byte-level text, for which llama.cpp writes an error text
        foreign = {i for i, text in enumerate(vocabulary.texts) if text.encode() == vocabulary.pieces[i]}
        whole = [i for i in whole if i not in foreign or vocabulary.pieces[i].isascii()]
    for start in range(0, len(whole), BATCH):
        ids = whole[start : start + BATCH]
        assert server.post("/detokenize", {"tokens": ids})["content"] == vocabulary.decode(ids)
    if name not in LOSSY:
        tokenizer = GgufTokenizer(vocabulary, server)
        assert tokenizer.decode(tokenizer.encode(TEXT)).removeprefix(" ") == TEXT
    server.close()


def _broken(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return True
    return False


def test_text_that_ends_inside_of_a_character_is_known() -> None:
    hand = "a👋".encode()
    assert [incomplete(hand[:n]) for n in range(len(hand) + 1)] == [False, False, True, True, True, False]
    assert not incomplete("é".encode())
    assert incomplete("é".encode()[:1])


@pytest.fixture(scope="module")
def smollm2() -> GgufTokenizer:
    header = read_header(gguf())
    return GgufTokenizer(Vocabulary(header), tokenizer_server(header))


def streamed(tokenizer: GgufTokenizer, ids: list[int]) -> StreamedIds:
    """What is known of these ids from a stream as llama.cpp makes it: nothing while a character is incomplete."""
    found = StreamedIds(tokenizer.vocabulary)
    text = b""
    sent = 0
    for count, token in enumerate(ids, 1):
        text += tokenizer.vocabulary.pieces[token]
        if not incomplete(text):
            found.add(token, count, text[sent:].decode("utf-8", "replace"))
            sent = len(text)
    return found


def test_ids_that_a_stream_leaves_out_are_restored(smollm2: GgufTokenizer) -> None:
    """All of them, of a text most of whose characters are several tokens."""
    ids = smollm2.encode(TEXT.replace("<|im_end|>", "") * 2)
    stream = streamed(smollm2, ids)
    assert len(stream.ids) < len(ids)
    assert stream.restore(len(ids), None, smollm2.encode).ids == tuple(ids)
    assert stream.restore(len(ids), None, smollm2.encode).uncertain == 0


def test_ids_that_cannot_be_restored_are_counted(smollm2: GgufTokenizer) -> None:
    """An incomplete character at the end, and one that was followed by something else."""
    hand = smollm2.encode("👋")
    assert len(hand) == 3
    assert streamed(smollm2, hand[:2]).restore(2, None, smollm2.encode).uncertain == 2
    broken = [hand[0], *smollm2.encode("The tower")]
    assert streamed(smollm2, broken).restore(len(broken), None, smollm2.encode).uncertain == 1
