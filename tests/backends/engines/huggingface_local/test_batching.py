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
from support.smollm2 import tiny_folder

torch = pytest.importorskip("torch")
VOCABULARY = 49152


@pytest.fixture(scope="module")
def weights():
    """The tiny model in float32, where kernels for other numbers of rows agree."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_folder(), dtype=torch.float32).eval()


def engine_of(decoder: Any) -> Any:
    from playbill.backends.engines.huggingface_local.engine import TransformersEngine

    return TransformersEngine(decoder, vocabulary=VOCABULARY, decode=words, facts=dict, threads=1)


def words(ids: Any) -> str:
    """The text of token ids."""
    return "".join(f"{i} " for i in ids)


def batch(model: Any, *, exact: bool = False, pages: int = 40, rows: int = 4, ahead: bool = False) -> Any:
    """A decoder of few rows, whose passes over prompts are small; ``ahead`` as on a GPU, which computes meanwhile."""
    from playbill.backends.engines.huggingface_local.batching.attention import ATTENTION, ROWS, register
    from playbill.backends.engines.huggingface_local.batching.kv_cache import KVCache
    from playbill.backends.engines.huggingface_local.batching.rows import BatchDecoder
    from playbill.backends.engines.huggingface_local.batching.step import Step
    from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads

    register()
    model.set_attn_implementation(ATTENTION)
    step = Step(model, KVCache(pages), ROWS, RowThreads(2), most_rows=rows)
    step.border, step.tokens = 16, (24,)
    if not exact:
        step.rows, step.tokens = tuple(range(1, rows + 1)), tuple(range(1, 25))
    return BatchDecoder(step, exact=exact, ahead=ahead)


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


@pytest.mark.timeout(60)
@pytest.mark.parametrize("sizes", [(4, 24), (4, 17, 40), (24,)])
def test_a_piece_always_finds_a_pass_with_room(weights, sizes):
    """Where a small size has the bits of the largest and those between haven't, no piece between is left over."""
    asked = prompts(3, seed=9, most=20)
    wanted = [alone(weights, prompt) for prompt in asked]
    decoder = batch(weights, exact=True)
    decoder._step.tokens = sizes
    engine = engine_of(decoder)
    assert [ask(engine, prompt).result(20).output_ids for prompt in asked] == wanted
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


@pytest.mark.parametrize("pages", [3, 5])
def test_with_little_memory_less_is_kept_and_nothing_is_wrong(weights, pages):
    """A request waits until the pages that it may need are free; idle dialogues give up theirs, the longest unused
    first, and those that came later don't overtake."""
    engine = engine_of(batch(weights, pages=pages))
    asked = [*prompts(9, seed=4, most=30), tuple(range(300)), *prompts(5, seed=5, most=600)]
    answers = [ask(engine, prompt, dialogue=str(i)) for i, prompt in enumerate(asked)]
    found = [answer.result(120).output_ids for answer in answers]
    kept = engine.decoder.runs
    engine.close()
    assert found == [alone(weights, prompt) for prompt in asked]
    assert sum(run.pages for run in kept) <= pages
    assert not any(run.busy for run in kept)


def test_a_request_that_needs_more_than_there_is_fails_when_it_gets_there(weights):
    """With all pages for itself; a request that asked for more than it needs is answered."""
    engine = engine_of(batch(weights, pages=1))
    long, short = ask(engine, range(250), max_tokens=100), ask(engine, [5, 6, 7], max_tokens=250)
    assert "there is room for 256 tokens of this request" in str(long.exception(60))
    assert len(short.result(60).output_ids) == 250
    engine.close()


class Short:
    """A decoder that finds memory short at certain steps."""

    def __init__(self, decoder: Any, fails: set[int]) -> None:
        self._decoder, self._fails, self._step = decoder, fails, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def advance(self, rows: Any, meanwhile: Any = bool) -> Any:
        self._step += 1
        if self._step in self._fails:
            raise MemoryError
        return self._decoder.advance(rows, meanwhile)


class Broken(Short):
    """A decoder that fails with several rows at certain steps, for no reason of any row's."""

    def advance(self, rows: Any, meanwhile: Any = bool) -> Any:
        self._step += 1
        if self._step in self._fails and len(rows) > 1:
            raise RuntimeError("a kernel failed")
        return self._decoder.advance(rows, meanwhile)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_failed_pass_is_repeated_from_the_prompts(weights, ahead):
    """Each row is computed by itself until it has one more token than before; no text is given out twice."""
    asked = prompts(4, seed=6)
    engine = engine_of(Broken(batch(weights, ahead=ahead), fails={4, 24, 50}))
    told: list[list[str]] = [[] for _ in asked]
    futures = [
        engine.submit(Request(messages=(), params={"max_tokens": 8}, prompt_ids=prompt), pieces.append)
        for prompt, pieces in zip(asked, told, strict=True)
    ]
    found = [future.result(60).output_ids for future in futures]
    engine.close()
    assert found == [alone(weights, prompt) for prompt in asked]
    assert ["".join(pieces) for pieces in told] == [words(ids) for ids in found]


@pytest.mark.parametrize("ahead", [False, True])
def test_memory_pressure_loses_no_dialogue(weights, ahead):
    """Out of memory in the middle of answers, fewer are computed at once; every answer is what it would have been."""
    asked = prompts(7, seed=6)
    engine = engine_of(Short(batch(weights, ahead=ahead), fails={2, 5}))
    found = [answer.result(60).output_ids for answer in [ask(engine, prompt) for prompt in asked]]
    engine.close()
    assert found == [alone(weights, prompt) for prompt in asked]


@pytest.mark.parametrize("ahead", [False, True])
def test_a_row_that_leaves_harms_none(weights, ahead):
    """Rows end at different times, one is cancelled, one fails in its callback; the others get their answers."""
    asked = prompts(4, seed=7)
    engine = engine_of(batch(weights, ahead=ahead))

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


class Steps:
    """A decoder that notes when a step was started, and when its result was waited for."""

    def __init__(self, decoder: Any, noted: list[str]) -> None:
        self._decoder, self._noted = decoder, noted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def advance(self, rows: Any, meanwhile: Any = bool) -> Any:
        def started() -> None:
            self._noted.append("started")
            meanwhile()
            self._noted.append("waited")

        return self._decoder.advance(rows, started)


@pytest.mark.parametrize("ahead", [False, True])
def test_text_is_looked_at_while_a_device_computes(weights, ahead):
    """Where it computes by itself, and only there: stop strings and callbacks come between start and result of the next
    step. Whatever ends a row then, its answer has no token more, and the others have theirs."""
    asked = prompts(3, seed=8)
    wanted = [alone(weights, prompt) for prompt in asked]
    noted: list[str] = []
    engine = engine_of(Steps(batch(weights, ahead=ahead), noted))
    stops = Request(messages=(), params={"max_tokens": 8}, prompt_ids=asked[0], stop_strings=(str(wanted[0][3]),))
    first = engine.submit(stops, lambda text: noted.append("text"))
    rest = [ask(engine, prompt) for prompt in asked[1:]]
    found = first.result(60)
    assert found.output_ids == wanted[0][: wanted[0].index(wanted[0][3]) + 1]
    assert found.stop_string == str(wanted[0][3])
    assert [answer.result(60).output_ids for answer in rest] == wanted[1:]
    engine.close()
    steps = " ".join(noted).replace("started waited", "step")
    assert ("started text" in steps) is ahead
    assert ("step text" in steps) is not ahead


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
        assert type(model.engine.decoder).__name__ == kind
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


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_closed_engine_leaves_the_model_and_no_thread(dtype):
    """Nothing holds the weights, and the threads have ended."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder(), dtype=dtype).eval()
    engine = engine_of(batch(model, exact=True))
    futures = [ask(engine, prompt) for prompt in prompts(4, seed=10)]
    assert all(f.result(60).output_ids for f in futures)
    engine.close()
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert not [t.name for t in threading.enumerate() if t.name.startswith("playbill-rows")]
