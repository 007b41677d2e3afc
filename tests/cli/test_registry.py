"""`playbill registry` as a user types it: what it prints where, what it writes, and how it exits."""

from __future__ import annotations

import json

import pytest

MOCK = {"model_name": "a", "backend": "programmatic"}


@pytest.fixture
def files(place):
    old = [MOCK, {**MOCK, "model_name": "b", "delay": 1}, {**MOCK, "model_name": "gone"}]
    new = [{**MOCK, "license": "MIT"}, {**MOCK, "model_name": "b", "delay": 2, "answers": ["\x1b[31mred"]}]
    (place / "old.json").write_text(json.dumps(old))
    (place / "new.json").write_text(json.dumps(new))
    return place


def test_diff_says_in_words_what_changed(playbill, files):
    """Key by key; exit code 1 where answers may differ, and 0 where they can't."""
    code, out, err = playbill("registry", "diff", "old.json", "new.json")
    assert code == 1
    assert out.splitlines() == [
        "~ a changed",
        '    license: now "MIT", was not there: for people only',
        "~ b changed",
        "    delay: 1 -> 2: answers may differ",
        r'    answers: now ["\u001b[31mred"], was not there: answers may differ',
        "- gone removed: backend programmatic",
    ]
    assert err == "2 changed, 1 removed; 2 of 3 may matter to who asks by name\n"
    assert playbill("registry", "diff", "old.json", "old.json") == (0, "", "nothing changed\n")


def test_diff_json_keeps_null_and_absent_apart(playbill, files):
    """Values that weren't there have no key."""
    (files / "null.json").write_text(json.dumps([{**MOCK, "x_a": None}]))
    (files / "one.json").write_text(json.dumps([MOCK]))
    code, out, _ = playbill("registry", "diff", "one.json", "null.json", "--json")
    assert code == 0
    assert json.loads(out)[0]["keys"] == [{"path": "x_a", "effect": "for people only", "new": None}]


def test_diff_knows_the_packaged_registry_by_a_word(playbill, files):
    """What one's own file has that the packaged one hasn't is added."""
    code, out, _ = playbill("registry", "diff", "packaged", "new.json")
    assert code == 1
    assert "+ a added" in out
    assert "- mock removed" in out


@pytest.mark.parametrize("command", [("diff", "old.json", "no.json"), ("lint", "no.json"), ("lint",)])
def test_a_missing_file_is_said(playbill, files, command):
    """Exit code 2, no traceback."""
    code, _, err = playbill("registry", *command)
    assert code == 2
    assert "no.json" in err or "model_registry.json" in err
    assert "Traceback" not in err


def test_lint_formats_and_check_only_tells(playbill, files):
    """For CI: exit code 1 and nothing written; then 0."""
    before = (files / "old.json").read_text()
    for option in ("--check", "--diff"):
        code, out, err = playbill("registry", "lint", "old.json", option)
        assert (code, "old.json: would be formatted" in err) == (1, True)
        assert ("+++ old.json (formatted)" in out) == (option == "--diff")
        assert (files / "old.json").read_text() == before
    assert playbill("registry", "lint", "old.json", "new.json")[0] == 0
    assert (
        (files / "old.json").read_text().startswith('[\n  {\n    "model_name": "a",\n    "backend": "programmatic"\n')
    )
    assert json.loads((files / "old.json").read_text()) == json.loads(before)
    code, _, err = playbill("registry", "lint", "old.json", "new.json", "--check")
    assert (code, err) == (0, "nothing to do\n")


def test_lint_keeps_line_ends_of_no_kind_but_its_own_and_the_files_mode(playbill, files):
    """A file of Windows with a mark at its beginning is formatted too; who may read it stays."""
    path = files / "model_registry.json"
    path.write_bytes(b'\xef\xbb\xbf[\r\n {"backend": "programmatic",\r\n "model_name": "a"}]\r\n')
    path.chmod(0o600)
    assert playbill("registry", "lint")[0] == 0
    assert path.read_bytes() == b'[\n  {\n    "model_name": "a",\n    "backend": "programmatic"\n  }\n]\n'
    assert path.stat().st_mode & 0o777 == 0o600
