"""Replaying a run: prompts and texts made again from its records, and its answers as an engine."""

import json
from pathlib import Path

import pytest

from playbill.backends import EngineError, Outcome, WeightsError, load_model
from playbill.backends.prompt.template import GENERIC_TEMPLATE
from playbill.cli import main
from playbill.runs import run
from playbill.runs.replay import Replayed, replay
from support.audited import chatml

DIALOGUES = [{"id": f"d{n}", "system": "Be brief.", "turns": [f"Name {n} things.", "Again?"]} for n in range(4)]


@pytest.fixture
def folder(place, tmp_path):
    """A run's folder: real records, of a local model as far as prompt, raw text and manifest are concerned."""
    run(DIALOGUES, "mock", out=tmp_path / "run")
    make_local(tmp_path / "run")
    return tmp_path / "run"


def make_local(folder: Path) -> None:
    manifest = read(folder)
    manifest["models"]["mock"]["template"] = {"text": GENERIC_TEMPLATE, "source": "generic", "variables": {}}
    manifest["models"]["mock"]["cleaning"]["end_tokens"] = ["<|im_end|>"]
    write(folder, manifest)
    path = folder / "mock" / "records.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        record["prompt"] = chatml(*((m["role"], m["content"]) for m in record["messages"]))
        record["raw"] = record["text"] + "<|im_end|>"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def read(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def write(folder: Path, manifest: dict) -> None:
    (folder / "manifest.json").write_text(json.dumps(manifest))


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in args])
    return e.value.code


def test_a_run_is_made_again_as_it_was(folder, capsys):
    """Every prompt and every text; the exit code is 0."""
    counts = Replayed()
    assert list(replay(folder, counts)) == []
    assert (counts.records, counts.prompts, counts.texts) == (8, 8, 8)
    assert call("replay", folder) == 0
    assert "8 prompts and 8 texts made again, no differences" in capsys.readouterr().out


def test_where_a_stop_string_ended_a_text_is_known_to_its_replay(folder):
    """It may stand earlier in the text as well, where it ended nothing."""
    path = folder / "mock" / "records.jsonl"
    stopped = {"raw": "a STOP b STOP", "text": "a STOP b", "details": {"stop_string": "STOP", "stop_from": 9}}
    path.write_text("".join(json.dumps({**record, **stopped}) + "\n" for record in records(folder)))
    assert list(replay(folder)) == []


def test_a_changed_cleaning_rule_shows_record_by_record(folder, capsys):
    """Each text that it would change, with what was recorded and what would be now; the exit code is 1."""
    manifest = read(folder)
    manifest["models"]["mock"]["cleaning"]["end_tokens"] = []
    write(folder, manifest)
    found = list(replay(folder))
    assert [(d.id, d.turn, d.field) for d in found] == [(r["id"], r["turn"], "text") for r in records(folder)]
    assert found[0].now == found[0].recorded + "<|im_end|>"
    assert call("replay", folder, "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["differences"]) == 8


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "mock" / "records.jsonl").read_text().splitlines()]


def test_a_changed_template_shows_in_the_prompts(folder, capsys):
    """With the place where the two prompts part, not the whole of them."""
    manifest = read(folder)
    manifest["models"]["mock"]["template"]["text"] = GENERIC_TEMPLATE.replace("assistant", "bot")
    write(folder, manifest)
    assert {d.field for d in replay(folder)} == {"prompt"}
    assert call("replay", folder) == 1
    assert "<|im_start|>bot" in capsys.readouterr().out


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    """With exit code 2, naming the folder."""
    assert call("replay", tmp_path) == 2
    assert f"{tmp_path} is no folder of a run" in capsys.readouterr().err


def test_records_answer_as_a_model(folder, place):
    """The same dialogues get the same texts, samples in turn; another conversation is an error that says so."""
    again = run(DIALOGUES, {"model_name": "again", "backend": "replay", "records": str(folder / "mock")}, out="again")
    texts = {(r["id"], r["turn"]): r["text"] for r in records(folder)}
    assert {(r["id"], r["turn"]): r["text"] for r in again.records()} == texts
    assert {r["outcome"] for r in again.records()} == {"answered"}
    with load_model({"model_name": "x", "backend": "replay", "records": str(folder / "mock")}) as model:
        generation = model.generate([{"role": "user", "content": "Something else"}])
        assert generation.outcome is Outcome.ERROR
        assert "has no answer to this conversation" in generation.error["message"]


def test_recorded_failures_fail_again(folder):
    """With their outcome, and the words of the record."""
    path = folder / "mock" / "records.jsonl"
    changed = records(folder)
    changed[0] |= {"outcome": "context_exceeded", "text": "", "error": {"type": "ContextExceeded", "message": "full"}}
    path.write_text("".join(json.dumps(r) + "\n" for r in changed))
    with load_model({"model_name": "x", "backend": "replay", "records": str(path)}) as model:
        generation = model.generate(changed[0]["messages"])
        assert (generation.outcome, generation.error["message"]) == (Outcome.CONTEXT_EXCEEDED, "full")
        with pytest.raises(EngineError, match="full"):
            model.generate_response(changed[0]["messages"])


def test_samples_come_in_turn(place):
    """A conversation that was asked three times has three answers, and then the first again."""
    Path("records.jsonl").write_text(
        "".join(
            json.dumps({"messages": [{"role": "user", "content": "Hi"}], "outcome": "answered",
                        "text": text, "finish_reason": "stop"}) + "\n"
            for text in ("one", "two", "three")
        )
    )  # fmt: skip
    with load_model({"model_name": "x", "backend": "replay", "records": "records.jsonl"}) as model:
        texts = [model.generate([{"role": "user", "content": "Hi"}]).text for _ in range(4)]
    assert texts == ["one", "two", "three", "one"]


def test_records_that_are_none_are_refused(place):
    """On load, with the file's name."""
    with pytest.raises(WeightsError, match=r"nowhere\.jsonl"):
        load_model({"model_name": "x", "backend": "replay", "records": "nowhere.jsonl"})
    Path("bad.jsonl").write_text("not a record\n")
    with pytest.raises(WeightsError, match=r"bad\.jsonl: not a record at byte 0"):
        load_model({"model_name": "x", "backend": "replay", "records": "bad.jsonl"})


@pytest.mark.parametrize(
    "line",
    [
        "[" * 5000,
        json.dumps({"outcome": "answered", "text": 5}),
        json.dumps({"outcome": "answered", "text": "a", "usage": [1]}),
        json.dumps({"outcome": ["answered"], "text": "a"}),
        '{"outcome": "answered", "text": "a", "seconds": NaN}',
    ],
)
def test_records_of_other_types_are_refused_on_load(place, line):
    """Not while an answer is wanted."""
    Path("bad.jsonl").write_text(line + "\n")
    with pytest.raises(WeightsError, match=r"bad\.jsonl: not a record at byte 0"):
        load_model({"model_name": "x", "backend": "replay", "records": "bad.jsonl"})


def test_a_real_run_is_made_again_byte_for_byte(place):
    """Of SmolLM2: every prompt, every text, and what its end tokens left; the records pass the audit."""
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    from support.gguf_smollm2 import entry

    run(DIALOGUES[:2], entry(max_tokens=16), out="real")
    counts = Replayed()
    assert list(replay(Path("real"), counts)) == []
    assert (counts.records, counts.prompts, counts.texts) == (4, 4, 4)
    assert call("audit", "real") == 0
