"""The report page as text: what it holds, and that nothing in it can break out."""

import json
import re

import pytest

from playbill.backends import InputError
from playbill.cli import main
from playbill.runs import run
from playbill.runs.report import write_report
from support.audited import USER, chatml, record
from support.report_runs import HOSTILE, make_run


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in args])
    return e.value.code


def data(page: str, name: str) -> list:
    """What stands in a data block of the page, a value a line."""
    block = re.search(rf'<script type="application/json" id="data-{name}">(.*?)</script>', page, re.S)
    return [json.loads(line) for line in block[1].split("\n")]


def test_a_page_is_written_into_the_runs_folder(place, capsys):
    """By the command, for a run as `run` makes it; its path is printed, and every dialogue is in it."""
    run([{"id": "d1", "turns": ["Hello!", "And again?"]}, {"id": "d2", "turns": ["Hi!"]}], "mock", out="out")
    assert call("report", "out") == 0
    assert capsys.readouterr().out == "out/report.html\n"
    page = (place / "out" / "report.html").read_text()
    rows = [(row[1], row[3], row[4]) for row in data(page, "index")[0]]
    assert sorted(rows) == [("d1", 2, "answered"), ("d2", 1, "answered")]
    turns = data(page, "dialogues")[rows.index(("d1", 2, "answered"))]["turns"]
    assert [turn["text"] for turn in turns] == ["Hello!", "And again?"]


def test_a_later_turn_holds_only_what_is_new(tmp_path):
    """New messages and the end of the prompt; from these and the turn before the whole can be put together."""
    messages = [{"role": "user", "content": USER}, {"role": "assistant", "content": "A tall 🗼."}]
    first = record(text="A tall 🗼.", raw="A tall 🗼.<|im_end|>")
    more = {"role": "user", "content": "Go on."}
    prompt = chatml(("user", USER), ("assistant", "A tall 🗼."), ("user", "Go on."))
    second = record(turn=1, messages=[*messages, more], prompt=prompt)
    page = write_report(make_run(tmp_path, first, second)).read_text()
    one, two = data(page, "dialogues")[0]["turns"]
    assert two["messages"] == [more]
    shared, rest = two["prompt"]
    known = (one["prompt"][1] + one["raw"]).encode("utf-16-le")
    assert known[: shared * 2].decode("utf-16-le") + rest == prompt
    assert rest.startswith("\n<|im_start|>user\nGo on.")


def test_hostile_text_is_data(tmp_path):
    """No text of a model, an id or a label ends the block that it stands in."""
    page = write_report(make_run(tmp_path, record(id=HOSTILE, text=HOSTILE, raw=HOSTILE))).read_text()
    assert page.count("<script") == page.count("</script>") == 4
    assert "<img" not in page
    assert data(page, "dialogues")[0]["turns"][0]["text"] == HOSTILE


def test_the_page_may_load_and_send_nothing(tmp_path):
    """Its policy allows one script and one style, by their hashes, and no address is in its markup."""
    page = write_report(make_run(tmp_path, record())).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\b", page)


def test_findings_stand_at_their_turn(tmp_path):
    """And in the totals, with the words of their rule."""
    page = write_report(make_run(tmp_path, record(), record(id="d2", text="No.<|im_end|>"))).read_text()
    assert data(page, "dialogues")[1]["turns"][0]["findings"] == [["PB401", "the answer ends with <|im_end|>"]]
    summary = data(page, "summary")[0]
    assert summary["rules"]["PB401"]["severity"] == "error"
    assert summary["models"][0]["audit"]["findings"]["PB401"] == {"calls": 1, "dialogues": 1, "share": 0.5}


def test_a_folder_without_a_run(tmp_path, capsys):
    """Is refused, as is one whose run has no records."""
    assert call("report", tmp_path) == 2
    assert "is no folder of a run" in capsys.readouterr().err
    run_folder = make_run(tmp_path, record())
    (run_folder / "m" / "records.jsonl").unlink()
    with pytest.raises(InputError, match="has no records yet"):
        write_report(run_folder)
