"""Keys that other layers read to change answers, and that are called otherwise here, or can't be had.

They are errors in an entry: a setting that nothing reads would let another model answer under this one's name. Sources:
the keyword arguments of transformers' GenerationConfig and ``from_pretrained``, of vLLM's ``LLM`` and SamplingParams,
of llama.cpp's server, and of the request types in the clients of OpenAI, Anthropic and Google; clemcore's own keys.
"""

from __future__ import annotations

__all__ = ["ELSEWHERE"]

_NO_SAMPLER = "no engine here has this sampler; take it out"
_SERVICE = "a service takes it in extra_body, under its own name"

_GROUPS = (
    (
        "write max_tokens",
        "max_new_tokens max_length max_output_tokens max_completion_tokens n_predict maxOutputTokens num_predict "
        "max_gen_toks",
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
        "skip_special_tokens",
    ),
    (_SERVICE, "logit_bias sequence_bias constraints watermarking_config transforms service_tier prediction betas"),
    (_SERVICE, "safety_settings safe_prompt safety_mode provider route models web_search_options"),
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
    ("write attn_implementation", "use_flash_attn use_flash_attention_2 flash_attn"),
    ('write "backend": "vllm"', "use_vllm"),
    ("write number_gpus", "tensor_parallel_size"),
    ("write peft_model", "lora lora_path adapter adapter_name control_vector"),
    ("write revision", "subfolder variant commit code_revision tokenizer_revision"),
    ("a model brings its own tokenizer; take it out", "tokenizer tokenizer_id tokenizer_name"),
    ("write custom_chat_template", "chat_template chat_format template"),
    (
        "the template writes the prompt, whole; take it out",
        "add_generation_prompt add_special_tokens add_bos_token add_eos_token",
    ),
    ("the dialogue brings its messages; take it out", "system system_prompt system_message prefix suffix prompt"),
    (
        "write thinking or reasoning_effort for a service, chat_template_kwargs for a model that runs here",
        "thinking_level thinking_config reasoning enable_thinking reasoning_format reasoning_tokens effort "
        "output_config",
    ),
    (
        "answers are text; for a service write it into extra_body",
        "verbosity response_format guided_json grammar json_schema tools tool_choice functions response_mime_type "
        "response_schema",
    ),
)

ELSEWHERE: dict[str, str] = {key: advice for advice, keys in _GROUPS for key in keys.split()}
"""Key to what to do instead; a sentence without its end."""
