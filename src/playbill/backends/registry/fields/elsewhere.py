"""Keys that other layers read to change answers, and that are called otherwise here, or can't be had.

They are errors in an entry: a setting that nothing reads would let another model answer under this one's name. Sources:
the keyword arguments of transformers' GenerationConfig and ``from_pretrained``, of vLLM's ``LLM`` and SamplingParams,
of llama.cpp's server, and of the request types in the clients of OpenAI, Anthropic and Google; clemcore's own keys.
No list of names is whole, so a name is judged by its words as well: ``thinking_effort`` speaks of thinking, whoever
reads it.
"""

from __future__ import annotations

import re

__all__ = ["ELSEWHERE", "advice_for"]

_NO_SAMPLER = "no engine here has this sampler; take it out"
_SERVICE = "a service takes it in extra_body, under its own name"

_GROUPS = (
    (
        "write mmproj, for llamacpp",
        "mmproj_path mmproj_url clip_model_path mmproj_file",
    ),
    (
        "write max_tokens",
        "max_new_tokens max_length max_output_tokens max_completion_tokens n_predict maxOutputTokens num_predict "
        "max_gen_toks max_output",
    ),
    ("answers end where the model ends them; take it out", "min_tokens min_new_tokens min_length ignore_eos"),
    ("write temperature", "temp t"),
    ("write repetition_penalty", "repeat_penalty rep_pen penalty_repeat"),
    ("write stop", "stop_sequences stop_strings stopSequences until"),
    ("write seed", "random_seed seeds"),
    ("write logprobs", "top_logprobs"),
    (
        "ids differ between tokenizers; write the texts, in stop",
        "stop_token_ids eos_token_id pad_token_id bos_token_id suppress_tokens begin_suppress_tokens "
        "forced_bos_token_id forced_eos_token_id",
    ),
    (
        _NO_SAMPLER,
        "num_beams num_beam_groups diversity_penalty early_stopping length_penalty typical_p typical top_a top_h "
        "epsilon_cutoff eta_cutoff tfs_z penalty_alpha guidance_scale no_repeat_ngram_size xtc_probability "
        "mirostat mirostat_tau mirostat_eta dynatemp_range dry_multiplier encoder_repetition_penalty "
        "exponential_decay_length_penalty renormalize_logits bad_words bad_words_ids logits_processors "
        "skip_special_tokens adaptive_decay adaptive_target min_keep n_prev repeat_last_n force_words_ids "
        "remove_invalid_values",
    ),
    (_SERVICE, "logit_bias sequence_bias constraints watermarking_config transforms service_tier prediction betas"),
    (_SERVICE, "safe_prompt safety_mode provider route models web_search_options translation_config"),
    (
        _SERVICE,
        "model_selection_config model_armor_config enable_enhanced_civic_answers enable_affective_dialog"
        " automatic_continuation generation_output_config access_programs",
    ),
    (
        "each request has one answer; ask for more samples of it",
        "n best_of num_return_sequences candidate_count use_beam_search",
    ),
    (
        "write load_in_8bit or load_in_4bit for huggingface_local, quantization for vllm",
        "quantization_config bits gptq_bits use_exllama",
    ),
    (
        "the cache of keys and values keeps the format of the weights; take it out",
        "cache_type_k cache_type_v cache_implementation use_cache",
    ),
    (
        "for vllm, write it into engine_args",
        "kv_cache_dtype load_format hf_overrides max_num_batched_tokens enable_expert_parallel data_parallel_size "
        "cpu_offload_gb enable_chunked_prefill attention_backend",
    ),
    (
        "positions are scaled as the checkpoint says; take it out",
        "rope_scaling rope_theta rope_freq_base rope_freq_scale",
    ),
    ("write n_ctx", "max_model_len max_position_embeddings vllm_context num_ctx ctx_size"),
    (
        "write huggingface_id, filename or model_id",
        "model model_path model_file pretrained weights weights_file checkpoint path folder "
        "state_dict served_model_name",
    ),
    (
        "the checkpoint says it itself; take it out",
        "arch architecture model_type config config_format from_tf ignore_mismatched_sizes diffusion vocab_only",
    ),
    ("each request holds its whole dialogue; take it out", "previous_response_id conversation cached_content raw"),
    ("a dialogue that doesn't fit has an outcome of its own; take it out", "keep n_keep num_keep"),
    ("write timeout for a service; a model here ends its answers itself", "max_time"),
    ("write api_version", "anthropic_version"),
    ("write base_url, the address in that region", "region location inference_geo"),
    (
        "write its parts as keys of their own, or into extra_body",
        "extra_args extra model_kwargs litellm_params drop_params additional_drop_params modify_params http_options "
        "generation_kwargs gen_kwargs sampling_params model_args",
    ),
    ("write base_url, or put it beside the key in key.json", "api_base api_url endpoint url host"),
    ("write eos_to_cull", "eos eos_token eos_tokens end_token"),
    ("write attn_implementation", "use_flash_attn use_flash_attention_2 flash_attn"),
    ('write "backend": "vllm"', "use_vllm"),
    ("write number_gpus", "tensor_parallel_size"),
    ("write peft_model", "lora lora_path adapter adapter_name control_vector"),
    ("write revision", "subfolder variant commit code_revision tokenizer_revision"),
    ("a model brings its own tokenizer; take it out", "tokenizer tokenizer_id tokenizer_name legacy"),
    ("write custom_chat_template", "chat_template chat_format template"),
    (
        "the template writes the prompt, whole; take it out",
        "add_generation_prompt add_special_tokens add_bos_token add_eos_token",
    ),
    ("the dialogue brings its messages; take it out", "system system_prompt system_message prefix suffix prompt"),
    (
        "write thinking or reasoning_effort for a service, chat_template_kwargs for a model that runs here",
        "thinking_level thinking_config reasoning enable_thinking reasoning_format reasoning_tokens effort "
        "output_config force_pure_content_parser",
    ),
    (
        "answers are text; for a service write it into extra_body",
        "verbosity response_format guided_json grammar json_schema tools tool_choice functions response_mime_type "
        "response_schema format text",
    ),
)

ELSEWHERE: dict[str, str] = {key: advice for advice, keys in _GROUPS for key in keys.split()}
"""Key to what to do instead; a sentence without its end."""

_WORDS: dict[str, str] = {
    "write thinking, reasoning_effort or max_thinking_tokens for a service, chat_template_kwargs for a model that runs "
    "here": "think thinking thinks thought thoughts reason reasoning reasoner effort budget cot",
    "write a parameter of generation, as `playbill show` and the docs call it": (
        "temp temperature top typical mirostat dry xtc dynatemp penalty penalties penalize penal logit logits sampler "
        "samplers sampling sample greedy beam beams seed seeds decoding choices nucleus dola ngram"
    ),
    "write max_tokens, max_thinking_tokens or context_size": "token tokens length predict gen",
    "write stop, or eos_to_cull": "stop stops eos bos eot antiprompt until",
    "write context_size, or n_ctx for what the engine allocates": (
        "ctx context window yarn rope swa truncate truncation"
    ),
    "write custom_chat_template or chat_template_kwargs; the dialogue brings its messages": (
        "prompt prompts template templates system prefix suffix prefill instruction instructions jinja messages "
        "message fewshot input"
    ),
    "write dtype, load_in_8bit, load_in_4bit or quantization": (
        "quant quantization quantize quantized quantizations gptq gptqmodel autogptq awq bnb exl2 int4 int8 fp8 fp16 "
        "bf16 f16 half bits dtype precision"
    ),
    "write peft_model": "lora loras qlora peft adapter adapters delta",
    "a model brings its own tokenizer; take it out": (
        "tokenizer tokenize tokenized tokenization detokenize fast special"
    ),
    "no engine here does this; take it out": (
        "kv attn attention flash expert experts moe draft speculative speculation assistant mtp vector override "
        "overrides impl variant routing route gqa cfg guidance healing"
    ),
    "answers are text; for a service write it into extra_body": (
        "tool tools function functions grammar schema guided regex structured json modalities plugins plugin search"
    ),
    "write multimodality, and for llamacpp mmproj": (
        "image images audio video media mm mmproj vision speech multimodal"
    ),
    "write base_url, api_version or key_section; for another field of the body write extra_body": (
        "api headers header query deployment azure vertexai beta betas provider providers tier geo fallback fallbacks "
        "safety moderation"
    ),
}
"""What to do instead, and the words in whose company a key speaks of it."""
_BY_WORD: dict[str, str] = {word: advice for advice, words in _WORDS.items() for word in words.split()}
_WORD = re.compile(r"[A-Z]?[a-z]+[0-9]*|[A-Z]+(?![a-z])[0-9]*")


def advice_for(name: str) -> str | None:
    """Return what to do instead of a key that nobody here reads; None where, by its name, no answer depends on it.

    >>> advice_for("thinkingEffort") == advice_for("think")
    True
    >>> advice_for("homepage") is None
    True
    """
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    words = [word.lower() for word in _WORD.findall(name)]
    return ELSEWHERE.get("_".join(words)) or next((_BY_WORD[word] for word in words if word in _BY_WORD), None)
