"""The rate of a run is one number, wherever it is shown."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from playbill.runs import run
from playbill.runs.rates import Rate
from playbill.runs.report.collect import collect


def record(begin: float, end: float, tokens: int, outcome: str = "answered") -> dict[str, object]:
    """A record with what a rate is made of."""
    time = f"2026-01-01T00:{int(end) // 60:02}:{end % 60:06.3f}+00:00"
    return {"outcome": outcome, "usage": {"output_tokens": tokens}, "seconds": end - begin, "time": time}


def test_answers_side_by_side_count_their_time_once():
    """Two answers in the same ten seconds, and a pause of a minute: the rate is that of twenty busy seconds."""
    rate = Rate()
    for begin, end in ((0, 10), (2, 9), (70, 80)):
        rate.add(record(begin, end, 100))
    assert rate.per_second == 15.0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=40))
def test_every_second_in_which_something_was_under_way_counts_once(spans):
    """In whatever order records come; what is kept is no more than the spans that are apart."""
    rate = Rate()
    for begin, length in spans:
        rate.add(record(begin, begin + length, 1))
    covered = {second for begin, length in spans for second in range(begin, begin + length)}
    assert round(rate.busy_seconds, 6) == len(covered)
    assert list(rate.begins) == sorted(rate.begins)


def test_memory_is_flat_in_the_number_of_records():
    """Answers that follow each other at several places at once are one span."""
    rate = Rate()
    for turn in range(500):
        for place in range(3):
            rate.add(record(turn * 2 + place / 2, turn * 2 + 2 + place / 2, 1))
    assert len(rate.begins) == 1
    assert round(rate.busy_seconds, 3) == 1001


def test_failures_and_instants_have_no_rate():
    """An error's attempts generate nothing, and what took a millisecond gives no rate."""
    rate = Rate()
    rate.add(record(0, 50, 0, "error"))
    assert rate.per_second is None
    rate.add(record(60, 60.001, 10))
    assert rate.per_second is None


def test_terminal_and_page_show_the_same_rate(place, tmp_path):
    """Also over two starts: the summary of a run and the page made of its folder."""
    lines = [{"id": str(n), "turns": ["one two three"]} for n in range(6)]
    spec = {"model_name": "slow", "backend": "programmatic", "delay": 0.15}
    run(lines[:3], {**spec}, out=tmp_path / "out")
    result = run(lines, {**spec}, out=tmp_path / "out")
    shown = result.models["slow"].tokens_per_second
    assert shown is not None
    assert json.loads(json.dumps(result.models["slow"].to_dict()))["tokens_per_second"] == shown
    assert collect(Path(result.folder)).summary["models"][0]["speed"] == round(shown, 1)
