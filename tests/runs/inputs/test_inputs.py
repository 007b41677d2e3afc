"""Dialogues as people write them: every shape is read, and every fault is refused at its line."""

from __future__ import annotations

import io
import json
import sys

import pytest

from playbill.backends.engines.base import Extent
from playbill.backends.errors import InputError
from playbill.runs import Dialogue, open_inputs

HELLO = [{"role": "user", "content": "Hello."}]


def write(folder, *lines, name="in.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(x) + "\n" if not isinstance(x, str) else x + "\n" for x in lines))
    return path


def refused(source) -> str:
    with pytest.raises(InputError) as e:
        open_inputs(source)
    return str(e.value)


def test_messages_are_one_turn(tmp_path):
    """A dialogue of messages is answered once, after all of them."""
    found = list(open_inputs(write(tmp_path, {"id": "a", "messages": HELLO})))
    assert found == [Dialogue("a", tuple(HELLO), (), tmp_path)]


def test_turns_carry_each_answer(tmp_path):
    """Each answer joins the history before the user's next text, and a system message stands first."""
    (found,) = open_inputs(write(tmp_path, {"id": "a", "system": "Be brief.", "turns": ["One?", "Two?"]}))
    assert found.turns == 2
    assert [m["role"] for m in found.messages([])] == ["system", "user"]
    assert [m["content"] for m in found.messages(["1"])] == ["Be brief.", "One?", "1", "Two?"]


def test_the_extent_bounds_every_dialogue():
    """The most bytes, messages and answers, each of whichever dialogue has most; by it engines allocate."""
    long = {"id": "long", "messages": [{"role": "user", "content": "größe" * 10}]}
    deep = {"id": "deep", "system": "Be brief.", "turns": ["a", "b", "c"]}
    assert open_inputs([long, deep]).extent == Extent(text_bytes=70, messages=6, answers=3)


def test_mt_bench_lines(tmp_path):
    """MT-Bench's own lines are read: question_id is the id, and a number becomes a string."""
    line = {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."], "reference": []}
    (found,) = open_inputs(write(tmp_path, line))
    assert (found.id, found.turns) == ("81", 2)


def test_openai_batch_lines(tmp_path, caplog):
    """Batch requests are read; that the body's model and parameters are not is said once."""
    body = {"model": "gpt-x", "temperature": 1, "messages": HELLO}
    lines = [{"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions", "body": body} for i in range(3)]
    assert [d.id for d in open_inputs(write(tmp_path, *lines))] == ["r0", "r1", "r2"]
    assert [r.message for r in caplog.records if "model, temperature" in r.message] == [caplog.records[0].message]


def test_a_json_list_and_a_single_object(tmp_path):
    """A JSON list gives its elements, an object over several lines is one dialogue."""
    several = tmp_path / "in.json"
    several.write_text(json.dumps([{"id": 1, "turns": ["a"]}, {"id": 2, "turns": ["b"]}], indent=1))
    single = tmp_path / "one.json"
    single.write_text(json.dumps({"id": 3, "turns": ["c"]}, indent=2))
    assert [d.id for d in open_inputs([several, single])] == ["1", "2", "3"]


def test_byte_order_mark_crlf_and_blank_lines_mean_nothing(tmp_path):
    """Files from Windows editors read as others do."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "a", "turns": ["x"]}\r\n\r\n  \r\n{"id": "b", "turns": ["y"]}')
    assert [d.id for d in open_inputs(path)] == ["a", "b"]


def test_a_folder_gives_its_files_in_order(tmp_path):
    """Of a folder the .jsonl and .json files are read by name; an empty one is refused."""
    write(tmp_path, {"id": "2", "turns": ["x"]}, name="b.jsonl")
    write(tmp_path, {"id": "1", "turns": ["x"]}, name="a.jsonl")
    (tmp_path / "notes.txt").write_text("no dialogue")
    assert [d.id for d in open_inputs(tmp_path)] == ["1", "2"]
    (tmp_path / "sub").mkdir()
    assert "without .jsonl" in refused(tmp_path / "sub")


def test_standard_input(monkeypatch):
    """`-` is the standard input, which can be gone over more than once."""
    stdin = io.TextIOWrapper(io.BytesIO(b'{"id": "a", "turns": ["x"]}\n'))
    monkeypatch.setattr(sys, "stdin", stdin)
    inputs = open_inputs("-")
    assert [d.id for d in inputs] == [d.id for d in inputs] == ["a"]


def test_dialogues_given_as_objects():
    """Python users hand dictionaries over, also from a generator; a fault is told by its place."""
    inputs = open_inputs({"id": i, "turns": ["x"]} for i in range(2))
    assert [d.id for d in inputs] == ["0", "1"]
    assert refused([{"id": 1, "turns": ["x"]}, {"turns": ["x"]}]).startswith("dialogues[1]: has no id")


FAULTS = {
    "not JSON": ('{"id": "a", "turns": ["x"}', ":2:26: not JSON"),
    "an array": ("[1]", ":2: is not an object"),
    "no shape": ({"id": "a", "prompt": "x"}, "it is none of"),
    "two shapes": ({"id": "a", "turns": ["x"], "messages": HELLO}, "both 'messages' and 'turns'"),
    "no id": ({"messages": HELLO}, 'add one that no other dialogue has, as "id"'),
    "no custom_id": ({"body": {"messages": HELLO}}, 'as "custom_id"'),
    "a float id": ({"id": 1.5, "turns": ["x"]}, "id: 1.5 is neither"),
    "a bool id": ({"id": True, "turns": ["x"]}, "id: True is neither"),
    "an empty id": ({"id": " ", "turns": ["x"]}, "id: is empty"),
    "a surrogate in an id": ('{"id": "\\ud800", "turns": ["x"]}', "half of a surrogate pair"),
    "no turns": ({"id": "a", "turns": []}, "turns: is not a list"),
    "turns of messages": ({"id": "a", "turns": HELLO}, "turns[0]: is no string"),
    "a surrogate in a turn": ('{"id": "a", "turns": ["x", "\\ud800"]}', "half of a surrogate pair"),
    "a system that is no text": ({"id": "a", "system": 1, "turns": ["x"]}, "system: is no string"),
    "a system beside messages": ({"id": "a", "system": "s", "messages": HELLO}, "make it the first message"),
    "no messages": ({"id": "a", "messages": []}, "messages: is empty"),
    "a message without role": ({"id": "a", "messages": [{"content": "x"}]}, "messages[0].role"),
    "a batch without messages": ({"custom_id": "a", "body": {"input": "x"}}, "body: is no object with 'messages'"),
    "bad messages of a batch": ({"custom_id": "a", "body": {"messages": [1]}}, "body.messages[0]"),
    "NaN": ('{"id": "a", "turns": ["x"], "score": NaN}', "NaN is no number"),
    "a key twice": ('{"id": "a", "id": "b", "turns": ["x"]}', "'id' stands twice"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_line_is_refused_with_file_and_line(tmp_path, fault):
    """Whatever is wrong with a line, the error names the file, the line, and what to mend."""
    line, said = FAULTS[fault]
    path = write(tmp_path, {"id": "good", "turns": ["x"]}, line)
    message = refused(path)
    assert message.startswith(f"{path}:2:")
    assert said in message


def test_bytes_that_are_no_utf8(tmp_path):
    """Bytes of another encoding are refused at their line; a UTF-16 file is told as one."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"id": "a", "turns": ["x"]}\n{"id": "b", "turns": ["\xe4"]}\n')
    assert f"{path}:2: not UTF-8" in refused(path)
    path.write_text('{"id": "a", "turns": ["x"]}', encoding="utf-16")
    assert "is UTF-16; save it as UTF-8" in refused(path)


def test_faults_in_a_list_have_their_lines(tmp_path):
    """In a JSON list too, an element's fault is told with the line that it begins on."""
    path = tmp_path / "in.json"
    path.write_text('[\n {"id": 1,\n  "turns": ["x"]},\n {"id": 2}\n]\n')
    assert f"{path}:4: it is none of" in refused(path)
    path.write_text('[\n {"id": 1,\n  "turns": ["x"}]\n')
    assert f"{path}:3:16: not JSON" in refused(path)


def test_all_problems_are_gathered_up_to_twenty(tmp_path):
    """One start shows all faults, so that they are mended in one go; a wrong file doesn't flood the screen."""
    three = refused(write(tmp_path, {"id": 1}, {"turns": ["x"]}, {"id": 2, "turns": ["x"]}, {"id": 3}))
    assert three.startswith("3 problems in the input, nothing was loaded:")
    many = refused(write(tmp_path, *({"id": i} for i in range(50))))
    assert many.count("it is none of") == 20
    assert "and more" in many


def test_an_id_that_occurs_twice_names_both_places(tmp_path):
    """Ids are unique over all inputs, 7 and "7" are the same, and the error shows both places."""
    a = write(tmp_path, {"id": "x", "turns": ["x"]}, {"id": 7, "turns": ["x"]}, name="a.jsonl")
    b = write(tmp_path, {"id": "7", "turns": ["x"]}, name="b.jsonl")
    assert refused([a, b]) == f"{b}:1: the id '7' is that of {a}:2 already; ids are unique over all inputs"


def test_nothing_to_read(tmp_path):
    """A missing file and an empty one are refused, each in its words."""
    assert "no such input" in refused(tmp_path / "none.jsonl")
    assert "no dialogues in" in refused(write(tmp_path))


def test_the_digest_tells_appended_from_changed(tmp_path):
    """The digest of the first dialogues stays when others are appended, and changes with their content."""
    first, second, other = ({"id": i, "turns": [t]} for i, t in ((1, "x"), (2, "y"), (1, "z")))
    before = open_inputs([first])
    assert open_inputs([first, second]).prefix_digest(1) == before.digest
    assert open_inputs([other, second]).prefix_digest(1) != before.digest


@pytest.mark.parametrize("name", ["in.json", "in.jsonl"])
@pytest.mark.parametrize(
    "deep", ['{"id": ' + "[" * 5000, "[" * 5000, '{"id": "d", "turns": ' + "[" * 200 + "]" * 200 + "}"]
)
def test_what_is_nested_too_deeply_is_refused_in_words(tmp_path, name, deep):
    """In a file of lines as in a whole one."""
    (tmp_path / name).write_text(deep)
    with pytest.raises(InputError, match=r"nested too deeply|not JSON"):
        open_inputs(str(tmp_path / name))
