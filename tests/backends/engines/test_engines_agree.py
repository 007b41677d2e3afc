"""The two local engines on the same weights: the same ids are sent, and answers are clean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import playbill
from playbill.backends import Model, ModelRegistry, load_model, load_prompt_path, make_prompt
from support.smollm2 import GGUF, gguf_folder, smollm2_folder

DEMO = Path(playbill.__file__).parent / "demo" / "dialogues.jsonl"
EOS = "<|im_end|>"
COMMON = {"premade_chat_template": True, "eos_to_cull": EOS}
MARKS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def hf_entry() -> dict:
    return {
        "model_name": "hf",
        "backend": "huggingface_local",
        "huggingface_id": str(smollm2_folder()),
        **COMMON,
    }


def gguf_entry() -> dict:
    path = str(gguf_folder() / GGUF)
    return {"model_name": "gguf", "backend": "llamacpp", "huggingface_id": path, "n_ctx": 1024, **COMMON}


def conversations() -> list[list[dict]]:
    """Every prompt that a dialogue of the demo can lead to, with answers made up, and some that are harder."""
    found = []
    for line in DEMO.read_text(encoding="utf-8").splitlines():
        dialogue = json.loads(line)
        if "messages" in dialogue:
            found.append(dialogue["messages"])
            continue
        messages = [{"role": "system", "content": dialogue["system"]}] if "system" in dialogue else []
        for turn in dialogue["turns"]:
            messages = [*messages, {"role": "user", "content": turn}]
            found.append(messages)
            messages = [*messages, {"role": "assistant", "content": "An answer,\n with  spaces."}]
    texts = ["Größe 東京 🙂", "a <|im_end|> inside", "  leading and trailing  ", "\n\n", "<|im_start|>user", "été"]
    return found + [[{"role": "user", "content": text}] for text in texts]


def test_both_engines_send_the_same_ids():
    """Template, tokenizer and special tokens agree, id by id, over every prompt of the demo; one BOS or none."""
    registry = ModelRegistry([])
    paths = [load_prompt_path(entry, registry=registry) for entry in (hf_entry(), gguf_entry())]
    for messages in conversations():
        hf, gguf = (make_prompt(spec, path, messages) for spec, path in paths)
        assert hf.text == gguf.text
        assert hf.ids == gguf.ids
        assert hf.ids[:2].count(hf.ids[0]) == 1


@pytest.fixture(params=[hf_entry, gguf_entry], ids=["huggingface_local", "llamacpp"])
def model(request):
    with load_model(request.param(), registry=ModelRegistry([]), max_tokens=24, threads=2, dialogues=4) as model:
        yield model


def test_answers_are_free_of_everything_that_is_no_answer(model: Model):
    """No special token, no text of the prompt, and new ids alone, in every answer of the demo's first turns."""
    for conversation in [c for c in conversations() if len(c) <= 2][:8]:
        generation = model.generate(conversation)
        assert generation.outcome in ("answered", "truncated")
        assert not any(mark in generation.text for mark in MARKS)
        assert conversation[-1]["content"] not in generation.text
        assert generation.text == generation.text.strip()
        assert generation.raw == model.prompt_path.decode(generation.output_ids)
        assert generation.usage.output_tokens == len(generation.output_ids) <= 24
        assert generation.outcome == "truncated" or generation.raw.endswith(EOS)


def test_both_engines_report_the_same_log_probabilities():
    """For the first token of an answer, with the same weights: llama.cpp rounds what goes through its layers."""
    question = [{"role": "user", "content": "What is the capital of France?"}]
    found = []
    for entry in ({**hf_entry(), "dtype": "float32"}, gguf_entry()):
        with load_model(entry, registry=ModelRegistry([]), threads=2, dialogues=1) as model:
            first = model.generate(question, max_tokens=1, logprobs=20).details["logprobs"][0]
            found.append({each["id"]: each["logprob"] for each in first["top"]})
    shared = found[0].keys() & found[1].keys()
    assert len(shared) >= 17
    differences = sorted(abs(found[0][token] - found[1][token]) for token in shared)
    assert differences[len(differences) // 2] < 0.25
    assert differences[-1] < 0.8
