"""Each key times each backend: used, or an error where answers would depend on it; and the keys of other tools.

A key that would change answers and that nothing reads may never be a warning, whatever it is called.
"""

from __future__ import annotations

import importlib

import pytest

from playbill.backends.common.findings import Severity
from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.fields.elsewhere import advice_for
from playbill.backends.registry.fields.table import ALIASES, ENTRY_KEYS, LOCAL, METADATA, UNREAD
from playbill.backends.registry.services import REMOTE
from playbill.backends.registry.unsupported import HARMLESS
from playbill.backends.registry.validate import NESTED_KEYS, flatten, judge_entry
from playbill.proof.rules.table import RULES

VALUES = {
    **{"context_size": 4096, "retired": "2026-01-01", "successor": "n", "consecutive_roles": "keep"},
    **{"release_date": "2026-01-01", "open_weight": True, "parameters": "1B", "languages": ["en"], "license": "MIT"},
    **{"waivers": [{"rule": "PB128", "reason": "old", "date": "2026-01-01"}], "system_role": "fold"},
    **{"huggingface_id": "org/other", "premade_chat_template": False, "custom_chat_template": "{{ messages }}"},
    **{"eos_to_cull": "<end>", "output_split_prefix": "final", "cot_start_tag": "<a>", "cot_end_tag": "</a>"},
    **{"cot_output": True, "cot_effort": "low", "cot_bypass": "<a></a>", "chat_template_language": "EN"},
    **{"chat_template_kwargs": {"a": 1}, "do_sample": True, "multimodal": True, "date": "2026-01-01"},
    **{"generation_config": "repo", "requires_api_key": True, "revision": "abc", "slow_tokenizer": True},
    **{"dtype": "float16", "use_bf16": True, "model_class": "LlamaForCausalLM", "load_in_8bit": True},
    **{"load_in_4bit": True, "attn_implementation": "eager", "device_map": "cpu", "trust_remote_code": True},
    **{"batching": "single", "batch_size": 4, "gguf_file": "a.gguf", "filename": "*Q4.gguf"},
    **{"additional_files": ["b.gguf"], "bos_string": "<s>", "eos_string": "</s>", "execute_on": "gpu"},
    **{"gpu_layers_offloaded": 3, "n_ctx": 512, "threads": 2, "prefix_caching": True, "peft_model": "a/b"},
    **{"number_gpus": 2, "pipeline_parallel_size": 2, "quantization": "awq", "gpu_memory_utilization": 0.5},
    **{"enforce_eager": True, "tokenizer_mode": "slow", "model_id": "other/model", "base_url": "http://127.0.0.1:1"},
    **{"key_section": "s", "key_header": "api-key", "api_version": "2023-06-01", "api": "responses"},
    **{"extra_body": {"a": 1}, "multimodality": {"single_image": True}, "refuses": ["stop"], "reasoning_model": True},
    **{"reasoning_effort": "low", "include_thoughts": True, "thinking": "on", "thinking_mode": True},
    **{"retry_empty": 2, "concurrency": 3, "max_attempts": 2, "retry_pause": 1, "time_budget": 3, "timeout": 5},
    **{"connect_timeout": 2, "ca_bundle": "ca.pem", "answers": ["a"], "delay": 1, "fail_every": 2, "records": "r"},
    **{"temperature": 0.5, "max_tokens": 10, "max_thinking_tokens": 2000, "top_p": 0.5, "top_k": 4, "min_p": 0.1},
    **{"stop": ["x"], "seed": 3, "repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    **{
        "bnb_4bit_compute_dtype": "float16",
        "bnb_4bit_quant_type": "fp4",
        "pictures_per_prompt": 3,
        "gpu_memory_share": 0.5,
        "white_space": "keep",
    },
    **{"providers": ["deepinfra"], "quantizations": ["bf16"], "require_parameters": False, "safety_settings": "OFF"},
    **{"logprobs": 2, "engine_args": {"max_memory": {"cpu": "9GiB"}}},
    **{"num_gpus": 1, "num_cpus": 2, "memory": "9GB", "resources": {"a": 1}, "dialogues_per_replica": 4},
}
"""A legal value of each key that asks for something."""


def entry(backend, **keys):
    needed = {"model_name": "m", "backend": backend}
    if backend in LOCAL:
        needed |= {"huggingface_id": "org/m", "premade_chat_template": True, "eos_to_cull": "</s>"}
    if backend == "replay":
        needed["records"] = "x"
    return {**needed, **keys}


def severities(whole, key):
    """How bad it is that the key is there, by what is said at its place."""
    return {f.severity for f in judge_entry(flatten(whole)) if f.where.endswith(f".{key}")}


def test_there_is_a_value_for_each_key():
    assert VALUES.keys() == ENTRY_KEYS.keys() - {"model_name", "backend"}
    assert all(ENTRY_KEYS[key].type.accepts(value) for key, value in VALUES.items())


@pytest.mark.parametrize("holder", [None, *NESTED_KEYS])
@pytest.mark.parametrize("backend", [b for b in BACKENDS if b in (*LOCAL, *REMOTE)])
def test_each_key_is_read_or_an_error_where_answers_depend_on_it(backend, holder):
    """Flat, and in both objects that count like outer keys."""
    for name, value in VALUES.items():
        key, base = ENTRY_KEYS[name], entry(backend)
        if name in base or key.read_by == METADATA or key.is_read_by(backend):
            continue
        found = severities({**base, **({name: value} if holder is None else {holder: {name: value}})}, name)
        assert found, (backend, name)
        assert Severity.ERROR in found or name in HARMLESS, (backend, name)


@pytest.mark.parametrize("backend", ["human", "programmatic", "replay"])
def test_where_no_model_answers_a_foreign_key_is_named(backend):
    """A mock's answer depends on none of them, so a copied entry with the mock's backend can be used."""
    for name, value in VALUES.items():
        key, base = ENTRY_KEYS[name], entry(backend)
        if name not in base and key.read_by != METADATA and not key.is_read_by(backend):
            assert Severity.WARNING in severities({**base, name: value}, name), name


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b in (*LOCAL, *REMOTE)])
def test_off_and_empty_ask_for_nothing(backend):
    """What holds without the key as well is no error, wherever it stands."""
    nothing = {"load_in_8bit": False, "do_sample": None, "chat_template_kwargs": {}, "reasoning_model": False}
    for name, value in nothing.items():
        if value is not None:
            assert Severity.ERROR not in severities(entry(backend, **{name: value}), name), (backend, name)


OF_TOOLS = {
    "vLLM 0.32, SamplingParams and LLM": (
        "n best_of prompt_logprobs detokenize skip_special_tokens spaces_between_special_tokens ignore_eos "
        "min_tokens include_stop_str_in_output logits_processors truncate_prompt_tokens guided_decoding "
        "structured_outputs logit_bias allowed_token_ids bad_words extra_args stop_token_ids length_penalty "
        "use_beam_search tokenizer tokenizer_revision skip_tokenizer_init hf_overrides max_model_len rope_scaling "
        "rope_theta kv_cache_dtype speculative_config speculative_model num_speculative_tokens enable_lora "
        "lora_modules lora_dtype reasoning_parser tool_call_parser override_generation_config model_impl "
        "load_format config_format quantization_param_path calculate_kv_scales limit_mm_per_prompt "
        "mm_processor_kwargs attention_backend disable_sliding_window guided_decoding_backend served_model_name"
    ),
    "Ollama, options and request": (
        "num_keep num_predict num_ctx repeat_last_n repeat_penalty penalize_newline typical_p tfs_z mirostat "
        "mirostat_eta mirostat_tau num_gqa f16_kv vocab_only think format raw template system suffix"
    ),
    "llama.cpp, server and command line": (
        "n_predict ctx_size grp_attn_n grp_attn_w flash_attn cache_type_k cache_type_v override_kv override_tensor "
        "lora lora_scaled control_vector control_vector_scaled rope_scaling rope_freq_base rope_freq_scale "
        "yarn_ext_factor yarn_attn_factor yarn_beta_slow yarn_orig_ctx grammar grammar_file json_schema "
        "chat_template jinja chat_template_file reasoning_format reasoning_budget_message context_shift "
        "no_context_shift keep n_keep mmproj model_draft draft_max samplers sampler_seq sampling_seq "
        "dynatemp_range dynatemp_exp dry_multiplier dry_base dry_allowed_length dry_penalty_last_n "
        "dry_sequence_breaker xtc_probability xtc_threshold top_n_sigma typical ignore_eos logit_bias special "
        "swa_full n_cpu_moe prefill_assistant min_keep"
    ),
    "transformers, from_pretrained": (
        "quantization_config subfolder variant experts_implementation state_dict from_tf ignore_mismatched_sizes "
        "config adapter_kwargs use_fast legacy add_prefix_space truncation_side model_max_length "
        "clean_up_tokenization_spaces"
    ),
    "lm-evaluation-harness, model arguments": (
        "pretrained max_length softmax_dtype mixed_precision_dtype add_bos_token prefix_token_id peft delta "
        "autogptq gptqmodel think_end_token enable_thinking chat_template_args system_instruction "
        "apply_chat_template max_gen_toks until num_fewshot tokenizer_backend tokenized_requests truncation"
    ),
    "OpenRouter, LiteLLM, Inspect": (
        "provider models route transforms plugins reasoning include_reasoning verbosity prediction drop_params "
        "additional_drop_params custom_llm_provider api_base fallbacks merge_reasoning_content_in_choices "
        "modify_params system_message num_choices internal_tools reasoning_summary reasoning_history "
        "reasoning_tokens extra_headers response_schema"
    ),
    "misspelt and made up": (
        "temparature tempreature maximum_tokens token_limit max_output budget thinking_tokens think "
        "thinking_effort thinkingEffort thinkingLevel enable_reasoning reasoning_enabled reasoning_mode no_think "
        "noThinking system_prompt_prefix systemPrompt prompt_template prompt_format instruction_template "
        "stop_words eos eos_tokens bos bos_tokens add_eos add_bos assistant_prefix prefill response_prefix quant "
        "gptq awq int8 int4 bits fp8 bf16 fp16 half precision compute_dtype use_fp16 adapters lora_adapter "
        "merge_lora seed_value sampling greedy beam_size context context_length max_context window rope yarn "
        "model_type architecture checkpoint weights_file model_path tokenizer_path template_file "
        "chat_template_path json_mode schema guided_regex regex headers default_headers deployment_name "
        "azure_deployment endpoint api_url region anthropic_version anthropic_beta service_tier"
    ),
}
"""Keys that change answers with others, or that one would think up: none may pass with a warning."""


@pytest.mark.parametrize(
    "backend", ["huggingface_local", "llamacpp", "vllm", "openai", "anthropic", "google", "ollama"]
)
@pytest.mark.parametrize("tool", OF_TOOLS)
def test_no_key_of_another_tool_passes(tool, backend):
    """It is an error, which says what to write; so it is where the value is off."""
    for name in OF_TOOLS[tool].split():
        for value in (5, False):
            assert Severity.ERROR in severities(entry(backend, **{name: value}), name), name
        assert Severity.ERROR not in severities(entry(backend, **{f"x_{name}": 5}), f"x_{name}")


HARMLESS_ELSEWHERE = {
    "what is returned or kept beside the answer": (
        "output_attentions output_hidden_states output_logits output_scores return_dict_in_generate output_kind "
        "include response_logprobs should_return_http_response store stream stream_options usage labels metadata "
        "user user_profile_id session_id speed background background_options diagnostics activation_statistics "
        "transformers_version n_probs"
    ),
    "pace, memory and place, at the same numbers": (
        "cache_config max_cache_len compile_config disable_compile continuous_batching_config low_memory "
        "target_lookbehind chunk_size cache_control container workspace_id"
    ),
}
"""Fields of the types below that change no answer."""


def _fields(module, name):
    """The names of a type's fields: a TypedDict's, a pydantic model's, or an object's."""
    found = getattr(pytest.importorskip(module) and importlib.import_module(module), name)
    if hasattr(found, "model_fields"):
        return set(found.model_fields)
    annotated = {key for kind in found.__mro__ for key in getattr(kind, "__annotations__", {})}
    return {key for key in (annotated if name.endswith("Streaming") else vars(found())) if not key.startswith("_")}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("transformers", "GenerationConfig"),
        ("openai.types.chat.completion_create_params", "CompletionCreateParamsNonStreaming"),
        ("openai.types.responses.response_create_params", "ResponseCreateParamsNonStreaming"),
        ("anthropic.types.message_create_params", "MessageCreateParamsNonStreaming"),
        ("google.genai.types", "GenerateContentConfig"),
        ("google.genai.types", "ThinkingConfig"),
    ],
)
def test_each_field_of_the_installed_types_is_read_refused_or_known_to_be_harmless(module, name):
    """A new one of a newer version fails here, so that somebody decides."""
    fine = {*ENTRY_KEYS, *ALIASES, *UNREAD, *" ".join(HARMLESS_ELSEWHERE.values()).split()}
    unknown = {field for field in _fields(module, name) if field not in fine and advice_for(field) is None}
    assert not unknown


def test_the_rule_says_so():
    """PB140, with the way out for a note of one's own."""
    (found,) = [f for f in judge_entry(flatten(entry("openai", thinking_strength="high"))) if f.code == "PB140"]
    assert "by its name answers may depend on it" in found.message
    assert "call it 'x_thinking_strength'" in str(found)
    assert found.code in RULES
    quiet = judge_entry(flatten(entry("openai", homepage="x", contact="y", numa=True)))
    assert {f.name for f in quiet} == {"foreign-key"}
