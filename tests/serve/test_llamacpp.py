"""`playbill serve` over a real model: streams, log probabilities, several clients in one engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.gguf_smollm2 import gguf

openai = pytest.importorskip("openai", reason='needs "playbill[openai]"')
pytest.importorskip("xllamacpp", reason='needs "playbill[llamacpp]"')

from playbill.backends import load_model  # noqa: E402
from playbill.serve.server import Server  # noqa: E402

ASK = [{"role": "user", "content": "Name three animals, in one short sentence."}]


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    """A client of a server with SmolLM2."""
    entry = {
        "model_name": "smol",
        "backend": "llamacpp",
        "huggingface_id": str(gguf()),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "n_ctx": 512,
        "threads": 1,
    }
    loaders = {"smol": lambda: load_model(entry, consecutive_roles="keep", dialogues=4)}
    with Server(loaders=loaders, port=0).in_background() as url, openai.OpenAI(base_url=url, api_key="none") as client:
        yield client


def ask(client, messages=ASK, **options):
    return client.chat.completions.create(model="smol", messages=messages, max_tokens=24, **options)


def test_a_stream_holds_what_the_whole_answer_holds(client):
    """In several pieces; no end token is in it, and both count the same tokens."""
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    pieces = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(pieces) > 3
    assert "".join(pieces) == whole.choices[0].message.content
    assert "<|im_end|>" not in "".join(pieces)
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_log_probabilities_come_in_openais_form(client):
    """Each place has its token, the likeliest first, and joined they are the answer."""
    choice = ask(client, logprobs=True, top_logprobs=3).choices[0]
    places = choice.logprobs.content
    assert "".join(place.token for place in places).replace("<|im_end|>", "").strip() == choice.message.content
    assert all(len(place.top_logprobs) == 3 for place in places)
    assert all(place.top_logprobs[0].token == place.token for place in places)
    assert all(0 < math.exp(place.logprob) <= 1 for place in places)


def test_clients_share_the_engine_and_get_what_they_would_get_alone(client):
    """Eight at a time, each with its own question, as one after the other."""
    asked = [[{"role": "user", "content": f"What comes after the number {i}?"}] for i in range(8)]
    alone = [ask(client, messages).choices[0].message.content for messages in asked]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda m: ask(client, m).choices[0].message.content, asked))
    assert together == alone


def test_a_prompt_beyond_the_context_is_told_in_openais_words(client):
    """A 400 with the code that clients look for; others' requests are unharmed."""
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, [{"role": "user", "content": "word " * 2000}])
    assert refused.value.code == "context_length_exceeded"
    assert ask(client).choices[0].message.content
