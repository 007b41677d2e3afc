"""Many models at once: nothing is done twice, what was cut off is done again, and one failure stops no other."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import support.proof_planted as planted
from playbill.backends.errors import InputError
from playbill.proof.bulk import Journal, side_by_side

MOCKS = [{**planted.MOCK, "model_name": f"m{i}"} for i in range(5)]


@settings(deadline=None)
@given(cut=st.integers(0, 400))
def test_a_journal_cut_off_anywhere_keeps_its_whole_lines(tmp_path_factory, cut):
    """A process may be killed while it writes; what it adds later is read as well."""
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    for i in range(5):
        journal.add(f"k{i}", {"text": "ä\n" * i})
    text = path.read_bytes()
    path.write_bytes(text[:cut])
    whole = text[:cut].count(b"\n") + (text[cut : cut + 1] == b"\n")
    again = Journal(path)
    assert [f"k{i}" in again for i in range(5)] == [i < whole for i in range(5)]
    again.add("new", 1)
    last = Journal(path)
    assert last["new"] == 1
    assert [f"k{i}" in last for i in range(5)] == [i < whole for i in range(5)]


@pytest.mark.parametrize("text", ['{"a": 1}\n{"b": 2}\n{"c": 3}\n', "hello", "[]", "{}", '[\n {"model_name": "m"}\n]'])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    """It would be written into otherwise."""
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match="--state"):
        Journal(path)
    with pytest.raises(InputError, match="can't read"):
        Journal(tmp_path)


@pytest.mark.parametrize("jobs", [1, 3])
def test_at_most_so_many_are_worked_on_at_once(jobs):
    """All are done once, and the result goes with its item."""
    running, most, lock = 0, 0, threading.Lock()
    meet = threading.Barrier(jobs, timeout=20)

    def work(i):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meet.wait()
        with lock:
            running -= 1
        return i * i

    assert sorted(side_by_side(work, range(9), jobs)) == [(i, i * i) for i in range(9)]
    assert most == jobs


def test_what_goes_wrong_ends_the_work():
    """An error that nobody expected isn't lost in a thread, and what was not begun isn't begun."""
    begun = []

    def work(i):
        begun.append(i)
        if i == 1:
            raise ZeroDivisionError
        return i

    with pytest.raises(ZeroDivisionError):
        list(side_by_side(work, range(1000), 2))
    assert len(begun) < 1000


def test_what_hangs_is_not_waited_for():
    """Whoever interrupts a call needs no answer of a hub that gives none."""
    gate = threading.Event()
    running = side_by_side(lambda i: gate.wait(60) if i else i, range(9), 2)
    assert next(running) == (0, 0)
    running.close()
    assert not gate.is_set()
    hanging = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    assert not hanging
    gate.set()


@pytest.fixture
def write(place):
    def write(*entries):
        (place / "r.json").write_text(json.dumps(entries))

    return write


def noted(place):
    return [json.loads(line) for line in (place / "state.jsonl").read_text().splitlines()]


def test_a_second_check_takes_what_the_first_one_found(playbill, place, write):
    """By its file, its entry and its depth; a changed entry is judged anew."""
    write(*MOCKS, {**planted.MOCK, "delay": "long"})
    first = playbill("check", "r.json", "--state", "state.jsonl", "--jobs", "3", "--json")
    assert first[0] == 1
    lines = noted(place)
    assert len(lines) == 6
    for line in lines:
        line["result"]["verdict"]["stopped"] = "as noted"
    (place / "state.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines[:4]))
    code, out, _ = playbill("check", "r.json", "--state", "state.jsonl", "--json")
    stopped = [verdict["stopped"] for verdict in json.loads(out)]
    assert (code, stopped.count("as noted"), len(noted(place))) == (1, 4, 6)
    assert [v["model_name"] for v in json.loads(out)] == [v["model_name"] for v in json.loads(first[1])]
    assert [v["findings"] for v in json.loads(out)] == [v["findings"] for v in json.loads(first[1])]
    write(*[{**entry, "delay": 1} for entry in MOCKS])
    code, out, _ = playbill("check", "r.json", "--state", "state.jsonl", "--json")
    assert (code, "as noted" in out) == (0, False)


def test_what_could_not_be_had_is_tried_again(playbill, place, write):
    """Without its tokenizer an entry is not done, if it was to be fetched; one that is wrong is."""
    write(planted.entry(huggingface_id="pypi:nothing==1/m.gguf"), planted.without("eos_to_cull"))
    playbill("check", "r.json", "--fetch", "--state", "state.jsonl")
    assert [line["result"]["verdict"]["wrong"] for line in noted(place)] == [True]


def test_stamps_of_a_resumed_check_are_all_kept(playbill, place, write):
    """Those that were made before the interruption as well."""
    write(*MOCKS)
    playbill("check", "r.json", "--stamp", "--state", "state.jsonl")
    (place / "r.stamps.json").unlink()
    lines = (place / "state.jsonl").read_text().splitlines(keepends=True)
    (place / "state.jsonl").write_text("".join(lines[:2]))
    _, _, err = playbill("check", "r.json", "--stamp", "--state", "state.jsonl")
    assert "stamped 5 of 5" in err
    assert [s["model_name"] for s in json.loads((place / "r.stamps.json").read_text())] == [
        "m0",
        "m1",
        "m2",
        "m3",
        "m4",
    ]


def test_many_are_summed_up_by_rule(playbill, write):
    """The worst first: how often, in how many entries, how deep it went, and why not deeper."""
    write(*MOCKS, planted.entry(favourite_colour=1, colour=2), planted.without("eos_to_cull"))
    code, out, _ = playbill("check", "r.json", "--summary")
    assert code == 1
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["SEVERITY", "RULE", "NAME", "FINDINGS", "ENTRIES"]
    assert lines[1] == ["error", "PB102", "missing-key", "1", "1"]
    assert ["warning", "PB105", "foreign-key", "2", "1"] in lines
    assert "looked as deep as: the entry for 7" in out
    assert "no deeper for 5: this backend takes messages" in out
    _, out, _ = playbill("check", "r.json", "--summary", "--json")
    summary = json.loads(out)
    assert (summary["entries"], summary["wrong"], summary["reached"]["the entry"]) == (7, 1, 7)
    assert summary["rules"][0] == {
        "code": "PB102", "name": "missing-key", "severity": "error", "findings": 1, "entries": 1
    }  # fmt: skip


def test_several_names_and_a_list_of_them_are_judged(playbill, place):
    """Each as it stands in its file; one that nobody knows is said before anything is done."""
    (place / "model_registry.json").write_text(json.dumps(MOCKS))
    (place / "names.txt").write_text("# those\nm1\n\n  m2 \n")
    _, out, _ = playbill("check", "m0", "--from", "names.txt", "--json")
    assert [verdict["model_name"] for verdict in json.loads(out)] == ["m0", "m1", "m2"]
    code, out, err = playbill("check", "m0", "m9")
    assert (code, out) == (2, "")
    assert "no model is called 'm9'" in err
    assert playbill("check", "--from", "nothing.txt")[0] == 2
    assert playbill("check", "m0", "--all")[0] == 2
