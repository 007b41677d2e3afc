"""The audit as a whole: layouts, counts, exit codes, and files that can't be read."""

import contextlib
import json
import random

import pytest

from playbill.backends import PlaybillError
from playbill.cli import main
from playbill.runs.audit import Audit, find_sources
from support.audited import USER, chatml, judge, local_call, names, record, service_call, write_calls, write_records

ASK = chatml(("user", USER))
SOUND = local_call(ASK, "A tall building.<|im_end|>", "A tall building.")
LEAK = local_call(ASK, "A tall building.<|im_end|>", "A tall building.<|im_end|>")


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in args])
    return e.value.code


def player_file(folder, *calls, model="m"):
    """A file of clemcore's: one player's calls under meta."""
    path = folder / "player_1.requests.json"
    meta = {"game_name": "taboo", "player_name": "Player 1", "model_name": model, "completed": True}
    path.write_text(json.dumps({"meta": meta, "calls": [{"round": n, "call": c} for n, c in enumerate(calls)]}))
    return path


def test_exit_codes(tmp_path, capsys):
    """0 without errors, 1 with one, 2 where a file can't be read, whatever else is found."""
    assert call("audit", write_calls(tmp_path, SOUND)) == 0
    assert "1 file: no errors" in capsys.readouterr().out
    assert call("audit", write_calls(tmp_path, SOUND, LEAK)) == 1
    assert "requests.json[1]: the answer ends with <|im_end|>" in capsys.readouterr().out
    (tmp_path / "player_1.requests.json").write_text('{"calls": [')
    assert call("audit", tmp_path) == 2
    printed = capsys.readouterr()
    assert "player_1.requests.json:1:" in printed.err
    assert "eos-leak" in printed.out
    assert call("audit", tmp_path / "nothing") == 2


def run_folder(folder, *, dialogues=2, turns=3, repeat=1, records=()):
    """A run's folder with a manifest that says how much should be there, and these records."""
    inputs = {"dialogues": dialogues, "sha256": "0", "turns": turns}
    manifest = {"schema": 1, "date": "2026-01-01T00:00:00", "repeat": repeat, "inputs": inputs, "starts": []}
    manifest["models"] = {"m": {"folder": "m"}, "n": {"folder": "n"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "n").mkdir()
    sound = [record(id="d1", label="n"), record(id="d1", turn=1, label="n"), record(id="d2", label="n")]
    (folder / "n" / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in sound))
    if records:
        write_records(folder, *records)
    return folder


ERROR = record(id="d2", outcome="error", text="", raw="", error={"type": "EngineError", "message": "the line is dead"})


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        ([record(), record(turn=1), record(id="d2")], {}),
        ([], {"missing-records": "of 2 dialogues, 2 without a record; of 3 turns, 3 without a record"}),
        (
            [record(), record(turn=1)],
            {"missing-records": "of 2 dialogues, 1 without a record; of 3 turns, 1 without a record"},
        ),
        ([record(), record(id="d2")], {"missing-records": "of 3 turns, 1 without a record"}),
        ([record(), record(turn=1), ERROR], {"error-record": "there is no answer: 'the line is dead'"}),
        ([record(), record(turn=2), record(id="d2")], {"missing-turn": "turn 1 has no record, and turn 2 has one"}),
    ],
)
def test_errors_and_what_is_missing_are_counted_and_said(tmp_path, capsys, records, wanted):
    """A run that isn't whole is not called one without errors: not in words, not in JSON, not by the exit code."""
    run_folder(tmp_path, records=records)
    assert call("audit", tmp_path) == bool(wanted)
    out = capsys.readouterr().out
    assert all(name in out and message in out for name, message in wanted.items())
    assert out.rstrip().endswith("1 error" if wanted else "no errors")
    assert call("audit", tmp_path, "--json") == bool(wanted)
    content = json.loads(capsys.readouterr().out)
    assert {each["name"]: each["message"] for each in content["findings"]} == wanted
    assert content["errors"] == len(wanted)
    assert set(content["models"]) == {"m", "n"}


def test_a_dialogue_that_ended_early_lacks_no_turns(tmp_path):
    """An empty answer ends it, so what it would have asked is not missing; a whole dialogue is."""
    run_folder(tmp_path, turns=9, records=[record(outcome="empty", text="", raw="", usage={}), record(id="d2")])
    auditor, found = Audit(), []
    for source in find_sources([tmp_path / "m"]):
        auditor.expect(source.expected())
        found += auditor.judge(source.calls())
    assert [*found, *auditor.close()] == []


def test_what_can_not_be_told_is_grouped_by_its_reason(tmp_path, capsys):
    """One line for a reason, with the rules, the calls and the models that it is about."""
    calls = [service_call("A spire.") for _ in range(3)]
    calls[0]["raw_response_obj"]["clem_player"]["model_name"] = "gpt-y"
    assert call("audit", write_calls(tmp_path, *calls)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cannot tell")]
    reason = "the rendered prompt is not recorded; services render it on their side"
    assert sum(reason in line for line in lines) == 1
    assert any("double-bos, no-generation-prompt, role-mismatch (3 calls of 2 models)" in line for line in lines)
    assert call("audit", tmp_path, "--json") == 0
    grouped = {each["reason"]: each for each in json.loads(capsys.readouterr().out)["cannot_tell"]}
    assert (grouped[reason]["calls"], grouped[reason]["models"]) == (3, ["gpt-y", "gpt-x"])


def test_counts_and_share_as_json(tmp_path, capsys):
    """Per model: calls, dialogues, how many have a finding, and the share of dialogues."""
    write_records(tmp_path, record(), record(id="d2", text="No.<|im_end|>"), record(id="d3"), record(id="d4"))
    assert call("audit", tmp_path, "--json") == 1
    content = json.loads(capsys.readouterr().out)
    model = content["models"]["m"]
    assert (model["calls"], model["dialogues"], model["affected_share"]) == (4, 4, 0.25)
    assert model["findings"] == {"PB401": {"calls": 1, "dialogues": 1, "share": 0.25}}
    assert content["findings"][0] | {"where": ""} == {
        "code": "PB401",
        "name": "eos-leak",
        "severity": "error",
        "where": "",
        "message": "the answer ends with <|im_end|>",
        "fix": "",
        "model": "m",
        "dialogue": "d2",
        "turn": 0,
        "sample": 0,
    }


def test_a_player_of_clemcore(tmp_path):
    """A file with meta and calls is read; end tokens that may be a batch's padding are no proof."""
    padded = local_call(ASK, "A tall building.<|im_end|><|im_end|><|im_end|>", "A tall building.")
    found, auditor = judge(player_file(tmp_path, SOUND, LEAK, padded))
    assert names(found) == {"eos-leak": 1}
    assert found[0].finding.where.endswith("player_1.requests.json:calls[1]")
    assert sum(auditor.models["m"].cannot_tell["PB406"].values()) == 1


def test_the_oldest_layout(tmp_path):
    """Calls that don't name the text that was used get it from the interactions beside them, by time stamp."""
    old = json.loads(json.dumps(LEAK))
    del old["raw_response_obj"]["clem_player"]
    folder = tmp_path / "vicuna-t0.0--vicuna-t0.0" / "taboo" / "0_high_en" / "episode_0"
    folder.mkdir(parents=True)
    write_calls(folder, old)
    assert names(judge(tmp_path)[0]) == {}
    action = {"type": "get message", "content": "A tall building.<|im_end|>"}
    event = {"from": "Player 1", "to": "GM", "timestamp": old["timestamp"], "action": action}
    (folder / "interactions.json").write_text(json.dumps({"players": {}, "turns": [[event]]}))
    found, auditor = judge(tmp_path)
    assert names(found) == {"eos-leak": 1}
    assert list(auditor.models) == ["vicuna-t0.0"]


def test_what_services_answer(tmp_path):
    """The bodies of Anthropic, Google, Cohere, llama.cpp and OpenAI's newer interface are understood."""
    bodies = [
        {"content": [{"type": "text", "text": "A"}], "stop_reason": "max_tokens", "usage": {"output_tokens": 5}},
        {"candidates": [{"content": {"parts": [{"text": "A"}]}, "finish_reason": "MAX_TOKENS"}], "usage_metadata": {}},
        {"message": {"content": [{"type": "text", "text": "A"}]}, "finish_reason": "MAX_TOKENS"},
        {"choices": [{"text": "A", "finish_reason": "length"}], "usage": {"completion_tokens": 100}},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "A"}]}], "status": "incomplete",
         "incomplete_details": {"reason": "max_output_tokens"}},
    ]  # fmt: skip
    calls = []
    for body in bodies:
        call = service_call("A")
        call["raw_response_obj"] = {**body, "clem_player": {"response": "A", "model_name": "x"}}
        calls.append(call)
    assert names(judge(write_calls(tmp_path, *calls))[0]) == {"truncated": 5}


def test_white_space_that_a_tokenizer_changed(tmp_path):
    """The answer is told from the prompt also where decoding changed spaces; a BOS that came in on the way is seen."""
    sound, twice = json.loads(json.dumps(SOUND)), json.loads(json.dumps(SOUND))
    sound["raw_response_obj"]["response"] = SOUND["raw_response_obj"]["response"].replace("start|>", "start|> ")
    prompt = f"<s>[INST] {USER} [/INST]"
    twice["manipulated_prompt_obj"]["inputs"] = prompt
    twice["raw_response_obj"]["response"] = f"<s><s> [INST] {USER} [/INST] A tall building.</s>"
    assert names(judge(write_calls(tmp_path, sound))[0]) == {}
    assert names(judge(write_calls(tmp_path, twice))[0]) == {"double-bos": 1}


def test_a_torn_last_line_is_left_out_and_said(tmp_path, caplog):
    """The others are judged; a damaged line inside the file is an error."""
    path = write_records(tmp_path, record(), record(id="d2"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert judge(path)[1].models["m"].calls == 1
    assert "the last line is torn" in caplog.text
    path.write_bytes(b"{}\n" + whole)
    assert call("audit", path) == 2


def test_a_large_file_is_read_piece_by_piece(tmp_path):
    """Elements that cross the borders of what is read at once come out whole; white space and UTF-8 don't matter."""
    calls = [service_call(f"größer {n} " + "x" * 7000) for n in range(600)]
    path = tmp_path / "requests.json"
    path.write_text(json.dumps(calls, ensure_ascii=False, indent=1), encoding="utf-8")
    assert path.stat().st_size > 3 << 20
    _, auditor = judge(path)
    assert (auditor.models["gpt-x"].calls, auditor.errors) == (600, 0)


def test_changed_weights_in_a_service(tmp_path):
    """A value that was seen before is not reported again: services answer in turn from two systems."""
    calls = [service_call("A", system_fingerprint=f"fp_{n % 2}") for n in range(6)]
    assert names(judge(write_calls(tmp_path, *calls))[0]) == {"drift": 1}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("text", ["A"], "text is no string"),
        ("messages", [{"role": 1}], "messages holds what is no message with a role"),
        ("usage", {"output_tokens": "5"}, "usage.output_tokens is no whole number"),
        ("params", {"asked": []}, None),
        ("params", {"asked": [1]}, "params.asked is no object"),
        ("outcome", ["answered"], "not a record of Playbill"),
        ("turn", True, "turn is no whole number"),
    ],
)
def test_fields_of_the_wrong_type(tmp_path, capsys, field, value, said):
    """Are named with file and line, and the exit code is 2; an empty list for an object does no harm."""
    path = write_records(tmp_path, record(), record(id="d2", **{field: value}))
    assert call("audit", path) == (2 if said else 0)
    if said:
        err = capsys.readouterr().err
        assert f"{path}:2: not a record of Playbill" in err
        assert said in err


def test_no_damage_is_an_internal_error(tmp_path):
    """Calls with any part replaced by something of another type are judged, or refused as PlaybillError."""
    rng = random.Random(7)
    others = [None, 0, -1, True, "", "x", [], {}, [1], [None], {"a": 1}, "<|im_end|>", "<think>"]
    google = {"candidates": [{"content": {"parts": [{"text": "A"}]}, "finish_reason": "STOP"}], "usage_metadata": {}}
    whole = service_call("A")
    whole["raw_response_obj"] = {**google, "clem_player": {"response": "A", "model_name": "x"}}
    judged = 0
    for n in range(600):
        damaged = json.loads(json.dumps(rng.choice([SOUND, service_call("A", usage={"completion_tokens": 1}), whole])))
        *way, last = rng.choice(list(places(damaged)))
        parent = damaged
        for step in way:
            parent = parent[step]
        parent[last] = others[n % len(others)]
        with contextlib.suppress(PlaybillError):
            judge(write_calls(tmp_path, damaged))
            judged += 1
    assert judged > 300


@pytest.mark.parametrize(
    "beside", ["true", "[]", '{"turns": true}', '{"turns": [5, [null, {"action": {}}]]}', "[" * 300]
)
def test_interactions_of_another_shape_say_nothing(tmp_path, beside):
    """The calls beside them are judged all the same."""
    (tmp_path / "interactions.json").write_text(beside)
    found, auditor = judge(write_calls(tmp_path, LEAK))
    assert names(found) == {"eos-leak": 1}
    assert sum(totals.calls for totals in auditor.models.values()) == 1


@pytest.mark.parametrize(("text", "said"), [("9" * 5000, "a number is too large"), ("[" * 300, "nested too deeply")])
def test_what_a_reader_of_json_can_not_hold_is_refused_with_its_place(tmp_path, capsys, text, said):
    """In a file of calls."""
    (tmp_path / "requests.json").write_text(f"[{text}" + "]" * text.count("[") + "]")
    assert call("audit", tmp_path) == 2
    assert f"requests.json:1:2: not JSON: {said}" in capsys.readouterr().err


def places(value, way=()):
    """The way to every part of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in items:
        yield (*way, name)
        yield from places(part, (*way, name))
