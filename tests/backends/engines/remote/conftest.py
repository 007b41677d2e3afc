"""The tests of this folder talk to the mock server by the official clients, and need the extras for both."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from playbill.backends import load_model

_NEEDS = [name for name in ("h11", "openai", "anthropic", "httpx2") if not find_spec(name)]
collect_ignore_glob = ["test_*.py"] if _NEEDS else []


def pytest_report_header():
    return f"services: not tested, {', '.join(_NEEDS)} missing" if _NEEDS else None


@pytest.fixture
def opened(place):
    """Load a model at a server by the OpenAI wire, patient for a moment only; closed when the test ends."""
    models = []

    def load(url, **entry):
        spec = {"model_name": "m", "backend": "openai_compatible", "base_url": url, "retry_pause": 0.01, **entry}
        models.append(load_model(spec))
        return models[-1]

    yield load
    for model in models:
        model.close()
