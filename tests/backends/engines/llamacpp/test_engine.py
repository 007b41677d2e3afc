"""The llama.cpp engine with real weights: what goes in, what comes out, and what else it must not do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp", reason="the extra llamacpp is not installed")

from playbill.backends import load_model
from playbill.backends.engines.base import Completion, Request
from playbill.backends.engines.llamacpp.sampling import effective_parameters, sampling_body
from playbill.backends.errors import ContextExceeded, EngineError
from playbill.backends.generation import FinishReason, Generation, Outcome
from playbill.backends.loading import load_prompt_path
from playbill.backends.model import Model
from playbill.backends.registry.spec import ModelSpec
from support.gguf_smollm2 import NAME, RULES, entry, gguf, reference, user

QUESTIONS = [
    "Describe a tower without saying the word.",
    "Name three colours.",
    "What do you eat for breakfast?",
    "Guess the word: it is yellow, and you can eat it.",
    "Fill the grid: first row A B _, second row C _ D.",
    "What is your friend's name?",
    "Count from one to ten.",
    "Answer with one word: is water wet?",
]
EMOJI = "Say hello and three emojis 👋 in German"


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with load_model(entry(), dialogues=4) as model:
        yield model


def greedy(model: Model, question: str, tokens: int = 24) -> tuple[int, ...]:
    ids = model.generate(user(question), max_tokens=tokens).output_ids
    assert ids
    return ids


def raw_request(model: Model, text: str, tokens: int = 24, **more: object) -> Request:
    """A request to the engine itself, past what the Model would check or add."""
    assert model.prompt_path is not None
    params = {"temperature": 0.0, "max_tokens": tokens}
    return Request(messages=(), prompt_ids=model.prompt_path.encode(text), params=params, **more)  # type: ignore[arg-type]


def test_preview_gives_the_ids_that_the_loaded_model_gets(model: Model) -> None:
    """`playbill prompt` shows what would be sent, though it loads no weights."""
    _, path = load_prompt_path(entry())
    for question in [*QUESTIONS, EMOJI, "<|im_end|> <|im_start|>x", " two  spaces\n\n", "日本語 ⚡️ naïve"]:
        generation = model.generate(user(question), max_tokens=1)
        assert path.encode(path.render(user(question))) == generation.prompt_ids
    assert path.stops == model.prompt_path.stops


def test_ids_are_those_of_transformers() -> None:
    """The same file's tokenizer in transformers gives the same ids, and the same text back."""
    transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("gguf", reason="the extra hf is not installed")
    theirs = transformers.AutoTokenizer.from_pretrained(gguf().parent, gguf_file=gguf().name)
    _, path = load_prompt_path(entry())
    texts = [path.render(user(text)) for text in [*QUESTIONS, EMOJI, "a\tb\r\n c", "१२३ 日本語 👩‍👩‍👧", "x" * 300]]
    for text in texts:
        ids = theirs.encode(text, add_special_tokens=False)
        assert list(path.encode(text)) == ids
        assert path.decode(ids) == theirs.decode(ids, skip_special_tokens=False) == text


def test_no_special_token_and_no_prompt_is_in_an_answer(model: Model) -> None:
    """The answer is what was generated, without the token that ended it."""
    specials = [model.prompt_path.decode([i]) for i in model.prompt_path.tokenizer.special_ids()]
    for generation in model.generate_batch([user(q) for q in QUESTIONS], max_tokens=60):
        assert generation.outcome in (Outcome.ANSWERED, Outcome.TRUNCATED)
        assert not any(special in generation.text for special in specials)
        assert "helpful AI assistant named SmolLM" not in generation.text
        assert generation.prompt_ids.count(1) == 3  # one <|im_start|> for each of system, user, assistant


def test_an_answer_ends_at_the_end_token_which_stays_in_the_ids(model: Model) -> None:
    generation = model.generate(user("Answer with one word: is water wet?"), max_tokens=200)
    assert generation.outcome is Outcome.ANSWERED
    assert generation.finish_reason is FinishReason.STOP
    assert generation.output_ids[-1] == 2
    assert generation.raw.endswith("<|im_end|>")
    assert not generation.text.endswith("<|im_end|>")


def test_stop_ids_are_shown_with_everyone_who_says_so(model: Model) -> None:
    sources = {stop.text: stop.sources for stop in model.prompt_path.stops.ids}
    assert sources["<|im_end|>"] == ("entry", "gguf eos_token_id", "llama.cpp", "template")
    assert "llama.cpp" in sources["<|endoftext|>"]


def test_greedy_answers_are_the_same_one_by_one_and_together(model: Model) -> None:
    """Neither the number of slots nor what runs beside a request changes its answer."""
    with load_model(entry(), dialogues=1) as single:
        assert single.concurrency == 1
        alone = [greedy(single, question) for question in QUESTIONS]
    together = model.generate_batch([user(q) for q in QUESTIONS], max_tokens=24)
    assert [g.output_ids for g in together] == alone


def test_not_a_bit_of_a_long_dialogue_depends_on_its_company(model: Model) -> None:
    """From 256 tokens on, attention is summed in other orders for one token, few or many, unless it is kept from it."""
    batch = [user(RULES * 3 + question) for question in QUESTIONS[:4]]
    asked = {"max_tokens": 6, "logprobs": 1}
    together = model.generate_batch(batch, **asked)
    with load_model(entry(), dialogues=1) as single:
        alone = [single.generate(messages, **asked) for messages in batch]
    assert len(alone[0].prompt_ids) > 256
    assert [g.details["logprobs"] for g in together] == [g.details["logprobs"] for g in alone]


def test_the_same_prompt_again_gives_the_same_answer(model: Model) -> None:
    """Though it isn't computed again but for its end, and in company or alone."""
    first = model.generate(user(QUESTIONS[3]), max_tokens=16)
    again = model.generate_batch([user(QUESTIONS[3]), user(QUESTIONS[4])], max_tokens=16)[0]
    assert again.output_ids == first.output_ids
    assert len(first.prompt_ids) > again.usage.cached_tokens >= len(first.prompt_ids) - 8


def test_what_dialogues_begin_alike_with_is_computed_once_and_changes_no_bit() -> None:
    """The common instructions cost their tokens about once, not once a dialogue, and each answers as it does alone."""
    batch = [user(RULES + question) for question in QUESTIONS[:4]]
    asked = {"max_tokens": 6, "logprobs": 1}
    with load_model(entry(), dialogues=4) as model:
        answers = model.generate_batch(batch, **asked)
    assert all(a.outcome in ("answered", "truncated") for a in answers)
    assert _computed(answers) < 2.6 * len(answers[0].prompt_ids)
    for messages, answer in zip(batch, answers, strict=True):
        with load_model(entry(), dialogues=1) as single:
            alone = single.generate(messages, **asked)
        assert (alone.output_ids, alone.details["logprobs"]) == (answer.output_ids, answer.details["logprobs"])


def test_what_dialogues_begin_alike_with_is_each_ones_own_where_the_entry_says_so() -> None:
    batch = [user(RULES + question) for question in QUESTIONS[:2]]
    with load_model(entry(prefix_caching=False), dialogues=4) as model:
        answers = model.generate_batch(batch, max_tokens=6)
    assert _computed(answers) == sum(len(a.prompt_ids) for a in answers)


def _computed(answers: Sequence[Generation]) -> int:
    return sum(a.usage.input_tokens - a.usage.cached_tokens for a in answers)


def test_an_arbitrary_token_ends_an_answer(model: Model) -> None:
    """Also one that is no end token for llama.cpp; it stays in the ids, and the stream doesn't show it."""
    text = model.prompt_path.render(user(QUESTIONS[0]))
    whole = model.engine.submit(raw_request(model, text)).result().output_ids
    for place in (0, 3, 11):
        stop = whole[place]
        request = raw_request(model, text, stop_ids=frozenset({stop}))
        shown: list[str] = []
        for completion in (
            model.engine.submit(request).result(),
            model.engine.submit(request, shown.append).result(),
        ):
            assert completion.output_ids == whole[: whole.index(stop) + 1]
            assert completion.finish_reason is FinishReason.STOP
            assert completion.stop_string is None
        assert "".join(shown) == model.prompt_path.decode(whole[: whole.index(stop)])


def test_a_special_token_that_llama_cpp_goes_on_after_ends_an_answer(model: Model) -> None:
    """After a finished turn the model opens the next one; asked to stop at <|im_start|>, it does."""
    text = "<|im_start|>user\nHello<|im_end|>\n"
    goes_on = model.engine.submit(raw_request(model, text)).result()
    assert 1 in goes_on.output_ids[:-1]
    stopped = model.engine.submit(raw_request(model, text, stop_ids=frozenset({1}))).result()
    assert stopped.output_ids == goes_on.output_ids[: goes_on.output_ids.index(1) + 1]
    assert stopped.stop_string is None


def test_stop_strings_cut_across_token_borders(model: Model) -> None:
    """The text ends just before the string, wherever the tokens' borders are."""
    whole = model.generate(user(QUESTIONS[0]), max_tokens=30)
    pieces = [model.prompt_path.decode([i]) for i in whole.output_ids]
    across = (pieces[4] + pieces[5] + pieces[6])[1:-1]
    assert all(across not in piece for piece in pieces)
    for generation in (
        model.generate(user(QUESTIONS[0]), max_tokens=30, stop=across),
        (stream := model.stream(user(QUESTIONS[0]), max_tokens=30, stop=across)).generation,
    ):
        assert generation.text == whole.raw[: whole.raw.index(across)].strip()
        assert generation.outcome is Outcome.ANSWERED
        assert generation.details["stop_string"] == across
    assert "".join(stream) == generation.text


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 5, 6, 7, 23])
def test_a_stream_gives_the_ids_and_text_of_the_whole_answer(model: Model, tokens: int) -> None:
    """Also where characters are split over tokens, of which llama.cpp's stream leaves ids out, and are cut."""
    whole = model.generate(user(EMOJI), max_tokens=tokens)
    stream = model.stream(user(EMOJI), max_tokens=tokens)
    text = "".join(stream)
    assert stream.generation.output_ids == whole.output_ids
    assert stream.generation.finish_reason == whole.finish_reason
    assert text == stream.generation.text == whole.text
    assert "uncertain_ids" not in stream.generation.details


def test_a_stream_shows_what_looked_like_the_beginning_of_a_stop_string(model: Model) -> None:
    """Held back until it is sure, and then not lost when the answer is cut there."""
    whole = model.generate(user(QUESTIONS[1]), max_tokens=8)
    stream = model.stream(user(QUESTIONS[1]), max_tokens=8, stop=whole.raw[-3:] + "\N{SNOWMAN}")
    assert "".join(stream) == whole.text


def test_a_prompt_too_long_fails_alone(model: Model) -> None:
    """Its neighbours' answers are what they are without it."""
    alone = [greedy(model, question) for question in QUESTIONS[:3]]
    long = raw_request(model, "word " * 3000)
    neighbours = [model.submit(user(q), max_tokens=24) for q in QUESTIONS[:3]]
    with pytest.raises(ContextExceeded, match=r"300\d tokens.*1024"):
        model.engine.submit(long).result()
    assert [n.result().output_ids for n in neighbours] == alone
    generation = model.generate(user("word " * 3000))
    assert generation.outcome is Outcome.CONTEXT_EXCEEDED


def test_a_malformed_request_is_an_error_of_that_request(model: Model) -> None:
    request = Request(messages=(), prompt_ids=(10**8,), params={"temperature": 0.0, "max_tokens": 5})
    for on_text in (None, print):
        with pytest.raises(EngineError, match="invalid tokens"):
            model.engine.submit(request, on_text).result()


def test_cancelling_frees_the_engine() -> None:
    """With one slot, and answers that would take hours, the next request is answered all the same."""
    with load_model(entry(n_ctx=8192), dialogues=1) as model:
        endless = raw_request(model, "One, two, three,", 8000, stop_strings=("\N{SNOWMAN}",))
        started: Future[str] = Future()
        running = model.engine.submit(endless, lambda text: started.done() or started.set_result(text))
        queued = model.engine.submit(endless)
        started.result()
        running.cancel()
        queued.cancel()
        assert greedy(model, QUESTIONS[0], 4)
        silent = model.engine.submit(endless)
        while not silent.running():
            pass
        silent.cancel()
        assert greedy(model, QUESTIONS[0], 4)
        assert all(_ended(future) for future in (running, queued, silent))


def _ended(future: Future[Completion]) -> bool:
    try:
        future.result()
    except (CancelledError, EngineError):
        return True
    return False


def test_a_closed_model_answers_no_more() -> None:
    model = load_model(entry(), dialogues=1)
    model.close()
    model.close()
    with pytest.raises(EngineError, match="closed"):
        model.generate_response(user("Hello"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_port_is_open_and_the_socket_is_the_users_alone(model: Model) -> None:
    """llama.cpp's HTTP server can't be reached by other users, nor over the network."""
    open_files = [os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    mine = {found[1] for file in open_files if (found := re.fullmatch(r"socket:\[(\d+)\]", file))}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, _, _, state, *_, inode = line.split()[:10]
            assert not (state == "0A" and inode in mine), f"a port is open: {line}"
    listening = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if "llama.sock" in line]
    assert listening
    for path in map(Path, listening):
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_socket_is_gone_after_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with load_model(entry(), dialogues=1):
        assert list(tmp_path.rglob("*.sock"))
    assert not list(tmp_path.iterdir())


def test_the_cache_keeps_a_dialogues_earlier_turns(model: Model) -> None:
    """What a dialogue's next turn repeats isn't computed again, and the usage says so."""
    first = user("Describe a tower in one sentence. " + "Do not use the letter e. " * 10)
    answer = model.generate(first, max_tokens=10)
    second = [*first, {"role": "assistant", "content": answer.text}, {"role": "user", "content": "Another one."}]
    usage = model.generate(second, max_tokens=2).usage
    assert usage.input_tokens > usage.cached_tokens >= len(answer.prompt_ids) - 1


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7, "top_k": 20},
        {"temperature": 1.3, "top_k": 50, "top_p": 0.8},
        {"temperature": 1.0, "top_k": 50, "min_p": 0.1},
        {"temperature": 0.9, "top_k": 30, "top_p": 0.9, "min_p": 0.05},
        {"temperature": 1.0, "top_k": 20, "presence_penalty": 1.5, "frequency_penalty": 0.5},
    ],
    ids=str,
)
def test_what_is_drawn_from_is_what_the_settings_say(model: Model, settings: dict[str, float]) -> None:
    """The distribution after sampling is what transformers' own processors leave of the one before it."""
    torch = pytest.importorskip("torch")
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    prompt = list(model.generate(user("Say: apple apple apple"), max_tokens=1).prompt_ids)
    body = {**sampling_body(effective_parameters({**settings, "seed": 1}), len(prompt), 1), "prompt": prompt}
    asked = [{**body, "n_probs": 400}, {**body, "n_probs": 400, "post_sampling_probs": True}]
    before, after = (
        model.engine.server.post("/completion", each, lambda: False)["completion_probabilities"][0] for each in asked
    )
    scores = torch.full((1, len(model.prompt_path.tokenizer.vocabulary.texts)), -60.0)
    for each in before["top_logprobs"]:
        count = prompt.count(each["id"])
        penalty = settings.get("presence_penalty", 0) * (count > 0) + settings.get("frequency_penalty", 0) * count
        scores[0, each["id"]] = each["logprob"] - penalty
    processors = {
        "temperature": TemperatureLogitsWarper,
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
    }
    for name, make in processors.items():
        scores = make(settings[name])(None, scores) if name in settings else scores
    wanted = scores[0].softmax(-1)
    found = {each["id"]: each["prob"] for each in after["top_probs"] if each["prob"] > 0}
    assert found == pytest.approx({int(i): float(wanted[i]) for i in wanted.nonzero()}, abs=1e-3)


def test_nothing_of_llama_cpps_own_defaults_is_in_effect(model: Model) -> None:
    """Of all samplers that it knows those alone are used that were asked for, and its settings are ours."""
    body = {**sampling_body(effective_parameters({"temperature": 0.7}), 1, 1), "prompt": [1]}
    settings = model.engine.server.post("/completion", body, lambda: False)["generation_settings"]
    off = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0, "presence_penalty": 0.0}
    off |= {"frequency_penalty": 0.0, "mirostat": 0, "dynatemp_range": 0.0, "logit_bias": [], "grammar": ""}
    assert {name: settings[name] for name in off} == off
    assert settings["samplers"] == ["penalties", "temperature", "top_k", "top_p", "min_p"]
    assert settings["temperature"] == pytest.approx(0.7)


@pytest.mark.parametrize("off", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
def test_each_sampler_is_in_effect(model: Model, off: dict[str, float]) -> None:
    """At a high temperature an answer is noise, unless top_k, top_p or min_p leaves but the likeliest token."""
    best = greedy(model, QUESTIONS[0], 12)
    hot = {"temperature": 5.0, "seed": 7, "max_tokens": 12}
    assert model.generate(user(QUESTIONS[0]), **hot).output_ids != best
    if "top_p" in off or "min_p" in off:  # they look at probabilities after the temperature
        hot["temperature"] = 1.5
    assert model.generate(user(QUESTIONS[0]), **hot, **off).output_ids == best


@pytest.mark.parametrize(
    "penalty", [{"repetition_penalty": 3.0}, {"presence_penalty": 5.0}, {"frequency_penalty": 5.0}]
)
def test_each_penalty_is_in_effect(model: Model, penalty: dict[str, float]) -> None:
    question = user("Repeat the word tower ten times.")
    assert (
        model.generate(question, max_tokens=30, **penalty).output_ids
        != model.generate(question, max_tokens=30).output_ids
    )


@pytest.mark.parametrize(
    "penalty", [{"repetition_penalty": 1.5}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}]
)
def test_penalties_count_the_prompt_as_well(model: Model, penalty: dict[str, float]) -> None:
    """As llama.cpp has it for all three; elsewhere presence and frequency are those of the answer alone."""
    apple = model.prompt_path.encode(" apple")
    prompt = (*model.generate(user("Say: apple apple apple"), max_tokens=1).prompt_ids, *apple * 8)
    first = [
        model.engine.submit(
            Request(messages=(), params={"temperature": 0.0, "max_tokens": 1, **more}, prompt_ids=prompt)
        )
        .result()
        .output_ids
        for more in ({}, penalty)
    ]
    assert first[0] == apple != first[1]


def test_a_seed_repeats_an_answer_and_the_drawn_one_is_recorded(model: Model) -> None:
    first = model.generate(user(QUESTIONS[0]), temperature=1.0, max_tokens=16)
    seed = first.params.effective["seed"]
    again = model.generate(user(QUESTIONS[0]), temperature=1.0, max_tokens=16, seed=seed)
    other = model.generate(user(QUESTIONS[0]), temperature=1.0, max_tokens=16, seed=seed + 1)
    assert again.output_ids == first.output_ids != other.output_ids
    large = model.generate(user(QUESTIONS[0]), temperature=1.0, max_tokens=1, seed=2**40)
    assert large.params.effective["seed"] == 2**40 % (2**32 - 1), "llama.cpp takes 32 bits"


def test_every_sampler_is_recorded_as_effective(model: Model) -> None:
    """llama.cpp's own defaults, such as top_k 40, are overridden, and the record says by what."""
    effective = model.generate(user(QUESTIONS[0]), max_tokens=1).params.effective
    off = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    assert {**effective, **off, "temperature": 0.0} == effective


def test_logprobs_stand_beside_the_ids(model: Model) -> None:
    """One place for each token, with its own bytes; llama.cpp has no number for those within a character."""
    generation = model.generate(user(EMOJI), max_tokens=6, logprobs=2)
    reported = generation.details["logprobs"]
    ids = generation.output_ids
    assert tuple(each["id"] for each in reported) == ids
    assert [each["logprob"] is None for each in reported] == [True, True, False, True, True, False]
    whole = b"".join(bytes(each.get("bytes") or each["token"].encode()) for each in reported)
    assert whole.decode() == generation.raw
    assert "\ufffd" not in generation.raw
    assert reported[2]["logprob"] == reported[2]["top"][0]["logprob"] <= 0
    assert len(reported[2]["top"]) == 2


def test_the_packaged_name_is_enough() -> None:
    """The registry's demo model is found by name, and its weights' hash is a fact of the engine."""
    gguf()
    with load_model(NAME, n_ctx=512, dialogues=2) as model:
        assert model.generate(user("Hello!"), max_tokens=5).text
        facts = model.engine.facts()
    assert facts["weights"] == [{"file": gguf().name, "sha256": reference().partition("sha256=")[2]}]
    assert (facts["n_ctx"], facts["slots"]) == (512, 2)
    assert facts["kernels"]["keys"] != facts["kernels"]["values"]
    assert facts["xllamacpp"]


CLOSED_AT_WORK = """
import sys, json, time
from playbill.backends import load_model

with load_model(json.loads(sys.argv[1]), dialogues=4) as model:
    futures = [model.submit([{"role": "user", "content": f"Count to {n}."}], max_tokens=2000) for n in range(4)]
    time.sleep(1)
print("closed")
"""


def test_closing_in_the_middle_of_work_ends() -> None:
    """A model closed while it generates, as by Ctrl-C, gives up what is under way and lets the process end."""
    command = [sys.executable, "-c", CLOSED_AT_WORK, json.dumps(entry())]
    assert subprocess.run(command, capture_output=True, text=True, timeout=120).stdout == "closed\n"


class TestThinking:
    """Budgets of thinking and answer; a word of an answer plays the tag that ends thinking."""

    def thinking(self, model: Model, **keys: object) -> Model:
        """The loaded engine, under an entry of a model that thinks."""
        assert model.prompt_path is not None
        return Model(ModelSpec.from_dict(entry(**keys)), model.engine, model.prompt_path, "llamacpp")

    def test_thinking_and_answer_are_counted_apart(self, model: Model) -> None:
        """The whole is what it is without tags; each part is as long as it may be, and no longer."""
        whole = model.generate(user(QUESTIONS[0]), max_tokens=24)
        pieces = [model.prompt_path.decode([i]) for i in whole.output_ids]
        place = next(i for i in range(5, 20) if "".join(pieces).count(pieces[i]) == 1)
        thinks = self.thinking(model, cot_end_tag=pieces[place])
        cut = thinks.generate(user(QUESTIONS[0]), max_tokens=24, max_thinking_tokens=place)
        assert cut.outcome is Outcome.TRUNCATED_IN_THINKING
        assert (cut.output_ids, cut.text) == (whole.output_ids[:place], "")
        assert cut.usage.thinking_tokens == place
        assert cut.finish_reason_raw == "max_thinking_tokens"
        both = thinks.generate(user(QUESTIONS[0]), max_tokens=2, max_thinking_tokens=place + 1)
        assert both.outcome is Outcome.TRUNCATED
        assert both.output_ids == whole.output_ids[: place + 3]
        assert both.thinking == "".join(pieces[:place]).strip()
        assert both.text == "".join(pieces[place + 1 : place + 3]).strip()
        assert both.finish_reason_raw == "max_tokens"

    def test_a_budget_may_end_inside_of_a_character(self, model: Model) -> None:
        """Of which llama.cpp's stream says nothing until it is whole."""
        whole = model.generate(user(EMOJI), max_tokens=8).output_ids
        thinks = self.thinking(model, cot_end_tag="</think>")
        budgets = range(1, 7)
        futures = [thinks.submit(user(EMOJI), max_tokens=3, max_thinking_tokens=budget) for budget in budgets]
        for budget, cut in zip(budgets, (future.result() for future in futures), strict=True):
            assert (cut.output_ids, cut.usage.thinking_tokens) == (whole[:budget], budget)
