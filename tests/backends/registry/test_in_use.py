"""The registries that clembench and clemcore run with: each key does what its author meant, or is an error."""

from __future__ import annotations

import json
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from playbill.backends.common.findings import Severity
from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.fields.elsewhere import ELSEWHERE
from playbill.backends.registry.fields.table import ENTRY_KEYS, UNREAD
from playbill.backends.registry.lookup import ModelRegistry
from playbill.backends.registry.services import REMOTE
from playbill.backends.registry.unsupported import HARMLESS
from playbill.backends.registry.validate import flatten, judge_entry
from playbill.proof.add.importing import import_registry

IN_USE = Path(__file__).parents[4] / "shared" / "data" / "registries"
FILES = {
    "clembench_2024-03_58_entries_flat": {"unknown-backend": 4},
    "clemcore_2025-09_230_entries_nested": {
        "unknown-backend": 5,
        "refused-key": 7,
        "other-checkpoint": 13,
        "setting-elsewhere": 8,
    },
    "clemcore_3.7.2_18_entries": {"unknown-backend": 1, "other-checkpoint": 2},
    "clembench_v3.0_22_entries": {"refused-key": 1},
}
"""Each file, and how many of its entries have an error of a rule."""

HF = {
    "model_name": "m",
    "backend": "huggingface_local",
    "huggingface_id": "org/m",
    "premade_chat_template": True,
    "eos_to_cull": "</s>",
}
GPT = {"model_name": "m", "backend": "openai", "model_id": "gpt-6-luna"}
HELLO = ({"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello!"})
CLAUDE = {"model_name": "m", "backend": "anthropic", "model_id": "claude-sonnet-4-5", "model_config": {}}


def errors(entry):
    return {f.name: f"{f.message}; {f.fix}" for f in judge_entry(flatten(entry)) if f.severity is Severity.ERROR}


def note(entry):
    return next((f.message for f in judge_entry(flatten(entry)) if f.name == "clemcore-differed"), None)


def body(entry, params=None):
    flat = flatten(entry).entry
    assert not errors(entry)
    return import_module(BACKENDS[flat["backend"]].module).request_body(flat, HELLO, params or {})


@pytest.fixture
def in_use():
    if not IN_USE.is_dir():
        pytest.skip("the registries in use are not there")
    return IN_USE


@pytest.mark.parametrize("name", FILES)
def test_every_entry_is_read_or_refused(in_use, name):
    """What is refused is: models of other backends and with images, and what its service is known not to take."""
    path = in_use / f"{name}.json"
    registry = ModelRegistry.from_file(path)
    assert len(registry) == len(json.loads(path.read_text()))
    wrong = [{f.name for f in entry.findings if f.severity is Severity.ERROR} for entry in registry]
    assert Counter(name for names in wrong for name in names) == FILES[name]
    for entry in registry:
        assert "foreign-key" not in {f.name for f in entry.findings}
        if entry.usable:
            assert "\\" not in "".join(entry.spec.get("eos_to_cull", []))
            assert "\\" not in entry.spec.get("cot_end_tag", "")
            assert registry.find(entry.spec).backend == entry.spec.backend


@pytest.mark.parametrize("name", FILES)
def test_the_import_keeps_what_clemcore_did_and_loses_no_setting(in_use, name):
    """The flat entry is judged as the nested one was, and says what published runs really used."""
    path = in_use / f"{name}.json"
    for before, after in zip(ModelRegistry.from_file(path), import_registry(path).entries, strict=True):
        said = [{(f.name, f.message) for f in found if f.severity is Severity.ERROR or f.name == "clemcore-differed"}
                for found in (before.findings, after.findings)]  # fmt: skip
        assert said[0] == said[1]
        assert {**before.spec.to_dict(), **after.entry} == before.spec.to_dict() | after.entry
        assert before.spec.keys() - after.entry.keys() <= UNREAD.keys() | {
            k for k in before.spec if f"x_{k}" in after.entry
        }


@pytest.mark.parametrize("holder", [None, "model_config", "mm_model_config"])
@pytest.mark.parametrize("base", [HF, GPT], ids=["local", "service"])
def test_a_setting_of_another_layer_is_an_error_wherever_it_stands(base, holder):
    """Samplers, budgets, formats and templates under the names of others: with the way to say it here."""
    for key, advice in ELSEWHERE.items():
        entry = {**base, **({key: 1} if holder is None else {holder: {key: 1}})}
        assert advice in errors(entry).get("setting-elsewhere", ""), key
    both = {**base, "model_config": {"mm_model_config": {"num_beams": 4}}}
    assert "setting-elsewhere" in errors(both)


MEANT = {
    "mmproj": "*mmproj*",
    "engine_args": {"max_memory": {"cpu": "9GiB"}},
    **{"custom_chat_template": "{{ x }}", "eos_to_cull": "</s>", "cot_effort": "low", "cot_bypass": "<think></think>"},
    **{
        "premade_chat_template": False,
        "chat_template_kwargs": {"a": 1},
        "chat_template_language": "EN",
        "do_sample": True,
    },
    **{"cot_output": True, "date": "2026-01-01", "generation_config": "repo", "revision": "main", "dtype": "float16"},
    **{"slow_tokenizer": True, "use_bf16": True, "load_in_8bit": True, "load_in_4bit": True, "gguf_file": "a.gguf"},
    **{"bnb_4bit_quant_type": "fp4", "bnb_4bit_compute_dtype": "float16"},
    **{"filename": "*Q4.gguf", "bos_string": "<s>", "eos_string": "</s>", "peft_model": "a/b", "quantization": "awq"},
    **{"tokenizer_mode": "slow", "torch_dtype": "float16"},
    **{"providers": ["a"], "quantizations": ["bf16"], "safety_settings": "OFF"},
    **{"engine_args": {"seed": 1}},
}
ASKED = {
    **{
        "extra_body": {"a": 1},
        "refuses": ["stop"],
        "reasoning_model": True,
        "reasoning_effort": "low",
        "retry_empty": 2,
    },
    **{"thinking_mode": True, "base_url": "http://a", "api_version": "1"},
}


def test_a_key_that_changes_answers_is_no_warning_where_nothing_reads_it():
    """Keys of models that run here at a service, and the other way round: an error, or one that changes no answer."""
    for key, value in MEANT.items():
        assert "refused-key" in errors({**GPT, key: value}), key
    for key, value in ASKED.items():
        assert "refused-key" in errors({**HF, key: value}), key
    assert "refused-key" in errors({**GPT, "thinking_mode": True})
    local = {
        k for k, key in ENTRY_KEYS.items() if key.read_by and "*" not in key.read_by and "openai" not in key.read_by
    }
    unjudged = local - MEANT.keys() - HARMLESS - {"include_thoughts", "thinking_mode", "api_version", "answers",
                                                  "fail_every", "records"}  # fmt: skip
    assert not unjudged


@pytest.mark.parametrize("backend", [b for b in REMOTE if b not in ("ollama", "lmstudio")])
def test_a_parameter_that_a_service_does_not_take_is_an_error_of_the_entry(backend):
    """As it would be at the first request; not only there."""
    entry = {"model_name": "m", "backend": backend, "model_id": "other/model"}
    for name, value in {"min_p": 0.1, "repetition_penalty": 1.1, "top_k": 5, "logprobs": 3, "seed": 7}.items():
        module = import_module(BACKENDS[backend].module)
        try:
            module.request_body({**entry, name: value}, HELLO, {})
            taken = True
        except Exception:  # noqa: BLE001 - whatever it is, the request can't be made
            taken = False
        assert bool(errors({**entry, name: value})) is not taken, (backend, name)


GOOGLES = ("generationConfig", "thinkingConfig", "thinkingBudget")
EFFORT = {"reasoning_model": True, "reasoning_effort": "minimal"}


@pytest.mark.parametrize(
    ("backend", "model", "key", "place"),
    [
        ("anthropic", "claude-sonnet-4-5", "thinking_budget", ("thinking", "budget_tokens")),
        ("azure", "claude-sonnet-4-5", "thinking_budget", ("thinking", "budget_tokens")),
        ("google", "gemini-2.5-flash", "thinking_budget", ("generationConfig", "thinkingConfig", "thinkingBudget")),
        (
            "google",
            "gemini-3-flash-preview",
            "reasoning_budget",
            ("generationConfig", "thinkingConfig", "thinkingBudget"),
        ),
    ],
)
def test_two_entries_that_differ_in_their_budget_send_it(backend, model, key, place):
    """The budget stands in the body, and the limit leaves the answer its own tokens."""
    pytest.importorskip("google.genai" if backend == "google" else "anthropic")
    ask = {"reasoning_model": True} if "gemini-3" in model else {"thinking_mode": True}
    entry = {"model_name": "m", "backend": backend, "model_id": model}
    for tokens in (1024, 8192):
        sent = body({**entry, "model_config": {**ask, key: tokens}})
        limit = sent["generationConfig"]["maxOutputTokens"] if backend == "google" else sent["max_tokens"]
        assert limit == 300 + tokens
        for step in place:
            sent = sent[step]
        assert sent == tokens


@pytest.mark.parametrize(
    ("backend", "model", "config", "said"),
    [
        ("anthropic", "claude-sonnet-4-5", {"thinking_mode": True, "thinking_budget": 400}, "1024 or more"),
        ("azure", "claude-sonnet-4-5", {"thinking_mode": True, "thinking_budget": 400}, "1024 or more"),
        ("google", "gemini-2.5-pro", {"reasoning_model": True, "reasoning_budget": 50_000}, "128 to 32768"),
        ("google", "gemini-2.5-flash", {"thinking_mode": True, "thinking_budget": 50_000}, "1 to 24576"),
        ("google", "gemini-2.5-flash", {"thinking_mode": True, "thinking_budget": 0}, None),
        ("anthropic", "claude-sonnet-4-5", {"thinking_budget": 1024}, "doesn't ask for thinking"),
        (
            "openai",
            "gpt-5.2",
            {"reasoning_model": True, "reasoning_effort": "minimal"},
            "none, low, medium, high, xhigh",
        ),
        (
            "azure",
            "gpt-5.2",
            {"reasoning_model": True, "reasoning_effort": "minimal"},
            "none, low, medium, high, xhigh",
        ),
        ("anthropic", "claude-sonnet-4-5", {"thinking_mode": "yes"}, "true, false or 'adaptive'"),
    ],
)
def test_a_wrong_budget_is_refused_with_the_bounds(backend, model, config, said):
    """Also where the entry names it as clemcore's registries do."""
    found = errors({"model_name": "m", "backend": backend, "model_id": model, "model_config": config})
    assert (found == {}) if said is None else any(said in message for message in found.values())


def test_thoughts_are_shown_as_the_entry_says():
    """Google's key, as the entry has it; without it they are shown where the entry asks for thinking."""
    pytest.importorskip("google.genai")
    entry = {"model_name": "m", "backend": "google", "model_id": "gemini-3-flash-preview", "reasoning_model": True}
    shown = [
        body({**entry, **more})["generationConfig"]["thinkingConfig"]["includeThoughts"]
        for more in ({}, {"include_thoughts": True}, {"include_thoughts": False})
    ]
    assert shown == [True, True, False]


def test_claude_at_azure_speaks_anthropics_api():
    """An entry of clemcore's azure backend is read as one of Azure AI Foundry, which is said."""
    pytest.importorskip("anthropic")
    entry = {"model_name": "m", "backend": "azure", "model_id": "claude-sonnet-4-5", "model_config": {}}
    assert flatten(entry).entry["backend"] == "azure_claude"
    assert [f.name for f in judge_entry(flatten(entry))] == ["alias"]
    assert body(entry)["system"] == [{"type": "text", "text": "Be short."}]
    assert flatten({**entry, "model_id": "gpt-5.2"}).entry["backend"] == "azure"


def test_a_model_without_its_name_at_the_service_is_refused():
    """Six gpt-oss entries have another service's name alone, and would be asked for under ours."""
    entry = {"model_name": "gpt-oss-20b-low", "backend": "openrouter", "huggingface_id": "openai/gpt-oss-120b"}
    assert 'write "model_id": "openai/gpt-oss-120b"' in errors(entry)["refused-key"]
    assert not errors({**entry, "model_id": "openai/gpt-oss-20b"})


@pytest.mark.parametrize(
    ("backend", "config", "figure"),
    [
        ("anthropic", {"thinking_mode": True, "thinking_budget": 1024}, "4,000"),
        ("google", {"thinking_mode": True}, "4,096"),
        ("google", {"reasoning_model": True, "reasoning_budget": 400}, "300 unless"),
        ("google", {}, "BLOCK_MEDIUM_AND_ABOVE for four categories"),
        ("openai", {"reasoning_effort": "low"}, "reasoning_effort 'low' read by nothing"),
        ("openai", {"reasoning_model": False}, "took reasoning_model as set"),
        ("openrouter", {}, '{"provider": {"quantizations": ["fp8"]}}'),
        ("openrouter", {"extra_body": {}}, None),
        ("azure", {"reasoning_model": True}, "no limit of tokens"),
        ("llamacpp", {"gpu_layers_offloaded": 8}, "all layers on the GPU"),
        ("llamacpp", {}, None),
        ("mistral", {}, None),
    ],
)
def test_what_published_runs_really_used_is_said_with_the_figure(backend, config, figure):
    """One line, for entries in clemcore's layout alone."""
    entry = {"model_name": "m", "model_id": "a/b", "backend": backend, "model_config": config}
    said = note(entry)
    assert (said is None) if figure is None else (figure in said)
    assert note({**{k: v for k, v in entry.items() if k != "model_config"}, **config}) is None
