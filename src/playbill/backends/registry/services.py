"""The services that keys are kept for: rows of data. A service that needs no behaviour is a row here.

A row says where a service is, which variable its own SDK reads, which generation parameters its chat endpoint
documents and under which names. What is not sure is left out: `extra_body` sends it all the same. Knows no wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["REMOTE", "RESPONSES_PARAMETERS", "SERVICES", "Service"]


_TALKERS = frozenset({"system", "user", "assistant"})
_WITH_TOOLS = _TALKERS | {"tool", "function"}


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service: the section of key.json, the variables its own SDK reads a key from, and its own address.

    ``wire`` is the engine that speaks to it (None: it answers no chats), ``keyless`` says that it may be used
    without a key. ``supported_parameters`` are the generation parameters that it takes, ``renamed`` those with names of
    their own. ``reasoning_refuses`` is what its reasoning models don't take (``reasoning_model`` in an entry), and
    ``reasoning_renamed`` what they call otherwise. ``off`` has the values with which samplers that nobody asked for are
    switched off: servers apply what the model's repository recommends unless a request says otherwise. ``roles`` are
    those that messages may have, and ``system_first`` says that system messages have a place of their own, before all
    others. ``key_header`` carries the key, where that isn't the wire's own. ``more_addresses`` are further ones of its
    own, where its key may go as well, and ``key_section`` is the section whose key it takes where it has none itself.
    ``always`` are fields of every request, against what the service would do to it in silence. ``counts_logprobs``
    says that its ``logprobs`` is a number, not a boolean beside ``top_logprobs``. ``least_tokens`` is the smallest
    limit of tokens that it takes from all models.
    """

    name: str
    summary: str = ""
    wire: str | None = None
    variables: tuple[str, ...] = ()
    base_url: str | None = None
    get_key: str = ""
    keyless: bool = False
    supported_parameters: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    reasoning_refuses: frozenset[str] = frozenset()
    reasoning_renamed: Mapping[str, str] = field(default_factory=dict)
    off: Mapping[str, Any] = field(default_factory=dict)
    roles: frozenset[str] = _WITH_TOOLS
    system_first: bool = False
    key_header: str | None = None
    more_addresses: tuple[str, ...] = ()
    key_section: str | None = None
    always: Mapping[str, Any] = field(default_factory=dict)
    counts_logprobs: bool = False
    least_tokens: int = 1


_PLAIN = frozenset(["temperature", "max_tokens", "top_p", "stop"])
_PENALTIES = frozenset(["presence_penalty", "frequency_penalty"])
# What the OpenAI client documents for chat completions (openai/types/chat/completion_create_params.py).
_OPENAI = _PLAIN | _PENALTIES | {"seed", "logprobs"}
_MORE = frozenset(["top_k", "min_p", "repetition_penalty"])
# https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning lists these as not supported; the OpenAI
# client's own documentation adds `stop`.
_REFUSED = frozenset(["temperature", "top_p", "stop", "logprobs"]) | _PENALTIES
_LIMIT = {"max_tokens": "max_completion_tokens"}
_ALL_OFF = {
    **{"top_p": 1.0, "top_k": -1, "min_p": 0.0},
    **{"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
}

RESPONSES_PARAMETERS = frozenset(["temperature", "top_p", "max_tokens", "logprobs"])
"""The generation parameters of OpenAI's Responses API, by the official client's ResponseCreateParams."""

_ROWS = (
    # https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    Service(
        name="huggingface",
        variables=("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
        base_url="https://huggingface.co",
        more_addresses=("https://router.huggingface.co",),
        get_key="https://huggingface.co/settings/tokens",
    ),
    # The key that `playbill serve` asks its own clients for; it is sent nowhere.
    Service(name="serve", summary="clients of `playbill serve`", variables=("PLAYBILL_SERVE_KEY",)),
    # The OpenAI client: address and variable in _client.py; `max_tokens` is deprecated for
    # `max_completion_tokens`, which alone reasoning models take (completion_create_params.py).
    Service(
        name="openai",
        roles=_WITH_TOOLS | {"developer"},
        summary="OpenAI's models",
        wire="openai",
        variables=("OPENAI_API_KEY",),
        base_url="https://api.openai.com/v1",
        get_key="https://platform.openai.com/api-keys",
        supported_parameters=_OPENAI,
        renamed=_LIMIT,
        reasoning_refuses=_REFUSED,
    ),
    Service(
        name="openai_compatible",
        summary="any server that speaks OpenAI's chat completions; `base_url` says where",
        wire="openai",
        keyless=True,
        supported_parameters=_OPENAI,
        reasoning_refuses=_REFUSED,
        reasoning_renamed=_LIMIT,
    ),
    # https://openrouter.ai/docs/api-reference/parameters, …/use-cases/reasoning-tokens. Its SDK (1.3.84) calls
    # max_tokens deprecated, but where parameters are required it finds providers by what they list, and most list no
    # max_completion_tokens (github.com/openstory-so/openstory/pull/1318). Some want 16 tokens at the least (the SDK).
    # For models of 8k and less it cuts long prompts in the middle unless told not to:
    # https://openrouter.ai/docs/guides/features/message-transforms
    Service(
        name="openrouter",
        summary="models of many providers, through OpenRouter",
        wire="openai",
        variables=("OPENROUTER_API_KEY",),
        base_url="https://openrouter.ai/api/v1",
        get_key="https://openrouter.ai/keys",
        supported_parameters=_OPENAI | _MORE,
        always={"plugins": [{"id": "context-compression", "enabled": False}]},
        least_tokens=16,
    ),
    # The OpenAI client's lib/azure.py (variable, deployments). Without `api_version` the v1 API is used:
    # https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
    Service(
        name="azure",
        roles=_WITH_TOOLS | {"developer"},
        summary="OpenAI's models on Azure; `base_url` is the resource's, `model_id` the deployment's name",
        wire="openai",
        variables=("AZURE_OPENAI_API_KEY",),
        get_key="https://portal.azure.com",
        supported_parameters=_OPENAI,
        renamed=_LIMIT,  # reasoning deployments refuse max_tokens, and a deployment's name doesn't say what it is
        reasoning_refuses=_REFUSED,
    ),
    # https://docs.mistral.ai/api: the seed is called random_seed. top_k, repetition_penalty, logprobs, top_logprobs and
    # the regional addresses are its SDK's (mistralai 3.7); the published specification of August 2026 lacks them still.
    Service(
        name="mistral",
        summary="Mistral's models",
        wire="openai",
        variables=("MISTRAL_API_KEY",),
        base_url="https://api.mistral.ai/v1",
        more_addresses=("https://api.eu.mistral.ai", "https://api.us.mistral.ai"),
        get_key="https://console.mistral.ai/api-keys",
        supported_parameters=_OPENAI | {"top_k", "repetition_penalty"},
        renamed={"seed": "random_seed"},
    ),
    # https://docs.cohere.com/docs/compatibility-api (no top_logprobs, no n); the variables and the second address are
    # those of Cohere's own SDK (cohere 7.3).
    Service(
        name="cohere",
        summary="Cohere's models, by its compatibility API",
        wire="openai",
        variables=("CO_API_KEY", "COHERE_API_KEY"),
        base_url="https://api.cohere.ai/compatibility/v1",
        more_addresses=("https://api.cohere.com",),
        get_key="https://dashboard.cohere.com/api-keys",
        supported_parameters=_PLAIN | _PENALTIES | {"seed"},
    ),
    # https://docs.together.ai/docs/inference/openai-compatibility, …/reference/chat-completions-1, together 3.1 (its
    # `logprobs` is a number). A limit that is too long for the context is cut unless it is told to refuse it.
    Service(
        name="together",
        summary="open models on Together",
        wire="openai",
        variables=("TOGETHER_API_KEY",),
        base_url="https://api.together.ai/v1",
        get_key="https://api.together.ai/settings/api-keys",
        supported_parameters=_OPENAI | _MORE,
        counts_logprobs=True,
        always={"context_length_exceeded_behavior": "error"},
    ),
    # https://console.groq.com/docs/openai (no logprobs), …/docs/api-reference (no model takes penalties yet)
    Service(
        name="groq",
        summary="open models on Groq",
        wire="openai",
        variables=("GROQ_API_KEY",),
        base_url="https://api.groq.com/openai/v1",
        get_key="https://console.groq.com/keys",
        supported_parameters=_PLAIN | {"seed"},
        renamed=_LIMIT,
    ),
    # https://api-docs.deepseek.com/api/create-chat-completion, …/guides/reasoning_model: sampling settings
    # have no effect there, logprobs are an error; there is no seed.
    Service(
        name="deepseek",
        summary="DeepSeek's models",
        wire="openai",
        variables=("DEEPSEEK_API_KEY",),
        base_url="https://api.deepseek.com/v1",
        get_key="https://platform.deepseek.com/api_keys",
        supported_parameters=_PLAIN | _PENALTIES | {"logprobs"},
        reasoning_refuses=_PENALTIES | {"temperature", "top_p", "logprobs"},
    ),
    # https://docs.x.ai/docs/guides/reasoning: reasoning models refuse penalties and stop sequences.
    Service(
        name="xai",
        summary="xAI's Grok models",
        wire="openai",
        variables=("XAI_API_KEY",),
        base_url="https://api.x.ai/v1",
        get_key="https://console.x.ai",
        supported_parameters=_OPENAI,
        renamed=_LIMIT,
        reasoning_refuses=_PENALTIES | {"stop"},
    ),
    # https://docs.fireworks.ai/tools-sdks/openai-compatibility, …/api-reference/post-chatcompletions, fireworks-ai 1.2.
    # It lowers a limit that is too long for the context unless it is told to refuse it.
    Service(
        name="fireworks",
        summary="open models on Fireworks",
        wire="openai",
        variables=("FIREWORKS_API_KEY",),
        base_url="https://api.fireworks.ai/inference/v1",
        get_key="https://app.fireworks.ai/settings/users/api-keys",
        supported_parameters=_OPENAI | _MORE,
        always={"context_length_exceeded_behavior": "error"},
    ),
    # https://huggingface.co/docs/inference-providers; parameters: ChatCompletionInput in huggingface_hub 2.4
    Service(
        name="huggingface_router",
        summary="open models of many providers, through Hugging Face; `model_id` is org/model or org/model:provider",
        wire="openai",
        variables=("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
        base_url="https://router.huggingface.co/v1",
        get_key="https://huggingface.co/settings/tokens",
        key_section="huggingface",
        supported_parameters=_OPENAI,
    ),
    # https://docs.ollama.com/api/openai-compatibility; the variable is its own client's, for https://ollama.com/v1
    Service(
        name="ollama",
        summary="an Ollama server, this machine's by default",
        wire="openai",
        variables=("OLLAMA_API_KEY",),
        base_url="http://localhost:11434/v1",
        more_addresses=("https://ollama.com",),
        get_key="https://ollama.com/settings/keys",
        keyless=True,
        supported_parameters=_PLAIN | _PENALTIES | {"seed"},
    ),
    # https://lmstudio.ai/docs/app/api/endpoints/openai; since 0.4 it can ask for a token, which its SDK reads from
    # LM_API_TOKEN: https://lmstudio.ai/docs/developer/core/authentication
    Service(
        name="lmstudio",
        summary="an LM Studio server, this machine's by default",
        wire="openai",
        variables=("LM_API_TOKEN",),
        base_url="http://localhost:1234/v1",
        keyless=True,
        supported_parameters=_PLAIN | _PENALTIES | {"seed", "top_k", "repetition_penalty"},
        renamed={"repetition_penalty": "repeat_penalty"},
    ),
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    Service(
        name="vllm_server",
        summary="a vLLM server, this machine's by default",
        wire="openai",
        variables=("VLLM_API_KEY",),
        base_url="http://localhost:8000/v1",
        keyless=True,
        supported_parameters=_OPENAI | _MORE,
        off=_ALL_OFF,
    ),
    # https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
    Service(
        name="llamacpp_server",
        summary="a llama.cpp server, this machine's by default",
        wire="openai",
        base_url="http://localhost:8080/v1",
        keyless=True,
        supported_parameters=_OPENAI | _MORE,
        off={**_ALL_OFF, "top_k": 0},
        renamed={"repetition_penalty": "repeat_penalty"},
    ),
    # https://docs.sglang.io/basic_usage/openai_api_completions.html
    Service(
        name="sglang_server",
        summary="an SGLang server, this machine's by default",
        wire="openai",
        base_url="http://localhost:30000/v1",
        keyless=True,
        supported_parameters=_OPENAI | _MORE,
        off=_ALL_OFF,
    ),
    # The Anthropic client: address and variable in _client.py, parameters in types/message_create_params.py. It
    # lists no sampling settings any more, since API version 2026-10-21 takes none: see service_models.py.
    Service(
        name="anthropic",
        roles=_TALKERS,
        system_first=True,
        summary="Anthropic's models",
        wire="anthropic",
        variables=("ANTHROPIC_API_KEY",),
        base_url="https://api.anthropic.com",
        get_key="https://console.anthropic.com/settings/keys",
        supported_parameters=_PLAIN | {"top_k"},
        renamed={"stop": "stop_sequences"},
        # https://platform.claude.com/docs/en/build-with-claude/extended-thinking (feature compatibility)
        reasoning_refuses=frozenset(["temperature", "top_k", "top_p"]),
    ),
    # The Anthropic client's lib/foundry.py: address, variable, header. Clemcore calls the section azure_claude as well.
    Service(
        name="azure_claude",
        roles=_TALKERS,
        system_first=True,
        summary="Anthropic's models on Azure AI Foundry; `base_url` is https://RESOURCE.services.ai.azure.com/anthropic",
        wire="anthropic",
        variables=("ANTHROPIC_FOUNDRY_API_KEY",),
        get_key="https://ai.azure.com",
        supported_parameters=_PLAIN | {"top_k"},
        renamed={"stop": "stop_sequences"},
        reasoning_refuses=frozenset(["temperature", "top_k", "top_p"]),
        key_header="x-api-key",
    ),
    # The google-genai client: variables and address in _api_client.py, parameters in types.GenerateContentConfig.
    Service(
        name="google",
        roles=_TALKERS,
        system_first=True,
        summary="Google's Gemini models",
        wire="google",
        variables=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        base_url="https://generativelanguage.googleapis.com",
        get_key="https://aistudio.google.com/apikey",
        supported_parameters=_OPENAI | {"top_k"},
        renamed={
            "max_tokens": "maxOutputTokens",
            "top_p": "topP",
            "top_k": "topK",
            "stop": "stopSequences",
            "presence_penalty": "presencePenalty",
            "frequency_penalty": "frequencyPenalty",
        },
    ),
)

SERVICES: dict[str, Service] = {row.name: row for row in _ROWS}

REMOTE = tuple(row.name for row in _ROWS if row.wire)
"""The services that answer chats; each is a backend of the same name."""
