"""`playbill bench`: what computes, how fast, and beside other ways; a table, and a JSON to keep."""

from __future__ import annotations

import json

import pytest

from playbill.cli import main
from support.smollm2 import tiny_folder

pytest.importorskip("torch")


@pytest.fixture
def playbill(tmp_path, monkeypatch, capsys):
    """Run a command beside a registry that has the tiny model: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    entry = {
        "model_name": "tiny",
        "backend": "huggingface_local",
        "huggingface_id": str(tiny_folder()),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "threads": 1,
    }
    other = {"model_name": "scripted", "backend": "programmatic", "answers": ["yes"]}
    (tmp_path / "model_registry.json").write_text(json.dumps([entry, other]))

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([*args, "--registry", "model_registry.json"])
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


def test_bench_measures_a_model_and_what_it_is_compared_with(playbill, tmp_path):
    """The self-test's result and the shapes are printed; a way that can't run here is said, and the others go on."""
    sizes = ("--rows", "1,3,64", "--prompt", "9", "--new", "2")
    code, out, err = playbill("bench", "tiny", *sizes, "--against", "generate,generate_batch", "--json", "b.json")
    assert code == 0
    assert "batching company_independent: true" in out
    assert "not measured: 64 requests at once; 32 are computed together" in err
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["engine"]["batching"]["kind"] == "exact"
    assert {way: [rate["rows"] for rate in rates] for way, rates in found["rates"].items()} == {
        "playbill": [1, 3],
        "generate": [1, 3],
        "generate_batch": [1, 3],
    }
    assert all(rate["step_ms"] > 0 and rate["rate"] > 0 for rates in found["rates"].values() for rate in rates)
    assert found["memory_bytes"]["computer"] > 1 << 20


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("tiny", "--rows", "0"), "--rows 0: say numbers of requests"),
        (("tiny", "--against", "nothing"), "--against nothing: there is no such way; known are exact, fast"),
        (("scripted",), "scripted runs elsewhere; bench measures models that run here"),
    ],
)
def test_what_cannot_be_measured_is_said(playbill, args, words):
    code, _, err = playbill("bench", *args)
    assert code == 2
    assert words in err
