"""Keys that an engine can't honour, keys that say two things at once, patterns read as literals: said by the entry."""

from __future__ import annotations

import re
from typing import Any

import pytest

from playbill.backends import ModelSpec
from playbill.backends.answer.clean import CleaningRule, clean
from playbill.backends.common.findings import Finding, Severity
from playbill.backends.registry.fields.legacy_regex import literal_end
from playbill.backends.registry.fields.table import ENTRY_KEYS, LOCAL
from playbill.backends.registry.unsupported import UNSUPPORTED, unsupported
from playbill.backends.registry.validate import flatten, judge_entry

GPT_OSS = r"<\|end\|><\|start\|>assistant(<\|channel\|>commentary to=assistant)*<\|channel\|>final<\|message\|>"


def local(backend: str, **keys: Any) -> dict[str, Any]:
    needed = {"huggingface_id": "org/model", "premade_chat_template": True, "eos_to_cull": "</s>"}
    return {"model_name": "m", "backend": backend, **needed, **keys}


def judged(entry: dict[str, Any]) -> tuple[Finding, ...]:
    return judge_entry(flatten(entry))


@pytest.mark.parametrize("engine", LOCAL)
def test_each_local_engine_reads_a_key_of_another_or_says_why_not(engine):
    """The table of the docs has no gap, and no line for a key that is read."""
    foreign = {key.name for key in ENTRY_KEYS.values() if set(key.read_by) & set(LOCAL) and not key.is_read_by(engine)}
    said = {name for name in UNSUPPORTED if engine in UNSUPPORTED[name]}
    assert said - {"multimodal"} == foreign


@pytest.mark.parametrize(
    ("backend", "key", "value"),
    [
        ("huggingface_local", "filename", "*Q4_K_M.gguf"),
        ("huggingface_local", "quantization", "awq"),
        ("huggingface_local", "multimodal", True),
        ("llamacpp", "peft_model", "org/adapter"),
        ("llamacpp", "load_in_8bit", True),
        ("llamacpp", "use_bf16", True),
        ("llamacpp", "dtype", "float16"),
        ("llamacpp", "generation_config", "repo"),
        ("vllm", "load_in_4bit", True),
        ("vllm", "multimodal", True),
    ],
)
def test_what_answers_depend_on_is_refused_with_the_reason(backend, key, value):
    """In both layouts; another model would answer under this one's name."""
    nested = {**local(backend), "model_config": {key: value}}
    for entry in (local(backend, **{key: value}), nested):
        (found,) = judged(entry)
        assert (found.name, found.severity) == ("refused-key", Severity.ERROR)
        assert UNSUPPORTED[key][backend].reason in found.message


def test_a_value_that_asks_for_nothing_is_not_refused():
    """Off, or the default."""
    for backend, keys in (("vllm", {"load_in_4bit": False}), ("llamacpp", {"dtype": "auto", "use_bf16": False})):
        assert {f.severity for f in judged(local(backend, **keys))} == {Severity.WARNING}
    assert judged(local("huggingface_local", multimodal=False)) == ()


def test_a_key_of_another_engine_is_told_what_does_it_here():
    """Where answers don't depend on it, it is a warning."""
    (found,) = judged(local("huggingface_local", number_gpus=2))
    assert (found.name, found.severity) == ("misplaced-key", Severity.WARNING)
    assert "with `device_map`" in found.message
    assert unsupported("number_gpus", "openai") is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"do_sample": False, "temperature": 0.7}, "false says otherwise than temperature, which is 0.7 and samples"),
        ({"do_sample": True, "temperature": 0}, "true says otherwise than temperature, which is 0"),
        ({"use_bf16": True, "dtype": "float32"}, "true says otherwise than dtype, which is 'float32'"),
        ({"use_bf16": False, "dtype": "bfloat16"}, "false says otherwise than dtype, which is 'bfloat16'"),
    ],
)
def test_keys_that_say_two_things_are_an_error(keys, said):
    """Which of the two is meant can't be known."""
    (found,) = judged(local("huggingface_local", **keys))
    assert found.severity is Severity.ERROR
    assert said in found.message


def test_keys_that_agree_are_right():
    """Saying one thing twice is no fault."""
    for keys in ({"do_sample": False}, {"do_sample": False, "temperature": 0}, {"do_sample": True, "temperature": 1}):
        assert judged(local("vllm", **keys)) == ()
    for keys in ({"use_bf16": True}, {"use_bf16": True, "dtype": "bfloat16"}, {"use_bf16": True, "dtype": "auto"}):
        assert judged(local("huggingface_local", **keys)) == ()
    assert judged(local("llamacpp", execute_on="gpu", gpu_layers_offloaded=3)) == ()


def test_layers_for_a_gpu_on_a_cpu_are_an_error():
    """They would be computed elsewhere than the entry says, whichever of the two wins."""
    (found,) = judged(local("llamacpp", execute_on="cpu", gpu_layers_offloaded=3))
    assert "3 layers go to a GPU, and execute_on is 'cpu'" in found.message


def test_sampling_without_a_temperature_is_said():
    """It is greedy until a call says a temperature; the repository may say one as well."""
    assert [f.name for f in judged(local("vllm", do_sample=True))] == ["greedy-sampling"]
    assert judged(local("vllm", do_sample=True, generation_config="repo")) == ()


@pytest.mark.parametrize(
    ("pattern", "literal", "finding"),
    [
        ("</think>", "</think>", []),
        (r"<\|end\|>", "<|end|>", []),
        (GPT_OSS, "<|channel|>final<|message|>", ["tag-shortened"]),
        (r"</think>|</thought>", r"</think>|</thought>", ["end-is-pattern"]),
        (r"</think>\s*", r"</think>\s*", ["end-is-pattern"]),
        ("(", "(", ["end-is-pattern"]),
    ],
)
def test_a_nested_end_tag_is_a_regular_expression_read_back(pattern, literal, finding):
    """As clemcore split at it; what no literal stands for is an error, and nothing is guessed."""
    entry = {**local("huggingface_local"), "model_config": {"cot_end_tag": pattern}}
    flat = flatten(entry)
    assert flat.entry["cot_end_tag"] == literal
    assert [f.name for f in judge_entry(flat)] == finding
    assert ModelSpec.from_dict(entry)["cot_end_tag"] == literal


def test_a_flat_end_tag_with_backslashes_is_reported_with_the_literal():
    """It is taken as it stands, so it never occurs, and all would be thinking."""
    (found,) = judged(local("vllm", cot_end_tag=GPT_OSS))
    assert (found.name, found.fix) == ("probable-regex", 'write "<|channel|>final<|message|>"')


@pytest.mark.parametrize(
    "pattern", [r"a[)|]b", r"x(?:y|z)tag", r"[]|]end", r"\d+</s>", r"(a(b)c)*tag", "e{2}nd", r"\\t"]
)
def test_all_that_a_pattern_matches_ends_with_its_literal_end(pattern):
    """Whatever comes before."""
    end = literal_end(pattern)
    assert end
    for text in ("a)b", "a|b", "xytag", "xztag", "|end", "]end", "17</s>", "abcabctag", "tag", "eend", "\\t"):
        for match in re.finditer(pattern, text):
            assert match[0].endswith(end)


def test_the_answer_is_what_clemcore_took_with_the_pattern():
    """The literal end and the pattern split a text of gpt-oss at the same place."""
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    for between in ("", "<|channel|>commentary to=assistant"):
        raw = f"{thought}{between}<|channel|>final<|message|>Tower.<|return|>"
        rule = CleaningRule(
            end_tokens=("<|return|>",),
            thinking_start="<|channel|>analysis<|message|>",
            thinking_end=literal_end(GPT_OSS),
        )
        assert clean(raw, rule).text == re.split(GPT_OSS, raw)[-1].removesuffix("<|return|>") == "Tower."


def test_of_an_entry_whose_backend_nobody_has_only_that_is_said():
    """Its keys matter to nobody."""
    (found,) = judged({"model_name": "m", "backend": "huggingface_multimodal", "model_class": "a", "colour": 1})
    assert found.name == "unknown-backend"
    assert found.fix
