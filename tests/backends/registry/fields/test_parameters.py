"""Generation parameters: who wins, what is refused, and what is recorded."""

from __future__ import annotations

import pytest

from playbill.backends import ParameterError, Parameters
from playbill.backends.registry.fields.parameters import PARAMETERS, resolve_parameters

ALL = frozenset(PARAMETERS)


def test_defaults_are_greedy_and_300_tokens_and_are_not_asked():
    """They are in effect without being asked for."""
    assert resolve_parameters({}, {}, ALL, "b") == Parameters({}, {"temperature": 0.0, "max_tokens": 300})


def test_the_caller_wins_over_the_entry_and_the_entry_over_the_default():
    """None is not asked."""
    found = resolve_parameters(
        {"temperature": 0.5, "top_p": 0.9, "backend": "b"}, {"temperature": 0.7, "seed": None}, ALL, "b"
    )
    assert found.asked == {"temperature": 0.7, "top_p": 0.9}
    assert found.effective == {"temperature": 0.7, "top_p": 0.9, "max_tokens": 300}


@pytest.mark.parametrize(("entry", "caller"), [({"top_k": 3}, {}), ({}, {"top_k": 3})])
def test_what_was_asked_and_cannot_be_honoured_is_an_error_that_names_it(entry, caller):
    """Whoever asked; what the backend can do is listed."""
    with pytest.raises(ParameterError, match=r"the backend b can't honour 'top_k'; .*takes max_tokens, temperature"):
        resolve_parameters(entry, caller, frozenset({"temperature", "max_tokens"}), "b")


def test_a_default_that_cannot_be_honoured_is_left_out():
    """It was never asked for; effective says so."""
    assert resolve_parameters({}, {}, frozenset({"max_tokens"}), "b").effective == {"max_tokens": 300}


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"temprature": 1}, "did you mean 'temperature'?"),
        ({"qqq": 1}, "known are temperature, max_tokens"),
        ({"temperature": -1}, "temperature: -1 is not a number of 0 or more"),
        ({"temperature": "hot"}, "not a number"),
        ({"temperature": float("nan")}, "not a number"),
        ({"temperature": float("inf")}, "not a number"),
        ({"temperature": True}, "not a number"),
        ({"max_tokens": 0}, "1 or more"),
        ({"max_tokens": 1.5}, "1 or more"),
        ({"top_p": 1.01}, "from 0 to 1"),
        ({"repetition_penalty": 0}, "above 0"),
        ({"stop": [1]}, "list of strings"),
    ],
)
def test_unknown_names_and_bad_values_are_errors(params, said):
    """With the nearest name, or what the value should be."""
    with pytest.raises(ParameterError) as e:
        resolve_parameters({}, params, ALL, "b")
    assert said in str(e.value)
