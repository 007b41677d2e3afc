"""Records on disk: nothing that was written is lost, whatever ends the process, and every line reads back."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbill.backends.common.secret import Secret
from playbill.backends.errors import FileFormatError, RunError
from playbill.backends.generation import Generation, Outcome
from playbill.runs import read_records
from playbill.runs.folder.record import FIELDS, TurnId, make_record, to_line
from playbill.runs.folder.store import RecordStore

ASKED = [{"role": "user", "content": "Hello."}]


def record(id="d", turn=0, sample=0, outcome=Outcome.ANSWERED, text="Hi.", **more):
    return make_record(TurnId(id, turn, sample), "m", "mock", ASKED, Generation(outcome=outcome, text=text, **more))


def fill(folder, *records):
    with RecordStore(folder) as store:
        for one in records:
            store.append(one)
    return folder / "records.jsonl"


def test_a_record_has_all_fields():
    """Every documented field stands in every record, and no other."""
    assert tuple(json.loads(to_line(record()))) == FIELDS


def test_what_is_no_json_becomes_json():
    """NaN, infinities, lone surrogates and foreign objects break no line, and surrogates read back."""
    odd = record(text="a\ud800b\u2028c", details={"p": math.nan, "q": [-math.inf], 1: {2}, "o": object})
    line = to_line(odd)
    assert line.count(b"\n") == 1

    def refuse(name):
        raise AssertionError(name)

    back = json.loads(line, parse_constant=refuse)
    assert back["text"] == "a\ud800b\u2028c"
    assert back["details"]["q"] == ["-inf"]


def test_a_secret_is_in_no_record():
    """An exact secret is masked wherever it turns up: in messages, answers, or what a service returned."""
    Secret("sk-very-secret-1234")
    leaky = record(text="my key is sk-very-secret-1234", response={"x": ["sk-very-secret-1234"]})
    assert b"sk-very-secret" not in to_line(leaky)


def test_a_line_torn_at_any_byte_is_mended(tmp_path):
    """Cut the last record at every byte: the others are kept, the store goes on, and nothing stands twice."""
    path = fill(tmp_path, record("a"), record("b"), record("c", text="Grüße, 你好"))
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        kept = ["a", "b", "c"] if cut == len(whole) - 1 else ["a", "b"]
        assert [r["id"] for r in read_records(path)] == kept
        with RecordStore(tmp_path) as store:
            assert bool(store.notes) == (start < cut < len(whole) - 1)
            store.append(record("d"))
        assert [r["id"] for r in read_records(path)] == [*kept, "d"]


def test_damage_inside_is_kept_apart(tmp_path):
    """A damaged line in the middle is refused by the reader; the store moves it aside, and says so."""
    path = fill(tmp_path, record("a"), record("b"), record("c"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0\0\0\n" + lines[2])
    with pytest.raises(FileFormatError, match=r"records\.jsonl:2: not a record"):
        list(read_records(path))
    with RecordStore(tmp_path) as store:
        assert "1 damaged line" in store.notes[0]
    assert [r["id"] for r in read_records(path)] == ["a", "c"]
    assert (tmp_path / "records.damaged").read_bytes() == b"\0\0\0\n"


def test_errors_are_dropped_for_another_try(tmp_path):
    """Opening a store drops `error` records, which will be done again, and nothing else."""
    outcomes = list(Outcome)
    path = fill(tmp_path, *(record(o.value, outcome=o) for o in outcomes))
    with RecordStore(tmp_path) as store:
        assert store.recorded("error", 0) == []
        assert [r["outcome"] for r in store.recorded("empty", 0)] == ["empty"]
        assert store.tally.records == len(outcomes) - 1
    assert {r["id"] for r in read_records(path)} == set(outcomes) - {"error"}


def test_no_key_twice_and_no_turn_without_the_one_before(tmp_path):
    """Of two records of a key the later stays; a turn whose predecessor is lost goes, for it is asked anew."""
    path = tmp_path / "records.jsonl"
    made = [record("a", text="old"), record("a", text="new"), record("b", turn=1), record("a", turn=1)]
    path.write_bytes(b"".join(to_line(r) for r in made))
    with RecordStore(tmp_path) as store:
        assert [(r["turn"], r["text"]) for r in store.recorded("a", 0)] == [(0, "new"), (1, "Hi.")]
        assert store.recorded("b", 0) == []
    assert len(list(read_records(path))) == 2


def test_a_file_of_a_newer_schema_is_left_alone(tmp_path):
    """What a newer Playbill wrote is refused, not rewritten."""
    path = tmp_path / "records.jsonl"
    content = to_line({**record(), "schema": 99})
    path.write_bytes(content)
    with pytest.raises(RunError, match="newer Playbill"):
        RecordStore(tmp_path)
    assert path.read_bytes() == content


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from playbill.backends.errors import RunError
from playbill.backends.generation import Generation, Outcome
from playbill.runs.folder.record import TurnId, make_record
from playbill.runs.folder.store import RecordStore

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
store = RecordStore(Path(sys.argv[1]))
try:
    for i in range(100):
        generation = Generation(outcome=Outcome.ANSWERED, text="x" * 100)
        store.append(make_record(TurnId(str(i), 0, 0), "m", "m", [], generation))
except RunError as e:
    print(i, e)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of file size")
def test_a_disk_that_fills_up_takes_no_half_record(tmp_path):
    """When the system takes only a part of a line, the part is taken back, and the error says what to do."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True)
    count, _, message = done.stdout.partition(" ")
    assert "can't write" in message
    assert "the same command goes on" in message
    content = (tmp_path / "records.jsonl").read_bytes()
    assert content.endswith(b"\n")
    assert len(list(read_records(tmp_path / "records.jsonl"))) == int(count) > 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.data())
def test_any_prefix_of_a_file_reads(tmp_path_factory, texts, data):
    """Whatever the texts, and wherever the file ends, all whole records before the end are read back."""
    path = tmp_path_factory.mktemp("r") / "records.jsonl"
    lines = [to_line(record(str(i), text=text)) for i, text in enumerate(texts)]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    ends = [sum(len(line) for line in lines[: i + 1]) for i in range(len(lines))]
    expected = [text for text, end in zip(texts, ends, strict=True) if end - 1 <= cut]
    assert [r["text"] for r in read_records(path)] == expected


def rewrite(path, change):
    """Change each record of a file, given by its place."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for n, one in enumerate(records):
        change(n, one)
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


@pytest.mark.parametrize(
    ("field", "value"),
    [("text", "Ho."), ("outcome", "truncated"), ("messages", [{"role": "user", "content": "Hello?"}])],
)
def test_a_record_that_was_edited_is_gone_on_from_and_said(tmp_path, field, value):
    """Which line, and how many; one that was only formatted anew is none."""
    path = fill(tmp_path, record(), record(id="e"))
    rewrite(path, lambda n, one: None)
    with RecordStore(tmp_path) as store:
        assert store.notes == []
    rewrite(path, lambda n, one: one.update({field: value}) if n == 1 else None)
    with RecordStore(tmp_path) as store:
        assert store.notes == [
            "1 record was edited since the run wrote them (line 2: its messages, text or outcome); the dialogues go on "
            "from what stands there now"
        ]
        assert store.recorded("e", 0)[0][field] == value


def test_an_edited_record_of_an_older_version_shows_at_its_next_turn(tmp_path):
    """It has no checksum; the next turn's messages have the text as it was."""
    asked = [*ASKED, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "And?"}]
    second = make_record(TurnId("d", 1, 0), "m", "mock", asked, Generation(outcome=Outcome.ANSWERED, text="Yes."))
    path = fill(tmp_path, record(), second)
    rewrite(path, lambda n, one: one.pop("checksum"))
    with RecordStore(tmp_path) as store:
        assert store.notes == []
    rewrite(path, lambda n, one: one.update(text="Ho.") if n == 0 else None)
    with RecordStore(tmp_path) as store:
        assert "line 2: its messages don't have the text of turn 0" in store.notes[0]
