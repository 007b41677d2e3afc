"""Streams of turns whose replica died: each piece is told once, and a text that contradicts itself is known."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbill.replicas.waiting import Pieces

TEXT = "One fine thing, two, and three."


def cut(text, *places):
    places = sorted({0, *places, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


@given(st.lists(st.lists(st.integers(0, len(TEXT)), max_size=6), min_size=1, max_size=4), st.data())
def test_whoever_begins_anew_tells_the_rest_alone(cuts, data):
    """However the text is cut, and wherever a start ends."""
    told = []
    pieces = Pieces(told.append)
    for number, places in enumerate(cuts):
        parts = cut(TEXT, *places)
        if number < len(cuts) - 1:
            parts = parts[: data.draw(st.integers(0, len(parts)))]
        pieces.restart()
        for part in parts:
            pieces.take(part)
    assert "".join(told) == TEXT
    assert not pieces.contradict(TEXT)


@pytest.mark.parametrize(
    ("again", "whole"),
    [(["One", " other"], "One other"), (["One"], "One"), ([], "Else")],
)
def test_a_text_that_begins_otherwise_is_known(again, whole):
    """What was told can't be taken back: the rest is kept, and the answer says so."""
    told = []
    pieces = Pieces(told.append)
    pieces.take("One fine")
    pieces.restart()
    for piece in again:
        pieces.take(piece)
    assert told == ["One fine"]
    assert pieces.contradict(whole)


def test_signs_of_life_go_on_as_they_come():
    """An empty piece says that something is computed, though nothing is certain."""
    told = []
    pieces = Pieces(told.append)
    for piece in ("", "One", ""):
        pieces.take(piece)
    assert told == ["", "One", ""]
