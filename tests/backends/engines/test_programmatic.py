"""Scripted models and people: models like any other."""

from __future__ import annotations

import io

import pytest

from playbill.backends import EntryError, Outcome, ParameterError, load_model
from playbill.backends.loading import model_from_function

HELLO = [{"role": "user", "content": "hello"}]


def turns(*texts):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def test_without_answers_it_echoes(place):
    """The text of the last message, also where it is in parts."""
    with load_model("mock") as model:
        assert model.generate(HELLO).text == "hello"
        parts = [{"type": "text", "text": "a"}, {"type": "image", "url": "x"}, {"type": "text", "text": "b"}]
        assert model.generate([{"role": "user", "content": parts}]).text == "a b"


def test_the_nth_turn_gets_the_nth_answer(place):
    """Whatever else was asked before; after the last it begins again."""
    with load_model("mock", answers=["one", "two"]) as model:
        assert model.generate(turns("a", "one", "b")).text == "two"
        assert model.generate(turns("a")).text == "one"
        assert model.generate(turns("a", "1", "b", "2", "c")).text == "one"


def test_every_nth_call_fails_on_demand(place):
    """As an error outcome, not as an exception."""
    with load_model("mock", fail_every=2) as model:
        assert [model.generate(HELLO).outcome for _ in range(4)] == ["answered", "error"] * 2
        assert "fail_every=2" in [model.generate(HELLO), model.generate(HELLO)][1].error["message"]


def test_delays_run_beside_each_other_and_end_when_nobody_waits(place):
    """A cancelled answer isn't waited for."""
    with load_model("mock", delay=30) as model:
        future = model.submit(HELLO)
        assert future.cancel()
    with load_model("mock", delay=0.01) as model:
        batch = model.generate_batch([turns(str(i)) for i in range(20)])
        assert [g.text for g in batch] == [str(i) for i in range(20)]


def test_max_tokens_cuts_after_so_many_words(place):
    """Tokens are words here, and usage counts them."""
    with load_model("mock", answers=["one two three"]) as model:
        generation = model.generate(HELLO, max_tokens=2)
    assert (generation.text, generation.outcome, generation.finish_reason) == ("one two", Outcome.TRUNCATED, "length")
    assert (generation.usage.input_tokens, generation.usage.output_tokens) == (1, 2)


@pytest.mark.parametrize("stop", ["STOP", ["zzz", "STOP"]])
def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(place, stop):
    """Raw keeps it, and the details say which it was."""
    with load_model("mock", answers=["go STOP on"]) as model:
        generation = model.generate(HELLO, stop=stop)
    assert (generation.text, generation.raw, generation.details) == ("go", "go STOP", {"stop_string": "STOP"})


def test_a_python_function_is_a_model():
    """Called with the prepared messages; its exception is an error outcome, and so is an answer that is no text."""
    with model_from_function(lambda messages: messages[-1]["content"][::-1]) as model:
        assert model.generate([*HELLO, {"role": "user", "content": "you"}]).text == "uoy\n\nolleh"

    def fail(messages):
        raise RuntimeError("no idea")

    for function, said in ((fail, "no idea"), (lambda messages: 3, "")):
        with model_from_function(function) as model:
            generation = model.generate(HELLO)
            assert generation.outcome is Outcome.ERROR
            assert said in generation.error["message"]


def test_a_person_is_asked_and_answers(place, monkeypatch, capsys):
    """What is asked goes to stderr, without anything that moves the cursor; the line is the answer."""
    monkeypatch.setattr("sys.stdin", io.StringIO("a tower\nsecond\n"))
    with load_model("human") as model:
        first = model.generate([{"role": "user", "content": "What\x1b[2J is it?"}])
        assert model.generate(turns("What\x1b[2J is it?", "a tower", "And now?")).text == "second"
        assert model.generate(HELLO).outcome is Outcome.ERROR
    err = capsys.readouterr().err
    assert first.text == "a tower"
    assert "[user] What\\x1b[2J is it?" in err
    assert err.count("What") == 1, "what was seen is not shown again"
    with pytest.raises(ParameterError, match="human can't honour 'temperature'"):
        load_model("human", temperature=1)


def test_what_the_entry_gets_wrong_is_said_on_load(place):
    """Before anything is answered."""
    with pytest.raises(EntryError, match='"no list" is not a list of strings'):
        load_model("mock", answers="no list")


def test_what_scripted_answers_do_not_honour_is_listed_as_ignored(caplog):
    """max_tokens and stop are honoured; a temperature is asked for in vain, which record and warning say."""
    with load_model("mock", temperature=0.7, top_k=3, max_tokens=2) as model:
        params = model.generate([{"role": "user", "content": "one two three"}]).params
    assert set(params.ignored) == {"temperature", "top_k"}
    assert params.effective["max_tokens"] == 2
    assert load_model("mock").defaults.effective == {"temperature": 0.0, "max_tokens": 300}
    assert load_model("mock", temperature=0.0).defaults.ignored == {}
    assert "temperature, top_k changes nothing" in caplog.text
