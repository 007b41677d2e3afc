"""The entry keys of models behind a service: a part of the table in `table`."""

from __future__ import annotations

from playbill.backends.registry.fields import types as v
from playbill.backends.registry.fields.entry_key import EntryKey
from playbill.backends.registry.services import REMOTE, SERVICES

__all__ = ["SERVICE_KEYS"]

SERVICE_KEYS = (
    EntryKey("model_id", v.STRING, "The model's name at the service; `model_name` where it is not given.", REMOTE),
    EntryKey(
        "base_url",
        v.STRING,
        "Where the service is, up to what stands before `/chat/completions` (or the client's own path). Without it "
        "the address beside the key, else the service's own. A key goes only where it may "
        "(docs/reference/services.md).",
        REMOTE,
    ),
    EntryKey(
        "key_section",
        v.STRING,
        "The section of key.json that holds key and address, where it isn't the backend's name: for several servers "
        "of one backend.",
        REMOTE,
    ),
    EntryKey(
        "key_header",
        v.choice("authorization", "x-api-key", "api-key", "x-goog-api-key"),
        "The header that carries the key, where a gateway wants another one than the service itself.",
        REMOTE,
    ),
    EntryKey(
        "api_version",
        v.STRING,
        "The version of the API: for azure as 2025-04-01-preview; for anthropic 2023-06-01 instead of 2026-10-21, so "
        "that Claude Haiku 4.5, Sonnet 4.5, Sonnet 4.6, Opus 4.5 and Opus 4.6 take `temperature`, `top_p` and `top_k`.",
        ("anthropic", "azure", "azure_claude", "google"),
    ),
    EntryKey(
        "api",
        v.choice("chat", "responses"),
        "Which of OpenAI's APIs is spoken: chat completions, or Responses, where some models answer alone and others "
        "show their thinking. Without it, Responses for families that answer only there.",
        tuple(name for name in REMOTE if SERVICES[name].wire == "openai"),
    ),
    EntryKey(
        "extra_body",
        v.OBJECT,
        "Further fields of the request's body; they win over all others. Where they switch thinking on, tokens are "
        "left for it as by `thinking`; where they contradict the entry's keys, that is an error.",
        REMOTE,
    ),
    EntryKey(
        "providers",
        v.STRINGS,
        "The providers that may answer, the first preferred, in OpenRouter's names, as `deepinfra`. Without it "
        "OpenRouter takes any.",
        ("openrouter",),
    ),
    EntryKey(
        "quantizations",
        v.STRINGS,
        "The quantizations that may answer, as `bf16`; without it OpenRouter mixes them.",
        ("openrouter",),
    ),
    EntryKey(
        "require_parameters",
        v.BOOLEAN,
        "Whether only providers answer that take every parameter of the request. With false OpenRouter drops without "
        "a word what the provider doesn't take.",
        ("openrouter",),
        default=True,
    ),
    EntryKey(
        "safety_settings",
        v.SAFETY,
        "From which probability of harm on the service blocks: one threshold for harassment, hate speech, sexually "
        "explicit and dangerous content, as `BLOCK_NONE`, or one by category. Without it the service's own defaults "
        "hold; clemcore sent `BLOCK_MEDIUM_AND_ABOVE`.",
        ("google",),
    ),
    EntryKey(
        "multimodality",
        v.OBJECT,
        "What the model takes beside text: `single_image` and `multiple_images`, each true or false.",
        REMOTE,
    ),
    EntryKey(
        "refuses",
        v.STRINGS,
        "Generation parameters that this model refuses though its service takes them, as `temperature`: they are "
        "not sent, and an error if they are asked for.",
        REMOTE,
    ),
    EntryKey(
        "reasoning_model",
        v.BOOLEAN,
        "Whether the model thinks, and refuses what reasoning models of its service refuse. The limit of tokens "
        "is then that of answer and thinking together: `max_tokens` and `max_thinking_tokens`, or 25,000.",
        REMOTE,
        default=False,
    ),
    EntryKey(
        "reasoning_effort",
        v.STRING,
        "How hard the model thinks, in the service's own words, as `low`, `medium`, `high`.",
        REMOTE,
    ),
    EntryKey(
        "include_thoughts",
        v.BOOLEAN,
        "Whether summaries of its thoughts come back: without this key they do where the model thinks.",
        ("google",),
    ),
    EntryKey(
        "thinking",
        v.choice("on", "off"),
        "Whether the model thinks: asked for, or switched off, in the way that its service and its family want. An "
        "error where the model can't, or where nobody knows how it is told.",
        REMOTE,
    ),
    EntryKey(
        "thinking_mode",
        v.THINKING_MODE,
        "Asks for thinking in one form: true for a budget (`max_thinking_tokens`, or 4,000), or 'adaptive' for "
        "anthropic's models that want it so. `thinking: on` takes the form that the family wants.",
        ("anthropic", "azure_claude", "google"),
    ),
    EntryKey("retry_empty", v.COUNT, "How often an empty answer is asked for again.", REMOTE, default=0),
    EntryKey(
        "concurrency",
        v.POSITIVE,
        "How many requests are in flight at once. Without it the number adapts: it grows while the service "
        "answers, and halves on rate limits.",
        REMOTE,
    ),
    EntryKey(
        "max_attempts", v.POSITIVE, "How often a request is tried where trying again may help.", REMOTE, default=6
    ),
    EntryKey(
        "retry_pause",
        v.NUMBER,
        "Seconds before the second attempt, about; each later pause is twice as long, 60 s at the most.",
        REMOTE,
        default=0.5,
    ),
    EntryKey("time_budget", v.NUMBER, "Seconds after the first request within which attempts may begin.", REMOTE),
    EntryKey("timeout", v.NUMBER, "Seconds that one attempt may take.", REMOTE, default=600),
    EntryKey("connect_timeout", v.NUMBER, "Seconds until a connection must stand.", REMOTE, default=10),
    EntryKey(
        "ca_bundle", v.STRING, "A file of certificates to trust, for servers with a private CA.", REMOTE, is_path=True
    ),
)
