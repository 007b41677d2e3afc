"""A run whose models can't be greedy says so: at its start, in its manifest, and in its report."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from playbill.backends import Credentials
from playbill.mock_services import MockOptions, MockServer, ModelRule
from playbill.runs import Silent, run
from playbill.runs.report.collect import collect
from playbill.runs.report.page import build_page

pytestmark = pytest.mark.skipif(not find_spec("anthropic"), reason="needs the extra `anthropic`")
TALKS = [{"id": f"d{n}", "turns": ["hello", "again"]} for n in range(3)]


class Told(Silent):
    def __init__(self):
        self.texts = []

    def said(self, label, text):
        self.texts.append((label, text))


def answered(place, server, backend, **entry):
    """What the run said of being greedy, its manifest's word for it, and the report's."""
    url = server.url if backend in ("anthropic", "google") else server.openai_url
    (place / "key.json").write_text(json.dumps({backend: {"api_key": "key-number-1", "base_url": url}}))
    told = Told()
    out = place / "out"
    spec = {"model_name": "m", "backend": backend, **entry}
    if backend == "openai_compatible":
        spec["base_url"] = url
    result = run(TALKS, spec, out=out, observer=told, credentials=Credentials.load())
    assert {r["outcome"] for r in result.records()} == {"answered"}
    manifest = json.loads((out / "manifest.json").read_text())["models"]["m"].get("not_greedy")
    summary = collect(out)
    (model,) = summary.summary["models"]
    assert (model["not_greedy"] or "no such words") in build_page(summary) or model["not_greedy"] is None
    return [text for label, text in told.texts if "greedy" in text and label == "m"], manifest, model["not_greedy"]


@pytest.mark.parametrize(
    ("backend", "entry", "why"),
    [
        ("anthropic", {"model_id": "claude-opus-5-5"}, "not sent, the model refuses it"),
        ("anthropic", {"model_id": "claude-haiku-4-5"}, "api_version: 2023-06-01"),
        ("openai", {"model_id": "gpt-6-luna"}, "not sent, the model refuses it"),
        ("google", {"model_id": "gemini-4-argon"}, "not sent, it would be ignored"),
        ("deepseek", {"model_id": "deepseek-flash", "temperature": 0}, "is ignored"),
        ("openrouter", {"model_id": "anthropic/claude-opus-5.5"}, "not sent, the model refuses it"),
    ],
)
def test_a_model_that_can_not_be_greedy_is_named_once_with_the_reason(place, backend, entry, why):
    """Not for each answer; and the page has it beside the model."""
    service = backend if backend in ("deepseek", "openrouter") else None
    with MockServer("Hi.", MockOptions(service=service)) as server:
        said, manifest, report = answered(place, server, backend, **entry)
    assert len(said) == 1
    assert why in said[0]
    assert manifest is not None
    assert manifest == report
    assert why in report


@pytest.mark.parametrize(
    ("backend", "entry"),
    [
        ("anthropic", {"model_id": "claude-haiku-4-5", "api_version": "2023-06-01"}),
        ("openai", {"model_id": "gpt-4o-mini"}),
        ("openai", {"model_id": "gpt-4o-mini", "temperature": 0.7}),
        ("openai", {"model_id": "gpt-6-luna", "reasoning_effort": "none"}),
        ("openai", {"model_id": "gpt-6-luna", "thinking": "off"}),
        ("deepseek", {"model_id": "deepseek-flash", "thinking": "off"}),
    ],
)
def test_who_is_greedy_or_was_asked_to_sample_is_not_named(place, backend, entry):
    """Temperature is sent, and has an effect."""
    with MockServer("Hi.", MockOptions(service="deepseek" if backend == "deepseek" else None)) as server:
        assert answered(place, server, backend, **entry) == ([], None, None)


def test_what_is_learned_in_the_run_stands_in_the_report(place):
    """Nobody knew at the start; the records know."""
    with MockServer("Hi.", MockOptions(rules=(ModelRule("*", ("temperature",)),))) as server:
        said, manifest, report = answered(place, server, "openai_compatible", model_id="unknown")
    assert (said, manifest) == ([], None)
    assert "the service refused it" in report
