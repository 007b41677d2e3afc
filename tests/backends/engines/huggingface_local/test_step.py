"""The step that a GPU would run, without a GPU: counted on the `meta` device, where nothing can be read back, and
computed on the CPU with a stand-in for the kernel that is CUDA's alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from support.tiny_models import tiny_model

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 - only where torch is

LAYERS = 32


class Counted(TorchDispatchMode):
    """Counts what is dispatched, and how many bytes go to another device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.copied = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view:  # which start nothing on a device
            self.calls[str(func)] += 1
        given = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if given is not None and isinstance(found, torch.Tensor) and given.device.type == "cpu" != found.device.type:
            self.copied += given.numel() * given.element_size()
        return found


@pytest.fixture(scope="module")
def eight() -> Any:
    """A Llama of 8B without weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=LAYERS, num_attention_heads=32,
        num_key_value_heads=8, vocab_size=128256, max_position_embeddings=8192,
    )  # fmt: skip
    with torch.device("meta"):
        return LlamaForCausalLM(config).to(torch.bfloat16).eval()


def step_of(model: Any, rows: int, way: str = "varlen", pages: int = 2100) -> Any:
    from playbill.backends.engines.huggingface_local.batching.attention import ATTENTION, register
    from playbill.backends.engines.huggingface_local.batching.kv_cache import KVCache
    from playbill.backends.engines.huggingface_local.batching.step import Step
    from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads

    register()
    model.set_attn_implementation(ATTENTION)
    return Step(model, KVCache(pages), way, RowThreads(None), most_rows=rows)


@torch.inference_mode()
def counted(model: Any, rows: int, params: dict[str, Any]) -> tuple[Counted, int, int]:
    """What a step of answers dispatches with its sampling, at 8,000 tokens a row; what the sampling alone dispatches,
    and how many bytes are read back."""
    from playbill.backends.engines.huggingface_local.batching.step import Piece
    from playbill.backends.engines.huggingface_local.sampling import Sampling, columns_of, sample

    step = step_of(model, rows)
    samplings = [Sampling(params, [5, 6]) for _ in range(rows)]
    runs = [step.kv_cache.take(8000) for _ in range(rows)]
    pieces = [Piece(run, 7990, [5]) for run in runs]
    step.answers(pieces)  # the pools are made
    with Counted() as whole:
        found = step.answers(pieces, columns_of(samplings))
        before = whole.calls.total()
        back = sample(samplings, found.logits, found.columns)
    return whole, whole.calls.total() - before, back.numel() * back.element_size()


def test_a_decode_step_dispatches_as_much_for_one_row_as_for_many(eight):
    """One attention a layer, one copy up, nothing read back before the end: on `meta` that would raise."""
    totals = {}
    for rows in (1, 8, 32, 64):
        seen, sampling, back = counted(eight, rows, {})
        totals[rows] = seen.calls.total() - sampling
        assert seen.calls["torch_attn._varlen_attn.default"] == LAYERS
        assert sampling <= 15
        assert seen.copied <= 8192
        assert back <= 256
    assert max(totals.values()) - min(totals.values()) <= 5
    assert max(totals.values()) <= 1250


def test_five_log_probabilities_a_row_are_two_kilobytes(eight):
    """Sampled with all cuts and penalties, still nothing is read back in between."""
    params = {"temperature": 0.7, "seed": 1, "top_k": 9, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1}
    _, _, back = counted(eight, 32, {**params, "logprobs": 5})
    assert back <= 2048


def row_by_row(
    query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, is_causal: bool = False,
    scale: Any = None, window_size: Any = None, enable_gqa: bool = False, seqused_k: Any = None,
    block_table: Any = None, num_splits: Any = None,
) -> Any:  # fmt: skip
    """What torch's attention over pages promises, in plain words: a stand-in for its CUDA kernel."""
    assert num_splits == 1
    assert block_table.dtype == seqused_k.dtype == cu_seq_q.dtype == torch.int32
    found = torch.empty_like(query)
    heads = query.shape[1] // key.shape[2]
    for row, (begin, end) in enumerate(zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True)):
        length, new = int(seqused_k[row]), end - begin
        assert new <= max_q
        assert length <= max_k
        if not new:
            continue
        keys, values = (pool[block_table[row]].flatten(0, 1)[:length] for pool in (key, value))
        here = torch.arange(length - new, length)[:, None]
        seen = torch.arange(length)[None] <= here
        if window_size[0] >= 0:
            seen &= torch.arange(length)[None] >= here - window_size[0]
        keys, values = (t.repeat_interleave(heads, 1).transpose(0, 1) for t in (keys, values))
        asking = query[begin:end].transpose(0, 1)
        scores = (asking @ keys.transpose(1, 2)) * scale
        found[begin:end] = (scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values).transpose(0, 1)
    return found, torch.empty(0), torch.empty(0, dtype=torch.uint64)


@pytest.fixture(scope="module")
def stand_in() -> None:
    from torch.nn.attention import varlen

    varlen._varlen_attn.register_kernel("cpu")(row_by_row)


PROMPTS = [[5, 6, 7], list(range(3, 57)), list(range(3, 120)), [9, 8, 7, 6] * 90]


@pytest.mark.parametrize("way", ["varlen", "masked", "rows"])
@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_each_way_of_attention_answers_as_generate_does(stand_in, kind, way):
    """Many rows of unlike length in one call, over pieces of prompts, windows and pages of other rows."""
    from playbill.backends.engines.base import Request
    from playbill.backends.engines.huggingface_local.batching.rows import BatchDecoder
    from playbill.backends.engines.huggingface_local.engine import TransformersEngine
    from support.tiny_models import VOCABULARY, generated

    model = tiny_model(kind)
    wanted = [generated(model, prompt, 8) for prompt in PROMPTS]
    decoder = BatchDecoder(step_of(model, 6, way, pages=20), exact=True)
    engine = TransformersEngine(decoder, vocabulary=VOCABULARY, decode=str, facts=dict, threads=1)
    requests = [Request(messages=(), params={"max_tokens": 8}, prompt_ids=tuple(prompt)) for prompt in PROMPTS]
    assert [f.result(60).output_ids for f in [engine.submit(each) for each in requests]] == wanted
    engine.close()


class OneDevice(TorchDispatchMode):
    """Refuses to compute with tensors of two devices, as a GPU does; a copy may have them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        flat = [a for a in torch.utils._pytree.tree_leaves((args, kwargs or {})) if isinstance(a, torch.Tensor)]
        if "copy" not in str(func):
            assert len({tensor.device for tensor in flat if tensor.dim()}) <= 1, func
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def test_a_model_spread_over_devices_is_given_its_numbers_on_each():
    """The second of two layers and the head are elsewhere: pools, places and pages are with their layer."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    from playbill.backends.engines.huggingface_local.batching.selftest import _last_device
    from playbill.backends.engines.huggingface_local.batching.step import Piece

    model = tiny_model("llama", tie_word_embeddings=False)
    for module in (model.model.layers[1], model.model.norm, model.lm_head):
        add_hook_to_module(module.to("meta"), AlignDevicesHook(execution_device="meta"))
    step = step_of(model, 4, "varlen", pages=8)
    runs = [step.kv_cache.take(30) for _ in range(3)]
    with _last_device(step):
        step.answers([Piece(run, 0, [5]) for run in runs])
    assert step.last_device.type == "meta"
    with OneDevice():
        step.prompts([Piece(run, 0, [5] * 20) for run in runs], [0, 2])
        step.answers([Piece(run, 20, [5]) for run in runs])
    assert [pools[0].device.type for pools in step.kv_cache.pools.values()] == ["cpu", "meta"]
