"""How long each target is fuzzed: `PLAYBILL_FUZZ_SECONDS` (or a minute) shared among the targets that were selected."""

from __future__ import annotations

import os

import pytest

_ALL = pytest.StashKey[int]()


def pytest_collection_modifyitems(config, items):
    config.stash[_ALL] = sum(item.path.parent.name == "fuzz" and "long" in item.name for item in items)


@pytest.fixture
def fuzz_seconds(request) -> float:
    return float(os.environ.get("PLAYBILL_FUZZ_SECONDS") or 60) / max(1, request.config.stash[_ALL])
