"""JSON files: what is refused, where the message points, and that a write is whole or not at all."""

from __future__ import annotations

import json
import os
import stat
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from playbill.backends import FileFormatError
from playbill.backends.common.jsonfile import Repeating, parse_json, read_json, write_atomically, write_json


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[1,\n 2,]", "2:3"),
        ('[\n  {"a": NaN}]', "2:9"),
        ('{"a": "NaN",\n "b": -Infinity}', "2:7"),
        ('{"x": 1,\n  "a": 1e999}', "2:8"),
        ('[{"a": {"b": 1}},\n {"a": 1, "b": {"a": 2}, "a": 3}]', "2:26"),
        ('["ok",\n "\\ud800"]', "2:2"),
        ("[" + "9" * 5000 + "]", "1:2"),
        ("", "1:1"),
    ],
)
def test_what_is_not_json_is_refused_with_line_and_column(text, place):
    """The message begins with the source, the line and the column of the fault."""
    with pytest.raises(FileFormatError) as e:
        parse_json(text, "some.json")
    assert str(e.value).startswith(f"some.json:{place}: ")


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ('[{"a": 1},\n]', "1:10", "a comma stands before the closing ']'"),
        ('{"a": 1,\n "b": 2, }', "2:8", "a comma stands before the closing '}'"),
        ('{\n  // mine\n  "a": 1}', "2:3", "a comment"),
        ('{"a": 1, /* mine */ "b": 2}', "1:10", "a comment"),
        ('# mine\n{"a": 1}', "1:1", "a comment"),
        ('{"a": 1}\n// mine', "2:1", "a comment"),
        ("{'a': 1}", "1:2", "single quotes"),
        ("{\"a\":\n 'b'}", "2:2", "single quotes"),
        ("{“a”: 1}", "1:2", "typographic quote"),
        ('{"a": True}', "1:7", "write true"),
        ('{"a": None}', "1:7", "write null"),
        ("{a: 1}", "1:2", 'write "a"'),
        ('{"a": "x"\n "b": 2}', "1:10", "a comma is missing"),
        ("[{}\n {}]", "1:4", "a comma is missing"),
        ('{"a": 1}\n{"b": 2}', "2:1", "one value"),
        ('{"a" 1}', "1:6", "a colon is missing"),
        ('{"a": [1', "1:9", "ends too early"),
        ("", "1:1", "it is empty"),
        ('{"a": "x}', "1:7", "closing quote is missing"),
        ('{"a": "C:\\Users"}', "1:10", "write it twice"),
        ('{"a": "b\nc"}', "1:9", "line break"),
    ],
)
def test_slips_of_the_hand_are_named_as_what_they_are(text, place, said):
    """A trailing comma, a comment, single quotes and the like are named, each at its line and column."""
    with pytest.raises(FileFormatError) as e:
        parse_json(text, "some.json")
    assert str(e.value).startswith(f"some.json:{place}: not JSON: ")
    assert said in str(e.value)


def test_slips_are_named_in_every_file_that_people_write(playbill, place):
    """Registries, key files and inputs, JSON and JSONL, all name a comment or single quotes with line and column."""
    (place / "in.jsonl").write_text('{"id": "a", "turns": ["Hi"]}\n{"id": "b", \'turns\': ["Hi"]}\n')
    (place / "in.json").write_text('[{"id": "a", "turns": ["Hi"]}, // mine\n]')
    assert "in.jsonl:2:13: not JSON: a string in single quotes" in playbill("run", "in.jsonl", "-m", "mock")[2]
    assert "in.json:1:32: not JSON: a comment" in playbill("run", "in.json", "-m", "mock")[2]
    (place / "key.json").write_text('{\n "openai": {"api_key": "not-a-real-key",}}')
    assert "key.json:2:40: not JSON: a comma stands before the closing '}'" in playbill("keys")[2]
    (place / "key.json").write_text('{"openai": {"api_key": sknotarealkey12345}}')
    said = playbill("keys")[2]
    assert "key.json:1:24: not JSON: a word without quotes" in said
    assert "sknot" not in said
    (place / "key.json").unlink()
    (place / "model_registry.json").write_text("[\n# mine\n]")
    assert "model_registry.json:2:1: not JSON: a comment" in playbill("list")[2]


def test_a_surrogate_pair_written_as_two_escapes_is_one_character():
    """Only halves are refused; a whole pair is ordinary JSON."""
    assert parse_json('["\\ud83d\\ude00", "\\\\ud800"]', "x") == ["😀", "\\ud800"]


def test_repeated_keys_can_be_asked_for():
    """A reader that wants to go on gets an object that says which keys stood twice."""
    found = parse_json('[{"a": 1, "b": 2, "a": 3}, {"a": 1}]', "x", repeats=True)
    assert isinstance(found[0], Repeating)
    assert (found[0], found[0].repeated) == ({"a": 3, "b": 2}, ("a",))
    assert not isinstance(found[1], Repeating)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    """Editors on Windows write one."""
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(path) == [1]


@pytest.mark.parametrize(("data", "said"), [(b'[\n"\xff"]', ":2:2: not UTF-8"), ("[1]".encode("utf-16"), "UTF-16")])
def test_another_encoding_is_refused_with_its_place(tmp_path, data, said):
    """A file in another encoding is never guessed at."""
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(FileFormatError) as e:
        read_json(path)
    assert said in str(e.value)


@given(st.text(alphabet='[]{}",:\\u0dD8abntf0123456789.eE+- NaInfity\n', max_size=40))
@example('{"":{"":1},"":2}')
@example("[" * 100_000)
@example("1e999")
def test_any_text_is_read_or_refused_with_its_place(text):
    """No text makes the reader fail in any other way, and what is read can be written."""
    try:
        value = parse_json(text, "file")
    except FileFormatError as e:
        assert str(e).startswith("file:")  # noqa: PT017 - which of the two happens is the fuzzer's choice
    else:
        assert parse_json(json.dumps(value, ensure_ascii=False), "again") == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    """The same for bytes in a file, which stays as it was."""
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_bytes(data)
    try:
        read_json(path)
    except FileFormatError:
        pass
    finally:
        assert path.read_bytes() == data


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    """A text that can't be encoded is found out while writing; nothing is left of the attempt."""
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")
def test_a_write_keeps_the_mode_and_goes_through_a_link(tmp_path):
    """A file that is a link stays a link, and a private file stays private."""
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("[]")
    os.chmod(real, 0o640)
    link.symlink_to(real)
    write_json(link, {"ä": 1})
    assert link.is_symlink()
    assert read_json(real) == {"ä": 1}
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@pytest.mark.parametrize("text", ["[" * 101 + "]" * 101, '{"a":' * 600 + "1" + "}" * 600])
def test_what_is_nested_deeper_than_its_readers_recurse_is_refused(text):
    """A value that parses but can't be copied or written would fail later, without its place."""
    with pytest.raises(FileFormatError, match="nested too deeply"):
        parse_json(text, "x")
    assert parse_json("[" * 100 + "]" * 100, "x")


def test_a_million_repeated_keys_are_refused_like_one():
    """Each key is counted once; a search for each would take hours."""
    text = "{" + ",".join(['"a":1', '"b":1'] * 500_000) + "}"
    with pytest.raises(FileFormatError, match="the key 'a' stands twice"):
        parse_json(text, "x")
    assert parse_json(text, "x", repeats=True).repeated == ("a", "b")
