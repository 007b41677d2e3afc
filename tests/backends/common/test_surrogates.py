"""Halves of surrogate pairs, in a text and in the pieces of a stream."""

from __future__ import annotations

import json

import pytest

from playbill.backends.common.surrogates import is_torn, split_high, whole_characters

GRIN = "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("plain é " + GRIN, "plain é " + GRIN),
        ("a\ud83d\ude00b", f"a{GRIN}b"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", f"\ufffd{GRIN}"),
    ],
)
def test_two_halves_are_a_character_and_one_is_none(given, whole):
    """What comes of it UTF-8 can hold."""
    assert whole_characters(given) == whole
    assert whole.encode()
    assert not is_torn(whole_characters(given))


@pytest.mark.parametrize(("given", "parts"), [("", ("", "")), ("ab", ("ab", "")), ("a\ud83d", ("a", "\ud83d"))])
def test_a_first_half_at_the_end_is_kept_for_the_next_piece(given, parts):
    """Its second half may come there."""
    assert split_high(given) == parts


@pytest.mark.parametrize(
    "pieces", [["a\ud83d", "\ude00b"], ["a\ud83d", "b"], ["\ude00"], ["a\ud83d"], ["\ud83d", "", "\ude00"]]
)
def test_a_stream_shows_what_the_text_is(opened_stream, pieces):
    """Character by character: a service may cut an emoji in two."""
    shown, generation = opened_stream(pieces)
    assert shown == generation.text == whole_characters("".join(pieces))


@pytest.fixture
def opened_stream():
    """Stream pieces of text by a service on OpenAI's wire; give what was shown, and the Generation."""
    pytest.importorskip("openai", reason="needs the extra `openai`")
    from playbill.backends import load_model
    from playbill.mock_services import MockServer, Raw

    def stream(pieces):
        chunks = [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
        with MockServer(Raw(body, content_type="text/event-stream")) as server:
            spec = {"model_name": "m", "backend": "openai_compatible", "base_url": server.openai_url}
            with load_model(spec) as model:
                streamed = model.stream([{"role": "user", "content": "hello"}])
                return "".join(streamed), streamed.generation

    return stream
