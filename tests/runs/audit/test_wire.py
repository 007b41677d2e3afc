"""Recorded bodies are read as the engines read them."""

from __future__ import annotations

from importlib import import_module

import pytest

from playbill.runs.audit.wire import finish_of

pytest.importorskip("google.genai", reason="needs the extra `google`")


@pytest.mark.parametrize("wire", ["openai", "anthropic", "google"])
def test_a_services_word_means_the_same_live_and_in_a_record(wire):
    """Each finish reason that a wire knows: who audits a run must not see another outcome than the run did."""
    module = import_module(f"playbill.backends.engines.remote.wires.{wire}")
    assert {word: finish_of(word) for word in module.FINISH} == module.FINISH
