"""`playbill check` and `playbill import` as commands: what they print where, and how they exit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import support.proof_planted as planted
from playbill.proof import RULES
from support.smollm2 import tiny_folder


@pytest.fixture
def registry(place):
    path = place / "r.json"
    path.write_text(
        json.dumps(
            [{**planted.MOCK, "model_name": "mine"}, planted.without("eos_to_cull"), planted.entry(model_name="right")]
        )
    )
    return str(path)


def test_a_right_model_exits_0_and_says_how_deep(playbill):
    """A backend without prompt path is looked at as far as there is something to see."""
    code, out, err = playbill("check", "mock")
    assert code == 0
    assert (
        out
        == "mock: looked at the entry; no deeper: this backend takes messages, so there is no prompt path to look at\n"
    )
    assert err == "1 entry: 0 errors, 0 warnings, 0 notes\n"


def test_a_file_with_an_error_exits_1(playbill, registry):
    """Each entry has its paragraph, which says how deep it was looked into; the sum says so of all."""
    code, out, err = playbill("check", registry)
    assert code == 1
    assert "error PB102 missing-key" in out
    assert "right: looked at the entry; not looked at: the prompt path, the weights; no deeper: its tokenizer" in out
    assert "looked as deep as: the entry for 3" in out
    assert "something that a load needs was not looked at for 1" in out
    assert err == "3 entries: 1 error, 0 warnings, 0 notes\n"


def test_check_json_has_depth_reason_and_findings(playbill, registry):
    """`--json` gives a list of verdicts."""
    _, out, _ = playbill("check", registry, "--json")
    mock, broken, right = json.loads(out)
    assert (mock["model_name"], mock["depth"], mock["wrong"], mock["not_looked_at"]) == ("mine", 1, False, [])
    assert right["not_looked_at"] == ["the prompt path", "the weights"]
    assert (broken["wrong"], broken["findings"][0]["code"]) == (True, "PB102")
    assert right["findings"] == []


def test_check_all_reads_every_file(playbill, registry):
    """`--all` judges the packaged registry as well, in which nothing is wrong."""
    code, out, _ = playbill("check", "--all", "--registry", registry)
    assert code == 1
    bad = [line for line in out.splitlines() if line.startswith(("  error PB", "  warning PB"))]
    assert bad
    assert all("r.json" in line for line in bad)


def test_the_command_looks_at_weights_though_it_loads_no_torch(place):
    """It hides torch from transformers to be quick, and doesn't take it for missing: a file that is cut is found."""
    pytest.importorskip("torch")
    folder = Path(shutil.copytree(tiny_folder(), place / "cut"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    entry = {
        "model_name": "cut",
        "backend": "huggingface_local",
        "huggingface_id": "./cut",
        "eos_to_cull": "<|im_end|>",
    }
    (place / "model_registry.json").write_text(json.dumps([{**entry, "premade_chat_template": True}]))
    command = [sys.executable, "-m", "playbill", "check", "cut"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, timeout=120)
    assert "error PB225 weights-refused" in done.stdout
    assert "not looked at" not in done.stdout
    assert done.returncode == 1


def test_live_asks_the_model(playbill, place):
    """With --live an end token in an answer is an error."""
    entry = {**planted.MOCK, "model_name": "leaky", "answers": ["Paris<|im_end|> and more"]}
    (place / "model_registry.json").write_text(json.dumps([entry]))
    code, out, _ = playbill("check", "leaky", "--live")
    assert code == 1
    assert "looked at the entry, live answers\n" in out
    assert "PB303 eos-leak" in out


def test_live_that_can_not_be_carried_out_exits_2(playbill, place):
    """An entry without errors whose model can't be had is neither right nor wrong."""
    (place / "model_registry.json").write_text(json.dumps([planted.entry(huggingface_id="pypi:nothing")]))
    code, out, _ = playbill("check", "m", "--live")
    assert code == 2
    assert "no deeper: 'pypi:nothing' is not of the form" in out


@pytest.mark.parametrize("asked", ["PB213", "pb213", "turn-end-unlisted"])
def test_explain_prints_a_rule(playbill, asked):
    """By code in any case, or by name."""
    code, out, _ = playbill("check", "--explain", asked)
    assert code == 0
    assert RULES["PB213"].why in out
    assert "4180" in out


def test_explain_of_an_unknown_code_lists_the_known(playbill):
    """Exit code 2, and every code there is."""
    code, _, err = playbill("check", "--explain", "PB999")
    assert code == 2
    assert "PB101" in err


@pytest.mark.parametrize("args", [[], ["--all", "mock"]])
def test_check_needs_one_target(playbill, args):
    """Nothing, or two things at once, is misuse."""
    code, _, err = playbill("check", *args)
    assert code == 2
    assert "NAME" in err


def test_an_override_is_judged_with_the_entry(playbill):
    """`-p` changes what is judged, as it changes what would be run."""
    code, out, _ = playbill("check", "mock", "-p", "temperature=hot")
    assert code == 1
    assert "PB103" in out


OLD = [
    {
        "model_name": "old",
        "backend": "huggingface_local",
        "huggingface_id": "org/old",
        "model_config": {
            "premade_chat_template": True,
            "eos_to_cull": r"<\|im_end\|>",
            "padding_side": "left",
            "favourite_colour": "blue",
        },
    },
    {"model_name": "flat", "backend": "programmatic"},
]


def test_import_writes_the_flat_form_and_reports_each_change(playbill, place):
    """The registry goes to stdout, the report to stderr."""
    (place / "old.json").write_text(json.dumps(OLD))
    code, out, err = playbill("import", "old.json")
    assert code == 0
    old, flat = json.loads(out)
    assert flat == OLD[1]
    assert old == {
        "model_name": "old",
        "backend": "huggingface_local",
        "huggingface_id": "org/old",
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "x_favourite_colour": "blue",
    }
    assert "the pattern" in err
    assert "padding_side: left out" in err
    assert "1 dropped, 1 flattened, 1 literal, 1 renamed; 0 could not be read, 0 can't be used" in err


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("not an entry", "PB101"),
        ({"backend": "programmatic"}, "'model_name' is missing"),
        ({**OLD[0], "model_config": "nothing"}, "is not an object"),
        ({**OLD[0], "model_config": {"eos_to_cull": "a|b"}}, "PB108"),
        ({**OLD[0], "model_config": {"huggingface_id": "org/other"}}, "PB109"),
    ],
)
def test_import_reports_what_it_can_not_read(playbill, place, raw, reason):
    """Exit code 1; the entry is left out, never guessed."""
    (place / "old.json").write_text(json.dumps([raw, OLD[1]]))
    code, out, err = playbill("import", "old.json")
    assert code == 1
    assert json.loads(out) == [OLD[1]]
    assert reason in err
    assert "1 could not be read" in err


def test_import_overwrites_nothing_unasked(playbill, place):
    """A file that is there stays, unless -y says otherwise."""
    (place / "old.json").write_text(json.dumps(OLD))
    (place / "new.json").write_text("mine")
    code, _, err = playbill("import", "old.json", "-o", "new.json")
    assert (code, (place / "new.json").read_text()) == (2, "mine")
    assert "-y" in err
    assert playbill("import", "old.json", "-o", "new.json", "-y")[0] == 0
    assert json.loads((place / "new.json").read_text())[1] == OLD[1]


def test_import_json_is_the_report(playbill, place):
    """`--json` gives each entry's changes by kind, and what is left to mend."""
    (place / "old.json").write_text(json.dumps([*OLD, {"model_name": "n", "backend": "nobody"}]))
    _, out, _ = playbill("import", "old.json", "--json")
    old, _, foreign = json.loads(out)
    assert {change["kind"] for change in old["changes"]} == {"flattened", "literal", "dropped", "renamed"}
    assert (foreign["read"], foreign["usable"]) == (True, False)


def test_import_keeps_the_keys_of_a_backend_that_is_not_here(playbill, place):
    """Nobody knows here what that backend reads."""
    (place / "old.json").write_text(json.dumps([{"model_name": "n", "backend": "nobody", "its_own": 1}]))
    _, out, _ = playbill("import", "old.json")
    assert json.loads(out)[0]["its_own"] == 1


def test_import_of_what_is_no_registry_exits_2(playbill, place):
    """An object, no JSON, no file: one line that says which."""
    (place / "object.json").write_text("{}")
    (place / "text.json").write_text("hello")
    for name, said in (("object.json", "is a list"), ("text.json", "not JSON"), ("none.json", "can't read")):
        code, out, err = playbill("import", name)
        assert (code, out) == (2, "")
        assert said in err
        assert "Traceback" not in err
