"""Manifests that others may have touched: each wrong part is named, and no reader fails in another way."""

from __future__ import annotations

import json

import pytest

from playbill.backends import PlaybillError
from playbill.runs import run
from playbill.runs.folder.manifest_fields import wrong_part
from playbill.runs.replay import replay
from playbill.runs.report.collect import collect

DIALOGUE = {"id": "d", "turns": ["Hello", "again"]}


@pytest.fixture
def folder(place):
    """The folder of a run that can be gone on with."""
    run([DIALOGUE], "mock", out="out")
    return place / "out"


def change(folder, where, value):
    """Replace a part of the manifest; None takes it out."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    *way, last = where.split(".")
    holder = content
    for step in way:
        holder = holder[step]
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    path.write_text(json.dumps(content))


def test_a_manifest_as_it_is_written_is_right(folder):
    """Each of its parts."""
    assert wrong_part(json.loads((folder / "manifest.json").read_text())) is None


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("schema", "1", "schema is no whole number"),
        ("date", 5, "date is no string"),
        ("date", "yesterday", "date is no date"),
        ("repeat", True, "repeat is no whole number"),
        ("models", [1], "manifest of a run"),
        ("models.mock", "x", "models.mock is no object"),
        ("models.mock.spec", ["x"], "models.mock.spec is no object"),
        ("models.mock.cleaning.end_tokens", [1], "models.mock.cleaning.end_tokens[0] is no string"),
        ("models.mock.cleaning.thinking_end", 7, "models.mock.cleaning.thinking_end is no string"),
        ("models.mock.parameters", 7, "models.mock.parameters is no object"),
        ("models.mock.template", {"source": "x"}, "models.mock.template.text is missing"),
        ("inputs", "x", "inputs is no object"),
        ("inputs.files", ["x"], "inputs.files[0] is no object"),
        ("starts", [7], "starts[0] is no object"),
    ],
)
def test_a_wrong_part_is_named_by_all_that_read_it(folder, where, value, said):
    """The next start, the report and the replay."""
    change(folder, where, value)
    for read in (
        lambda: run([DIALOGUE], "mock", out="out"),
        lambda: collect(folder),
        lambda: list(replay(folder)),
    ):
        with pytest.raises(PlaybillError) as e:
            read()
        assert said in str(e.value)


@pytest.mark.parametrize("where", ["schema", "inputs.dialogues", "inputs.sha256", "starts"])
def test_what_a_next_start_needs_and_a_reader_does_not_is_named(folder, where):
    """Who reads the run reads it all the same."""
    change(folder, where, None)
    with pytest.raises(PlaybillError, match=f"{where} is missing"):
        run([DIALOGUE], "mock", out="out")
    assert list(replay(folder)) == []


def test_audit_goes_on_without_a_manifest_that_is_none(folder, playbill):
    """It says so, and judges the records."""
    change(folder, "models", True)
    code, out, err = playbill("audit", "out")
    assert (code, "1 file: no errors" in out, "models is no object" in err) == (0, True, True)
