"""A run's folder that a stranger made, or somebody edited: nothing is written outside of it, nothing adopted."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from playbill.backends.errors import FileFormatError, PlaybillError, RunError
from playbill.runs import Silent, read_records, run
from playbill.runs.report import write_report

pytestmark = pytest.mark.usefixtures("place")

GAME = [{"id": "a", "turns": ["Guess!", "Again!"]}]
SCRIPT = {"model_name": "script", "backend": "programmatic", "answers": ["one", "two"]}


def text_of(path):
    return Path(path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "link", ["manifest.json", ".lock", "script", "script/records.jsonl", "script/records.damaged", "report.html"]
)
@pytest.mark.parametrize("is_there", [True, False], ids=["to a file", "to nothing"])
def test_nothing_is_written_where_a_link_leads(place, link, is_there):
    """Whichever file or folder of the run is a link, what it points to stays as it is."""
    folder, outside = Path("r"), Path("outside").absolute()
    run(GAME, SCRIPT, out=folder)
    shutil.copytree(folder, outside)
    target = outside / link
    target.unlink() if target.is_file() else None
    if is_there and link != "script":
        target.write_text("precious")
    if (folder / link).is_dir():
        shutil.rmtree(folder / link)
    (folder / link).unlink(missing_ok=True)
    (folder / link).symlink_to(target)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}

    def go_on():
        run([*GAME, {"id": "b", "turns": ["More!"]}], SCRIPT, out=folder)
        write_report(folder)

    with pytest.raises(PlaybillError, match="is a link"):
        go_on()
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


def test_the_folder_itself_may_be_a_link(place):
    """It is its owner's, who keeps runs on another disk."""
    Path("disk").mkdir()
    Path("r").symlink_to("disk")
    assert run(GAME, SCRIPT, out="r").ok
    assert Path("disk/script/records.jsonl").exists()


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "..", "", "a/b", "a\\b", "C:x", 5, None, "manifest.json"])
def test_a_manifest_names_folders_of_the_run_only(place, name):
    """Another name is refused with its path, by all that read manifests."""
    run(GAME, SCRIPT, out="r")
    path = Path("r/manifest.json")
    content = json.loads(text_of(path))
    content["models"]["script"]["folder"] = name
    path.write_text(json.dumps(content))
    for use in (lambda: run(GAME, SCRIPT, out="r"), lambda: write_report(Path("r"))):
        with pytest.raises(FileFormatError, match=r"models\.script\.folder"):
            use()
    assert not Path("x").exists()


def test_records_without_a_manifest_are_not_adopted(place):
    """Nobody knows what they are of; they stay as they are."""
    run(GAME, SCRIPT, out="r")
    Path("r/manifest.json").unlink()
    before = text_of("r/script/records.jsonl")
    with pytest.raises(RunError, match=r"no manifest says what they are of.*-o"):
        run(GAME, SCRIPT, out="r")
    assert text_of("r/script/records.jsonl") == before
    assert not Path("r/manifest.json").exists()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("text", 5, "text is no string"),
        ("text", None, "text is missing"),
        ("text", "\ud83d", "half of a surrogate"),
        ("messages", "hi", "messages is no list"),
        ("usage", {"output_tokens": "3"}, "output_tokens is no whole number"),
        ("sample", "0", "no record"),
        ("outcome", "splendid", "no record"),
    ],
)
def test_an_edited_record_is_named_and_asked_for_again(place, field, value, said):
    """It is kept beside the file, and the run comes to its end."""
    run(GAME, SCRIPT, out="r")
    path = Path("r/script/records.jsonl")
    lines = text_of(path).splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), field: value})
    path.write_text("\n".join([*lines, ""]))
    notes = []

    class Listener(Silent):
        def said(self, label, text):
            notes.append(text)

    result = run(GAME, SCRIPT, out="r", observer=Listener())
    assert result.ok
    assert [record["text"] for record in read_records(path)] == ["one", "two"]
    assert "line 1: " in notes[0]
    assert said in notes[0]
    assert "records.damaged" in notes[0]


@pytest.mark.skipif(os.name == "nt", reason="what is open can't be removed there")
@pytest.mark.parametrize("what", ["removed", "moved", "replaced"])
def test_a_folder_that_goes_during_a_run_is_said(place, what):
    """It doesn't end as if all were well, and nothing is left of it elsewhere."""

    class Vandal(Silent):
        def recorded(self, label, tick):
            if tick.recorded == 1 and what == "removed":
                shutil.rmtree("r")
            elif tick.recorded == 1 and what == "moved":
                Path("r").rename("elsewhere")
            elif tick.recorded == 1:
                Path("r/script/records.jsonl").unlink()
                Path("r/script/records.jsonl").write_text("")

    with pytest.raises(RunError, match=r"was removed, moved or replaced during the run"):
        run([*GAME, {"id": "b", "turns": ["More!"]}], SCRIPT, out="r", observer=Vandal())
    assert what == "replaced" or not Path("r").exists()


def test_the_last_record_counts_as_well(place):
    """A folder that goes after the last answer is no run that was done."""

    class Vandal(Silent):
        def recorded(self, label, tick):
            if tick.recorded == tick.turns:
                shutil.rmtree("r")

    if os.name != "nt":
        with pytest.raises(RunError, match="during the run"):
            run(GAME, SCRIPT, out="r", observer=Vandal())


@pytest.mark.parametrize("out", ["r", "deep/er/r", None])
def test_a_start_that_is_refused_leaves_nothing(place, out):
    """No folder, no manifest, no lock; what was there before stays."""
    Path("mine.txt").write_text("mine")
    model = {"model_name": "m", "backend": "huggingface_local", "huggingface_id": "./nowhere",
             "premade_chat_template": True, "eos_to_cull": "</s>"}  # fmt: skip
    with pytest.raises(PlaybillError):
        run(GAME, model, out=out)
    assert sorted(path.name for path in place.iterdir()) == ["mine.txt"]
    Path("r").mkdir()
    with pytest.raises(PlaybillError):
        run(GAME, model, out="r")
    assert not Path("r/manifest.json").exists()


def test_one_model_that_loads_keeps_the_manifest(place):
    """It says what the records of that one are of."""
    broken = {"model_name": "m", "backend": "openai", "model_id": "x"}
    run(GAME, [SCRIPT, ("broken", broken)], out="r")
    assert set(json.loads(text_of("r/manifest.json"))["models"]) == {"script", "broken"}
