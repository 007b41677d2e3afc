"""The packaged registry is proven as its stamps say: nothing is wrong with it, and what is odd is waived."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from playbill.backends.common.findings import Severity
from playbill.backends.common.waivers import waivers_of
from playbill.backends.registry.fields.types import parse_date
from playbill.backends.registry.lookup import ModelRegistry, packaged_file
from playbill.backends.registry.service_models import family_of
from playbill.backends.registry.stamps.files import StampFiles
from playbill.backends.registry.stamps.stamp import Depth
from playbill.backends.registry.stamps.state import newest_state
from playbill.proof.check import Options, check_all
from playbill.proof.rules.table import RULES
from support.assets import models_folder

TOOL = Path(__file__).parents[2] / "tools" / "stamp_registry.py"
PROMPT_PATH = {
    "SmolLM2-135M-Instruct-Q4",  # its own files
    "Qwen2.5-7B-Instruct",
    "Meta-Llama-3.1-8B-Instruct",
    "Llama-3.1-8B-Instruct",
    "Llama-3.2-3B-Instruct",
    "llama-3.3-70b",
    "Llama-3.3-70B-Instruct",
}


@pytest.fixture(scope="module")
def registry():
    return ModelRegistry.from_file(packaged_file())


@pytest.fixture(scope="module")
def verdicts(registry, tmp_path_factory):
    before = os.environ.get("HF_HUB_CACHE")
    os.environ["HF_HUB_CACHE"] = str(tmp_path_factory.mktemp("empty"))
    yield list(check_all(registry, registry, Options(fetch=False)))
    if before is None:
        del os.environ["HF_HUB_CACHE"]
    else:
        os.environ["HF_HUB_CACHE"] = before


def test_no_packaged_entry_has_an_error_or_an_open_warning(verdicts):
    """All of them, as written; what was a warning is mended, or waived with its reason."""
    assert len(verdicts) >= 295
    bad = [(v.name, f.code) for v in verdicts for f in v.findings if f.severity is not Severity.NOTE]
    assert bad == []


def test_every_waiver_has_a_rule_a_reason_and_a_day_and_is_needed(registry, verdicts):
    """A waiver of a rule that finds nothing any more would hide the next finding. Of a model that its service will end,
    it may stand there before the rule begins to warn."""
    for entry, verdict in zip(registry, verdicts, strict=True):
        said = entry.flat.entry.get("waivers", [])
        waivers = waivers_of(entry.flat.entry)
        assert len(waivers) == len(said), entry.name
        for code, waiver in waivers.items():
            assert code in RULES, entry.name
            assert len(waiver["reason"]) > 10, entry.name
            assert parse_date(waiver["date"]) is not None
            told = code == "PB128" and any(end in waiver["reason"] for end in ends_of(entry))
            assert told or code in {f.code for f in verdict.findings if "(waived on" in f.message}, entry.name


def ends_of(entry):
    """The days on which services end the model of an entry, by the table of families."""
    family = family_of(entry.flat.entry["backend"], entry.flat.entry["model_id"])
    return family.retires.values() if family is not None else ()


def test_every_packaged_entry_has_a_stamp_that_holds(registry):
    """If this fails: python tools/stamp_registry.py, with the folder of the templates where one of those is stale."""
    files = StampFiles()
    states = {entry.name: newest_state(files.of(entry), entry.flat.entry) for entry in registry}
    assert [name for name, state in states.items() if state is None] == []
    assert {name: state.stale for name, state in states.items() if state.stale} == {}
    assert {name for name, state in states.items() if state.stamp.depth is Depth.PROMPT} == PROMPT_PATH
    assert {state.stamp.depth for state in states.values()} == {Depth.WRITTEN, Depth.PROMPT}


def test_a_packaged_stamp_is_honest_about_what_it_saw(registry):
    """A stand-in is named, hashes are there for what was looked at only, and nothing warned."""
    files = StampFiles()
    for entry in registry:
        (stamp,) = files.of(entry)
        own = str(entry.flat.entry.get("huggingface_id")).startswith("pypi:")
        parts = {"template", "tokenizer"} if stamp.depth is Depth.PROMPT else set()
        seen = {part for part in ("template", "tokenizer") if getattr(stamp.content, part)}
        assert seen >= parts, entry.name
        assert stamp.against.keys() == (set() if own else seen), entry.name
        assert bool(stamp.content.weights) == own, entry.name
        assert stamp.warnings == ()
        assert stamp.asked is None


@pytest.mark.slow
def test_the_packaged_stamps_are_what_is_proven_now():
    """Proven anew, against the archive's templates and tokenizers."""
    pytest.importorskip("xllamacpp")
    command = [sys.executable, TOOL, models_folder(), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: {' '.join(map(str, command[:-1]))}"
    assert "the archive has the template of 11, and a tokenizer for 6" in done.stdout
