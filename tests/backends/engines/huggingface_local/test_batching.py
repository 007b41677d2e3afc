"""Requests computed together: each gets what it gets alone, dialogues keep what is known, and memory is bounded."""

from __future__ import annotations

import gc
import random
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from playbill.backends import EntryError, load_model
from playbill.backends.engines.base import Completion, Request
from playbill.backends.engines.threads import WorkFuture
from support.smollm2 import smollm2_folder, tiny_folder

torch = pytest.importorskip("torch")
VOCABULARY = 49152


@pytest.fixture(scope="module")
def weights():
    """The tiny model in float32, where kernels for other numbers of rows agree."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_folder(), dtype=torch.float32).eval()


def engine_of(decoder: Any) -> Any:
    from playbill.backends.engines.huggingface_local.engine import TransformersEngine

    return TransformersEngine(decoder, vocabulary=VOCABULARY, decode=str, facts=dict, threads=1)


def batch(model: Any, *, exact: bool = False, **options: Any) -> Any:
    from playbill.backends.engines.huggingface_local.batching.batch_invariant import RowWise
    from playbill.backends.engines.huggingface_local.batching.packed_attention import ATTENTION, register
    from playbill.backends.engines.huggingface_local.batching.rows import BatchDecoder
    from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads

    row_threads = RowThreads(2)
    rowwise = RowWise(model, row_threads) if exact else None
    register()
    model.set_attn_implementation(ATTENTION)
    given = {"most_rows": 4, "budget": 1 << 30, "chunk": 24, **options}
    return BatchDecoder(model, rowwise=rowwise, row_threads=row_threads, **given)


def prompts(count: int, seed: int = 0, most: int = 70) -> list[tuple[int, ...]]:
    draw = random.Random(seed)
    return [tuple(draw.randrange(VOCABULARY) for _ in range(draw.randint(1, most))) for _ in range(count)]


def ask(engine: Any, prompt: Any, *, dialogue: str | None = None, **params: Any) -> Future[Completion]:
    params = {"max_tokens": 8, **params}
    return engine.submit(Request(messages=(), params=params, prompt_ids=tuple(prompt), dialogue=dialogue))


def alone(model: Any, prompt: Any, tokens: int = 8) -> tuple[int, ...]:
    """What `generate` of transformers gives for one prompt, without end tokens."""
    model.set_attn_implementation("sdpa")
    ids = torch.tensor([prompt])
    options = {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens, "eos_token_id": None}
    whole = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    return tuple(whole[0, len(prompt) :].tolist())


@pytest.mark.parametrize("exact", [True, False])
def test_each_gets_what_generate_gives_it_alone(weights, exact):
    """Whatever the neighbours, their number and lengths, and however a prompt is cut into pieces."""
    asked = prompts(11)
    wanted = [alone(weights, prompt) for prompt in asked]
    engine = engine_of(batch(weights, exact=exact))
    assert [f.result(60).output_ids for f in [ask(engine, prompt) for prompt in asked]] == wanted
    engine.close()


def test_what_is_kept_of_a_dialogue_changes_no_answer(weights):
    """Later turns answer as if all were computed anew, and only what is new is computed."""
    draw = random.Random(1)
    engine = engine_of(batch(weights))
    known: dict[str, int] = {}
    histories = {name: list(prompt) for name, prompt in zip("abcdef", prompts(6, seed=2, most=40), strict=True)}
    for turn in range(3):
        futures = {name: ask(engine, history, dialogue=name) for name, history in histories.items()}
        for name, history in histories.items():
            answer = futures[name].result(60)
            if turn:
                assert answer.usage.cached_tokens == known[name]
            known[name] = len(history) + 7
            history += [*answer.output_ids, *(draw.randrange(VOCABULARY) for _ in range(5))]
    engine.close()
    for history in histories.values():
        assert alone(weights, history[:-13]) == tuple(history[-13:-5])


def test_a_changed_history_is_computed_anew_from_where_it_changed(weights):
    """An answer that was edited, or a dialogue that begins again, gets no keys and values of what was said before."""
    engine = engine_of(batch(weights))
    first = list(prompts(1, seed=3, most=60)[0]) + [5] * 20
    ask(engine, first, dialogue="d").result(60)
    changed = [*first[:9], 77, *first[10:]]
    answer = ask(engine, changed, dialogue="d").result(60)
    engine.close()
    assert answer.usage.cached_tokens == 9
    assert answer.output_ids == alone(weights, changed)


def test_dialogues_with_the_same_instructions_compute_them_once(weights):
    """A new dialogue takes the beginning that it shares from another one, which goes on unharmed."""
    engine = engine_of(batch(weights))
    shared = list(range(100, 150))
    first = ask(engine, [*shared, 1, 2, 3], dialogue="a").result(60)
    other = ask(engine, [*shared, 9, 8, 7], dialogue="b").result(60)
    again = ask(engine, [*shared, 1, 2, 3, *first.output_ids, 4], dialogue="a").result(60)
    engine.close()
    assert other.usage.cached_tokens == len(shared)
    assert other.output_ids == alone(weights, [*shared, 9, 8, 7])
    assert again.output_ids == alone(weights, [*shared, 1, 2, 3, *first.output_ids, 4])


@pytest.mark.parametrize("budget", [0, 200_000])
def test_with_little_memory_less_is_kept_and_nothing_is_wrong(weights, budget):
    """The KV cache gives up idle dialogues, the longest unused first, and grows and moves without mixing rows up."""
    decoder = batch(weights, budget=budget)
    engine = engine_of(decoder)
    asked = [*prompts(9, seed=4, most=30), tuple(range(300)), *prompts(5, seed=5, most=600)]
    answers = [ask(engine, prompt, dialogue=str(i)) for i, prompt in enumerate(asked)]
    found = [answer.result(120).output_ids for answer in answers]
    kept = decoder.kept_tokens
    engine.close()
    assert found == [alone(weights, prompt) for prompt in asked]
    assert kept <= 1024


class Short:
    """A decoder that finds memory short at certain steps."""

    def __init__(self, decoder: Any, fails: set[int]) -> None:
        self._decoder, self._fails, self._step = decoder, fails, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def advance(self, rows: Any) -> Any:
        self._step += 1
        if self._step in self._fails:
            raise MemoryError
        return self._decoder.advance(rows)


def test_memory_pressure_loses_no_dialogue(weights):
    """Out of memory in the middle of answers, fewer are computed at once; every answer is what it would have been."""
    asked = prompts(7, seed=6)
    engine = engine_of(Short(batch(weights), fails={2, 5}))
    found = [answer.result(60).output_ids for answer in [ask(engine, prompt) for prompt in asked]]
    engine.close()
    assert found == [alone(weights, prompt) for prompt in asked]


def test_a_row_that_leaves_harms_none(weights):
    """Rows end at different times, one is cancelled, one fails in its callback; the others get their answers."""
    asked = prompts(4, seed=7)
    engine = engine_of(batch(weights))

    def refuse(text: str) -> None:
        raise OSError("the reader went away")

    request = Request(messages=(), params={"max_tokens": 90}, prompt_ids=asked[0])
    failing = engine.submit(request, refuse)
    cancelled: WorkFuture = engine.submit(request)
    rest = [ask(engine, prompt, max_tokens=n) for n, prompt in zip((1, 4, 8), asked[1:], strict=True)]
    cancelled.cancel()
    assert "the reader went away" in str(failing.exception(60))
    found = [answer.result(60).output_ids for answer in rest]
    engine.close()
    assert found == [alone(weights, prompt)[:n] for n, prompt in zip((1, 4, 8), asked[1:], strict=True)]


def entry_of(**keys: Any) -> dict[str, Any]:
    return {
        "model_name": "smol",
        "backend": "huggingface_local",
        "huggingface_id": str(tiny_folder()),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "max_tokens": 5,
        "threads": 1,
        **keys,
    }


@pytest.mark.parametrize(
    ("keys", "kind", "rows"),
    [
        ({}, "BatchDecoder", 32),
        ({"batch_size": 5}, "BatchDecoder", 5),
        ({"batching": "exact", "batch_size": 3}, "BatchDecoder", 3),
        ({"batching": "single"}, "SingleDecoder", 1),
        ({"batch_size": 1}, "SingleDecoder", 1),
    ],
)
def test_the_entry_says_how_many_are_computed_together(keys, kind, rows):
    """batching and batch_size choose the way; one at a time is transformers' own."""
    with load_model(entry_of(**keys)) as model:
        assert type(model.engine._decoder).__name__ == kind
        assert model.concurrency == rows
        assert model.generate([{"role": "user", "content": "Hello."}]).output_ids


def test_a_batch_size_beside_single_is_refused():
    """Two keys that say opposite things are an error that names them."""
    with pytest.raises(EntryError, match="batching is 'single', so batch_size can't be 4"):
        load_model(entry_of(batching="single", batch_size=4))


def test_a_model_with_a_state_answers_one_at_a_time(tmp_path, caplog):
    """Where rows can't be put together that is said once, and the answers are right all the same."""
    from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4, time_step_rank=2)
    MambaForCausalLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_folder()).save_pretrained(tmp_path)
    with load_model(entry_of(huggingface_id=str(tmp_path))) as model:
        chats = [[{"role": "user", "content": text}] for text in ("One.", "Two, three.")]
        together = [answer.output_ids for answer in model.generate_batch(chats)]
        assert together == [model.generate(chat).output_ids for chat in chats]
    assert "answered one at a time, since MambaForCausalLM" in caplog.text
    gc.collect()


def sliding(tmp_path: Any) -> Any:
    from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MistralConfig(vocab_size=VOCABULARY, num_key_value_heads=2, sliding_window=16, **sizes)
    MistralForCausalLM(config).save_pretrained(tmp_path)
    return AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()


def test_a_sliding_window_is_kept_to(tmp_path):
    """Rows longer than the window of their model get what they get alone, in pieces and from kept turns too."""
    model = sliding(tmp_path)
    asked = prompts(5, seed=8, most=60)
    wanted = [alone(model, prompt) for prompt in asked]
    engine = engine_of(batch(model))
    for _ in range(2):
        assert [f.result(60).output_ids for f in [ask(engine, p, dialogue=str(p)) for p in asked]] == wanted
    engine.close()


def test_real_weights_answer_the_same_together_and_alone():
    """In bfloat16, `exact` gives each of several rows what it gets alone, over two turns."""
    found = []
    for keys in ({"batching": "single"}, {"batching": "exact"}):
        with load_model(entry_of(huggingface_id=str(smollm2_folder()), max_tokens=12, **keys)) as model:
            chats = [[{"role": "user", "content": f"What is a {word}?"}] for word in ("tower", "piano", "river")]
            first = model.generate_batch(chats)
            for chat in chats:
                chat += [{"role": "assistant", "content": "A thing."}, {"role": "user", "content": "Say more."}]
            found.append([a.output_ids for a in [*first, *model.generate_batch(chats)]])
    assert found[0] == found[1]


def bits(model: Any, rowwise: Any, row_threads: Any, prompts: Any) -> list[Any]:
    """The logits of each row's next three tokens, computed as `exact` does for all rows together."""
    from playbill.backends.engines.huggingface_local.batching.kv_cache import KVCache
    from playbill.backends.engines.huggingface_local.batching.packed_attention import ATTENTION, Piece, forward

    model.set_attn_implementation(ATTENTION)
    kv_cache = KVCache(most_kept=0, budget=0)
    slots = [kv_cache.take(None) for _ in prompts]
    kv_cache.reserve(max(map(len, prompts)) + 4)
    steps = [
        torch.cat([forward(model, kv_cache, [Piece(s, p)], row_threads) for s, p in zip(slots, prompts, strict=True)])
    ]
    for token in (7, 8, 9):
        with rowwise.one_each():
            steps.append(forward(model, kv_cache, [Piece(s, [token]) for s in slots], row_threads))
    return steps


def test_exact_rows_have_the_bits_of_a_row_alone():
    """In bfloat16 each number that a row gets beside nineteen others is the one that transformers gives it alone."""
    from transformers import AutoModelForCausalLM

    from playbill.backends.engines.huggingface_local.batching.batch_invariant import RowWise
    from playbill.backends.engines.huggingface_local.batching.packed_attention import register
    from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads

    model = AutoModelForCausalLM.from_pretrained(smollm2_folder(), dtype=torch.bfloat16).eval()
    asked = prompts(20, seed=9, most=90)
    register()
    with torch.inference_mode():
        row_threads = RowThreads(2)
        together = bits(model, RowWise(model, row_threads), row_threads, asked)
        model.set_attn_implementation("sdpa")
        for row, prompt in enumerate(asked):
            ids, given = torch.tensor([prompt]), {}
            for step, token in enumerate((7, 8, 9, 0)):
                output = model(input_ids=ids, use_cache=True, logits_to_keep=1, **given)
                kept = "cache" if "cache" in output else "past_key_values"
                ids, given = torch.tensor([[token]]), {kept: output[kept]}
                assert torch.equal(output.logits[0, -1], together[step][row])


def test_what_is_taken_as_known_changes_no_bit():
    """`exact` takes a beginning from another prompt only where it has the same bits, and says how much it took."""
    entry = entry_of(huggingface_id=str(smollm2_folder()), max_tokens=10, threads=2)
    rules = "Describe the thing that I name, in a few words, and never use its name. " * 12
    chats = [[{"role": "user", "content": f"{rules}\n\nName: {word}"}] for word in ("tower", "piano", "river", "boat")]
    with load_model(entry | {"batching": "exact"}) as model:
        beginnings = model.engine.decoder.beginnings
        together = [model.generate(chat) for chat in chats]
    with load_model(entry | {"batching": "single"}) as model:
        assert [model.generate(chat).output_ids for chat in chats] == [a.output_ids for a in together]
    assert {a.usage.cached_tokens for a in together[1:]} == {max((b for b in beginnings if b < 200), default=0)}


def test_a_closed_engine_leaves_the_model_and_no_thread():
    """Layers computed row by row are as they were, so that nothing holds the weights, and the threads have ended."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder(), dtype=torch.bfloat16).eval()
    decoder = batch(model, exact=True)
    assert [name for name, module in model.named_modules() if "forward" in vars(module)]
    engine = engine_of(decoder)
    futures = [ask(engine, prompt) for prompt in prompts(4, seed=10)]
    assert all(f.result(60).output_ids for f in futures)
    engine.close()
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert not [t.name for t in threading.enumerate() if t.name.startswith("playbill-rows")]
