"""`engine_args`: what is handed through to an engine, and what a stranger's entry may not reach by it."""

from __future__ import annotations

import inspect

import pytest

from playbill.backends.loading import find_spec, judge_spec
from playbill.backends.registry.fields.engine_arguments import ENGINE_ARGUMENTS

ENTRY = {"model_name": "m", "huggingface_id": "org/m", "premade_chat_template": True, "eos_to_cull": "</s>"}


def errors(backend, **arguments):
    spec = find_spec({**ENTRY, "backend": backend, "engine_args": arguments})
    return [str(finding) for finding in judge_spec(spec) if finding.severity.value == "error"]


@pytest.mark.parametrize(
    ("backend", "arguments"),
    [
        ("vllm", {"kv_cache_dtype": "fp8", "max_num_batched_tokens": 8192, "enable_expert_parallel": True}),
        ("vllm", {"hf_overrides": {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "cpu_offload_gb": 4}),
        ("huggingface_local", {"max_memory": {"0": "20GiB", "cpu": "60GiB"}}),
    ],
)
def test_arguments_of_the_engine_are_taken(backend, arguments):
    assert errors(backend, **arguments) == []


@pytest.mark.parametrize(
    ("backend", "name", "value", "said"),
    [
        ("vllm", "worker_cls", "os.system", "not handed through"),
        ("vllm", "scheduler_cls", "x.Y", "not handed through"),
        ("vllm", "logits_processors", ["x:Y"], "not handed through"),
        ("vllm", "compilation_config", {"backend": "x.y"}, "not handed through"),
        ("vllm", "otlp_traces_endpoint", "http://127.0.0.1", "not handed through"),
        ("vllm", "distributed_executor_backend", "x.Executor", "is not one of 'mp', 'ray', 'uni'"),
        ("vllm", "load_format", "dummy", "is not one of"),
        ("vllm", "hf_overrides", {"auto_map": {"AutoModel": "x.Y"}}, "is not an object of rope_parameters"),
        ("vllm", "block_size", True, "is not an integer of 1 or more"),
        ("vllm", "max_model_len", 512, "Playbill sets it; write n_ctx in the entry"),
        ("vllm", "trust_remote_code", True, "Playbill sets it; write trust_remote_code in the entry"),
        ("vllm", "kv_cache_dtyp", "fp8", "did you mean 'kv_cache_dtype'?"),
        ("huggingface_local", "quantization_config", {}, "not handed through"),
        ("huggingface_local", "token", "hf_x", "not handed through"),
        ("huggingface_local", "offload_folder", "/tmp", "not handed through"),
        ("huggingface_local", "max_memory", {"0": None}, "is not an object of devices and sizes"),
    ],
)
def test_others_are_errors_that_say_what_to_do(backend, name, value, said):
    """What names code, files or addresses, what Playbill sets, what is of another type, and what is misspelt."""
    (found,) = errors(backend, **{name: value})
    assert f"engine_args.{name}" in found
    assert said in found


def test_llamacpp_has_none_to_hand_through():
    (found,) = errors("llamacpp", n_batch=512)
    assert "can't be honoured by the backend llamacpp: no argument of llama.cpp is handed through" in found


def test_each_argument_of_transformers_is_one_of_its_own():
    """By the source of the method that takes them, since it takes them by name from its keyword arguments."""
    transformers = pytest.importorskip("transformers")
    source = inspect.getsource(transformers.PreTrainedModel.from_pretrained)
    assert [
        name for name in ENGINE_ARGUMENTS["huggingface_local"] if f'"{name}"' not in source and name not in source
    ] == []
