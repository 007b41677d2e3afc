"""Stamps as a user meets them: made by `check`, shown by `list` and `show`, kept with a run, never in its way."""

from __future__ import annotations

import json
from datetime import date

import pytest

import support.proof_planted as planted
from playbill import __version__
from playbill.mock_services import MockServer
from playbill.runs.report.collect import collect
from support.tiny_gguf import tiny_gguf

MINE = {**planted.MOCK, "model_name": "mine", "answers": ["Paris"]}
TODAY = date.today().isoformat()
HOSTED = {"model_name": "hosted", "backend": "openai", "model_id": "gpt-4o-mini"}


@pytest.fixture
def write(place):
    def write(*entries):
        (place / "model_registry.json").write_text(json.dumps(entries))

    return write


def stamps(place):
    return json.loads((place / "model_registry.stamps.json").read_text())


def test_check_stamps_what_it_proved(playbill, place, write):
    """As deep as it looked, with versions; a second stamp takes the place of the first."""
    write(MINE)
    code, out, err = playbill("check", "mine", "--stamp")
    assert code == 0
    assert "stamped 1 of 1 (as-written), in model_registry.stamps.json" in err
    playbill("check", "mine", "--stamp", "--json")
    (stamp,) = stamps(place)
    assert (stamp["depth"], stamp["date"]) == ("as-written", TODAY)
    assert stamp["versions"] == {"playbill": __version__}
    code, out, _ = playbill("check", "mine", "--live", "--stamp", "--json")
    assert json.loads(out)[0]["stamp"] in stamps(place)
    assert [(s["depth"], s.get("asked")) for s in stamps(place)] == [
        ("as-written", None), ("live", "a rehearsal (programmatic)")
    ]  # fmt: skip


def test_list_and_show_say_how_deep_and_when_stale(playbill, place, write):
    """A changed key is named; back as it was, the stamp holds again."""
    write(MINE)
    playbill("check", "mine", "--live", "--stamp")
    assert "live" in playbill("list", "mine")[1]
    assert f"stamp: proven live on {TODAY} with playbill {__version__}" in playbill("show", "mine")[1]
    write({**MINE, "answers": ["London"], "license": "MIT"})
    _, out, err = playbill("list", "mine")
    assert "stale" in out
    assert "the stamp of 1 is stale: `playbill show NAME` says why" in err
    assert "stamp: stale: 'answers' has changed. It was proven live" in playbill("show", "mine")[1]
    shown = json.loads(playbill("show", "mine", "--json")[1])["stamp"]
    assert (shown["depth"], shown["stale"]) == ("live", ["'answers' has changed"])
    write({**MINE, "license": "MIT"})
    assert json.loads(playbill("list", "mine", "--json")[1])[0]["proven"] == "live"


def test_an_override_is_not_what_was_proven(playbill, write):
    """`show -p` says so; and what isn't an entry of a file can't be stamped."""
    write(MINE)
    playbill("check", "mine", "--stamp")
    assert "stamp: stale: 'temperature' was not there" in playbill("show", "mine", "-p", "temperature=0.5")[1]
    code, _, err = playbill("check", "mine", "--stamp", "-p", "temperature=0.5")
    assert code == 2
    assert "as it stands in a registry" in err


def test_list_proven_filters(playbill, place, write):
    """By any stamp that holds, or by one that is so deep."""
    others = [{**MINE, "model_name": name} for name in ("written", "deep", "stale", "never")]
    write(*others)
    playbill("check", "written", "stale", "--stamp")
    playbill("check", "deep", "--live", "--stamp")
    write(*[{**e, "delay": 1} if e["model_name"] == "stale" else e for e in others])

    def listed(*args):
        entries = json.loads(playbill("list", "--json", *args)[1])
        return [e["model_name"] for e in entries if e["file"] == "model_registry.json"]

    assert listed("--proven") == ["written", "deep"]
    assert listed("--proven", "live") == ["deep"]
    assert listed("--proven", "prompt-path") == ["deep"]
    code, _, err = playbill("list", "--proven", "deeply")
    assert code == 2
    assert "prompt-path" in err


def test_what_is_wrong_gets_no_stamp(playbill, place, write):
    """Its neighbours do."""
    write(MINE, {"model_name": "wrong", "backend": "programmatic", "delay": "long"})
    code, _, err = playbill("check", "model_registry.json", "--stamp")
    assert code == 1
    assert "stamped 1 of 2" in err
    assert [s["model_name"] for s in stamps(place)] == ["mine"]


def test_a_warning_and_a_waiver_are_kept_with_the_stamp(playbill, place, write):
    """And shown; with the waiver changed, the stamp is stale."""
    waiver = {"rule": "PB215", "reason": "asked for by its game", "date": "2026-11-25"}
    warned = {**MINE, "cot_start_tag": "<think>"}
    write(warned)
    found = json.loads(playbill("check", "mine", "--stamp", "--json")[1])[0]
    code = next(f["code"] for f in found["findings"] if f["severity"] == "warning")
    assert stamps(place)[0]["warnings"] == [code]
    waiver["rule"] = code
    write({**warned, "waivers": [waiver]})
    assert "'waivers' was not there" in playbill("show", "mine")[1]
    _, out, _ = playbill("check", "mine", "--stamp")
    assert "(waived on 2026-11-25: asked for by its game)" in out
    assert stamps(place)[1]["waived"] == [waiver]
    assert f"waived {code} (on 2026-11-25: asked for by its game)" in playbill("show", "mine")[1]


def test_a_rehearsed_service_is_no_real_one(playbill, place, write, monkeypatch):
    """Answers of a mock server on this machine are stamped as a rehearsal."""
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fake")
    with MockServer() as server:
        url = f"{server.url}/v1"
        (place / "key.json").write_text(json.dumps({"openai": {"api_key": "sk-fake", "base_url": url}}))
        write({**HOSTED, "base_url": url})
        _, out, err = playbill("check", "hosted", "--live", "--stamp", "--json")
    assert json.loads(out)[0]["depth"] == 3, (out, err)
    assert stamps(place)[0]["asked"] == "a rehearsal (127.0.0.1)"
    assert stamps(place)[0]["versions"].keys() >= {"playbill", "openai"}


def run(playbill, *args):
    dialogue = {"id": "d", "messages": [{"role": "user", "content": "Hello!"}]}
    with open("in.jsonl", "w") as file:
        file.write(json.dumps(dialogue))
    return playbill("run", "in.jsonl", "-m", "mine", "-o", "out", *args)


def test_a_run_keeps_the_stamp_and_says_when_it_is_stale(playbill, place, write):
    """In the manifest, and in the report's page; a resumed run tells it anew."""
    write(MINE)
    playbill("check", "mine", "--live", "--stamp")
    assert run(playbill)[0] == 0
    described = json.loads((place / "out" / "manifest.json").read_text())["models"]["mine"]
    assert (described["stamp"]["depth"], described["stamp"]["stale"], described["waived"]) == ("live", [], [])
    proof = collect(place / "out").summary["models"][0]["proof"]
    assert proof["stamp"].startswith(f"proven live on {TODAY}")
    assert proof["stale"] is False
    held = stamps(place)[0]
    held["entry"]["backend"] = "0" * 12
    (place / "model_registry.stamps.json").write_text(json.dumps([held]))
    assert run(playbill)[0] == 0
    proof = collect(place / "out").summary["models"][0]["proof"]
    assert proof["stamp"].startswith("stale: 'backend' has changed")
    assert proof["stale"] is True


@pytest.mark.parametrize("text", [None, "[", '[{"model_name": "mine"}]'])
def test_no_run_fails_of_a_stamp(playbill, place, write, text):
    """None there, a broken file, a broken stamp."""
    write(MINE)
    if text is not None:
        (place / "model_registry.stamps.json").write_text(text)
    assert run(playbill)[0] == 0
    assert json.loads((place / "out" / "manifest.json").read_text())["models"]["mine"]["stamp"] is None
    assert collect(place / "out").summary["models"][0]["proof"]["stamp"] is None


def test_a_waived_warning_stays_in_the_manifest_and_the_report(playbill, place, write):
    """Without the waiver it would have been warned of."""
    waiver = {"rule": "PB111", "reason": "shared with another tool", "date": "2026-11-25"}
    write({**MINE, "slow_tokenizer": True, "waivers": [waiver]})
    _, _, err = run(playbill)
    assert "slow_tokenizer" not in err
    (line,) = json.loads((place / "out" / "manifest.json").read_text())["models"]["mine"]["waived"]
    assert line.startswith("PB111 ")
    assert "slow_tokenizer" in line
    assert "(waived on 2026-11-25: shared with another tool)" in line
    assert collect(place / "out").summary["models"][0]["proof"]["waived"] == [line]


def test_a_prompt_path_is_stamped_with_its_hashes(playbill, place, write):
    """With another template in the file the stamp is stale: each command sees it by the file, `--full` names it."""
    pytest.importorskip("xllamacpp")
    (place / "m.gguf").write_bytes(tiny_gguf())
    write({**planted.GGUF, "model_name": "mine", "huggingface_id": "./m.gguf", "premade_chat_template": True})
    playbill("check", "mine", "--stamp")
    (stamp,) = stamps(place)
    assert (stamp["depth"], list(stamp["versions"])) == ("prompt-path", ["playbill", "xllamacpp"])
    assert all(stamp[name].startswith("sha256:") for name in ("weights", "template", "tokenizer"))
    assert "against" not in stamp
    assert "prompt-path" in playbill("list", "mine")[1]
    assert "stamp: proven prompt-path" in playbill("show", "mine", "--full")[1]
    (place / "m.gguf").write_bytes(tiny_gguf(planted.CHATML.replace("user", "human") + " "))
    assert "stale" in playbill("list", "mine")[1]
    assert "stale: the weights have changed (sha256 " in playbill("show", "mine")[1]
    assert "the chat template has changed" in playbill("show", "mine", "--full")[1]
    held = {**stamp, "tokenizer": "sha256:0"}
    (place / "m.gguf").write_bytes(tiny_gguf())
    (place / "model_registry.stamps.json").write_text(json.dumps([held]))
    assert "stale: the tokenizer gives other ids" in playbill("show", "mine", "--full")[1]
