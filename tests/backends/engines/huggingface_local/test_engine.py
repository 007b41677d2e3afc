"""The engine of huggingface_local with real weights: the same ids as transformers', exact ends, and no harm done."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import CancelledError
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from playbill.backends import EntryError, Outcome, PlaybillError, WeightsError, load_model
from playbill.backends.credentials import Credentials
from playbill.backends.engines import huggingface_local
from playbill.backends.engines.base import Context, Request
from playbill.backends.errors import EngineError
from playbill.serve.chat_reply import Reply
from support.smollm2 import GGUF, gguf_folder, smollm2_folder, tiny_folder

QUESTIONS = [
    "Describe the word 'tower' without saying it.",
    "What is the capital of France?",
    "Write three words that rhyme with 'cat'.",
    "My secret is the number 7. What is my secret?",
]
CHATS = [[{"role": "user", "content": text}] for text in QUESTIONS]


def entry_of(folder: Path, **keys: Any) -> dict[str, Any]:
    return {
        "model_name": "smol",
        "backend": "huggingface_local",
        "huggingface_id": str(folder),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "threads": 2,
        **keys,
    }


@pytest.fixture(scope="module")
def smol():
    with load_model(entry_of(smollm2_folder(), max_tokens=40)) as model:
        yield model


@pytest.fixture(scope="module")
def tiny():
    with load_model(entry_of(tiny_folder(), max_tokens=12)) as model:
        yield model


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the tiny model, for tests to change."""
    return Path(shutil.copytree(tiny_folder(), tmp_path / "model"))


def change(folder: Path, file: str, **values: Any) -> None:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("keys", [{"dtype": "float32"}, {"batching": "single"}], ids=str)
def test_greedy_answers_are_those_of_transformers_own_generate(keys):
    """For real weights and several prompts the new ids are those of `generate` with do_sample=False: in float32 those
    of all together, in the weights' bfloat16 those of one at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = keys.get("dtype", "auto")
    peer = AutoModelForCausalLM.from_pretrained(smollm2_folder(), dtype=dtype).eval()
    with load_model(entry_of(smollm2_folder(), max_tokens=24, **keys)) as model:
        answers = model.generate_batch(CHATS)
    for answer in answers:
        ids = torch.tensor([answer.prompt_ids])
        whole = peer.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24)[0].tolist()
        assert list(answer.output_ids) == whole[len(answer.prompt_ids) :]


def test_no_special_token_and_no_prompt_is_in_any_answer(smol):
    """Texts are clean, prompts begin with one BOS only, and what was culled is kept in raw."""
    special = smol.prompt_path.tokenizer.special_ids()
    for answer in smol.generate_batch(CHATS):
        assert answer.text
        assert not [t for t in special if smol.prompt_path.decode([t]) in answer.text]
        assert answer.prompt not in answer.raw
        assert answer.prompt_ids.count(1) == 3, "system, user, assistant: one <|im_start|> each"
        assert answer.raw.endswith("<|im_end|>") is (answer.outcome is Outcome.ANSWERED)


def test_a_batch_gives_what_each_gives_alone(tiny):
    """An answer does not depend on what else is being answered."""
    alone = [tiny.generate(chat).output_ids for chat in CHATS]
    assert [answer.output_ids for answer in tiny.generate_batch(CHATS)] == alone


def test_logprobs_are_those_of_the_models_own_distribution(tiny):
    """Token by token the log softmax of a plain forward pass, whatever the sampling, the batch and the places asked."""
    import torch
    from transformers import AutoModelForCausalLM

    peer = AutoModelForCausalLM.from_pretrained(tiny_folder(), dtype=torch.float32).eval()
    hot = {"temperature": 1.5, "seed": 4, "top_k": 3, "repetition_penalty": 1.5, "logprobs": 4, "max_tokens": 6}
    for answer in [*tiny.generate_batch(CHATS, **hot), tiny.generate(CHATS[0], logprobs=4, max_tokens=6)]:
        whole = [*answer.prompt_ids, *answer.output_ids]
        with torch.inference_mode():
            logits = peer(torch.tensor([whole])).logits[0, len(answer.prompt_ids) - 1 : -1]
        reported = answer.details["logprobs"]
        assert [each["id"] for each in reported] == list(answer.output_ids)
        for each, wanted in zip(reported, logits.log_softmax(-1), strict=True):
            assert each["logprob"] == pytest.approx(float(wanted[each["id"]]), abs=1e-4)
            values, ids = wanted.topk(4)
            assert [t["id"] for t in each["top"]] == ids.tolist()
            assert [t["logprob"] for t in each["top"]] == pytest.approx(values.tolist(), abs=1e-4)
    assert "logprobs" not in tiny.generate(CHATS[0], max_tokens=1).details


def test_logprobs_are_served_in_the_form_of_openai(tiny):
    """A place for each new token, with the texts of tokens; together they are the raw text."""
    answer = tiny.generate(CHATS[0], logprobs=2, max_tokens=5)
    places = Reply("tiny", tiny.prompt_path.decode).whole(answer)["choices"][0]["logprobs"]["content"]
    assert "".join(place["token"] for place in places) == answer.raw
    assert all(place["top_logprobs"][0]["token"] == place["token"] for place in places), "greedy"
    assert [len(place["top_logprobs"]) for place in places] == [2] * 5


def test_log_probabilities_say_a_tokens_text_and_the_bytes_that_are_no_text(tiny):
    """A character of four bytes is several tokens; their bytes together are the character's."""
    path = tiny.prompt_path
    text = "Hé, 🎭 wörld 日本<|im_end|>"
    found = [path.token_bytes(token) for token in path.encode(text)]
    assert b"".join(found) == text.encode()
    assert any(b"\xf0" in each and b"\xad" not in each for each in found), "a part of a character"
    answer = tiny.generate(CHATS[0], logprobs=2, max_tokens=5)
    for place in answer.details["logprobs"]:
        for each in (place, *place["top"]):
            content = path.token_bytes(each["id"])
            assert each["token"] == content.decode("utf-8", "replace")
            assert bytes(each.get("bytes", each["token"].encode())) == content


def test_every_sampler_is_recorded_as_effective(tiny):
    """What nobody asked for is off, and the record says so; the repository's recommendation changes nothing."""
    effective = tiny.generate(CHATS[0], max_tokens=1, top_p=0.5).params.effective
    off = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    assert effective == {"temperature": 0.0, "max_tokens": 1, "top_p": 0.5, **off}


def test_the_generation_ends_after_any_stop_id_and_keeps_it(tiny):
    """A stop id may be any token, not only a special one; it is the last of the new ids."""
    prompt = tiny.generate(CHATS[0])
    for place, token in enumerate(prompt.output_ids):
        first = prompt.output_ids.index(token)
        request = Request(
            messages=(), params={"max_tokens": 12}, prompt_ids=prompt.prompt_ids, stop_ids=frozenset({token})
        )
        done = tiny.engine.submit(request).result()
        assert done.output_ids == prompt.output_ids[: first + 1], place
        assert done.finish_reason == "stop"


def test_max_tokens_is_exact_and_truncation_is_an_outcome(tiny):
    """As many tokens as asked come back, and the outcome says that the answer was cut."""
    for limit in (1, 2, 7):
        answer = tiny.generate(CHATS[0], max_tokens=limit)
        assert len(answer.output_ids) == limit == answer.usage.output_tokens
        assert answer.outcome is Outcome.TRUNCATED


def test_a_stop_string_cuts_exactly_across_token_borders(smol):
    """The answer ends before the text that was asked for, wherever its tokens begin and end."""
    whole = smol.generate(CHATS[1]).text
    for start, end in ((3, 9), (10, 11), (5, 20)):
        stop = whole[start:end]
        answer = smol.generate(CHATS[1], stop=stop)
        assert answer.text == whole[: whole.index(stop)].strip()
        assert answer.outcome is Outcome.ANSWERED
        assert answer.details["stop_string"] == stop


def test_streamed_pieces_are_the_answer(smol):
    """What is streamed is the text without end tokens and without the stop string, in whole characters."""
    whole = smol.generate(CHATS[0])
    stream = smol.stream(CHATS[0])
    assert "".join(stream) == whole.text
    stopped = smol.stream(CHATS[0], stop=whole.text[15:19])
    assert "".join(stopped) == whole.text[: whole.text.index(whole.text[15:19])]
    assert stopped.generation.text == "".join(stopped).strip() or stopped.generation.text


def test_a_seed_repeats_an_answer_alone_and_among_others(tiny):
    """Sampling has a generator of its own per request; the seed that was drawn is recorded, and repeats it."""
    drawn = tiny.generate(CHATS[0], temperature=1.0)
    seed = drawn.params.effective["seed"]
    again = tiny.generate(CHATS[0], temperature=1.0, seed=seed)
    among = tiny.generate_batch([CHATS[0]] * 3, temperature=1.0, seed=seed)
    assert {a.output_ids for a in (again, *among)} == {drawn.output_ids}
    assert tiny.generate(CHATS[0], temperature=1.0, seed=seed + 1).output_ids != drawn.output_ids


def test_the_repositorys_sampling_does_not_leak_in(folder, tiny):
    """A generation_config.json that samples and penalises changes nothing, unless the entry says repo."""
    change(folder, "generation_config.json", do_sample=True, temperature=0.7, top_k=5, repetition_penalty=9.0)
    with load_model(entry_of(folder, max_tokens=12)) as model:
        assert model.generate(CHATS[0]).output_ids == tiny.generate(CHATS[0]).output_ids
    with load_model(entry_of(folder, max_tokens=12, generation_config="repo")) as model:
        answer = model.generate(CHATS[0], top_k=7)
    wanted = {"temperature": 0.7, "top_k": 7, "repetition_penalty": 9.0}
    assert answer.params.asked == {**wanted, "max_tokens": 12}
    assert answer.output_ids != tiny.generate(CHATS[0]).output_ids


def test_what_the_entry_culls_and_splits_at_is_done(tiny):
    """eos_to_cull ends and leaves the answer; output_split_prefix keeps what follows it."""
    words = tiny.generate(CHATS[0]).text
    middle = words[4:9]
    with load_model(entry_of(tiny_folder(), max_tokens=12, eos_to_cull=["<|im_end|>", middle])) as model:
        assert model.generate(CHATS[0]).text == words[: words.index(middle)].strip()
    with load_model(entry_of(tiny_folder(), max_tokens=12, output_split_prefix=middle)) as model:
        assert model.generate(CHATS[0]).text == words.rpartition(middle)[2].strip()


def test_a_cancelled_request_stops_between_tokens(tiny):
    """Cancelling ends the work at the next token, and others go on."""
    started = threading.Event()
    future = tiny.submit(CHATS[0], max_tokens=8000, on_text=lambda _: started.set())
    waiting = tiny.submit(CHATS[1])
    assert started.wait(60)
    future.cancel()
    assert waiting.result(60).output_ids == tiny.generate(CHATS[1]).output_ids
    with pytest.raises(CancelledError):
        future.result(60)


def test_a_failing_request_harms_no_other(tiny):
    """A callback that raises and ids that the model doesn't know fail alone, with a message that says why."""

    def refuse(text: str) -> None:
        raise OSError("the reader went away")

    request = Request(messages=(), params={"max_tokens": 3}, prompt_ids=(1, 2, 3))
    failing = tiny.engine.submit(request, refuse)
    fine = tiny.engine.submit(request)
    with pytest.raises(EngineError, match="the reader went away"):
        failing.result(60)
    assert len(fine.result(60).output_ids) == 3
    with pytest.raises(EngineError, match="token id 49152, but the model knows only 0 to 49151"):
        tiny.engine.submit(Request(messages=(), params={"max_tokens": 3}, prompt_ids=(1, 49152)))


class Scarce:
    """A decoder of a machine with little memory: more than ``room`` rows at once don't fit, nor does ``poison``."""

    most_rows = 4
    ahead = False

    def __init__(self, decoder: Any, room: int, poison: int) -> None:
        self.decoder, self.room, self.poison = decoder, room, poison

    def advance(self, rows: Sequence[Any], meanwhile: Any = bool) -> Any:
        if len(rows) > self.room:
            raise MemoryError
        if any(row.ids[0] == self.poison for row in rows):
            raise IndexError("a bad row")
        return self.decoder.advance(rows, meanwhile)

    def forget(self, row: Any) -> None:
        self.decoder.forget(row)

    def finish(self, row: Any) -> None:
        self.decoder.finish(row)

    def close(self):
        return

    def make_room(self) -> bool:
        return self.decoder.make_room()


def test_out_of_memory_makes_smaller_batches_and_loses_nothing(caplog):
    """Rows that don't fit together are computed in smaller numbers, with the same answers; a bad one fails alone."""
    import torch
    from transformers import AutoModelForCausalLM

    from playbill.backends.engines.huggingface_local.decoder import SingleDecoder
    from playbill.backends.engines.huggingface_local.engine import TransformersEngine

    decoder = SingleDecoder(AutoModelForCausalLM.from_pretrained(tiny_folder(), dtype=torch.float32).eval())
    outcomes = []
    for each in (decoder, Scarce(decoder, room=1, poison=9)):
        engine = TransformersEngine(each, vocabulary=49152, decode=str, facts=dict, threads=2)
        prompts = [(5, 6, 7), (8, 1), (9, 9, 9), (7, 7, 7, 7), (4,)]
        futures = [
            engine.submit(Request(messages=(), params={"max_tokens": 5}, prompt_ids=prompt)) for prompt in prompts
        ]
        outcomes.append([future.exception(60) or future.result().output_ids for future in futures])
        engine.close()
    plain, scarce = outcomes
    assert "a bad row" in str(scarce.pop(2))
    del plain[2]
    assert scarce == plain
    assert "out of memory with 4 requests at once" in caplog.text


def alive() -> list:
    """The models in this process."""
    from transformers import LlamaForCausalLM

    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, LlamaForCausalLM)]


def test_closing_ends_everything_and_frees_the_weights():
    """Requests that are left end in an error, as do later ones; the thread ends, and the weights are gone."""
    before = alive()
    model = load_model(entry_of(tiny_folder(), max_tokens=8000))
    weights = [weakref.ref(found) for found in alive() if not any(found is other for other in before)]
    threads = set(threading.enumerate())
    assert len(weights) == 1
    before.clear()
    running, waiting = model.submit(CHATS[0]), model.submit(CHATS[1])
    model.close()
    model.close()
    for future in (running, waiting):
        assert future.result(60).outcome is Outcome.ERROR
        assert "closed" in future.result().error["message"]
    assert model.generate(CHATS[0]).outcome is Outcome.ERROR
    gc.collect()
    assert weights[0]() is None
    ended = threads - set(threading.enumerate())
    assert "playbill-huggingface_local" in [t.name for t in ended]


def test_the_facts_say_what_would_repeat_the_answers(tiny, folder):
    """Versions, hashes of weights and configuration, number format, device, threads and attention are stated."""
    import torch
    import transformers

    facts = tiny.engine.facts()
    assert facts["transformers"] == transformers.__version__
    assert facts["torch"] == torch.__version__
    assert set(facts["sha256"]) == {"config.json", "model.safetensors"}
    assert {k: facts[k] for k in ("dtype", "device", "threads")} == {"dtype": "float32", "device": "cpu", "threads": 2}
    assert facts["tokenizer"]["slow"] is False
    change(folder, "config.json", rope_theta=5.0)
    with load_model(entry_of(folder)) as other:
        assert other.engine.facts()["sha256"]["config.json"] != facts["sha256"]["config.json"]


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}, None])
def test_number_format_device_and_threads_are_as_asked(device_map):
    """dtype, device_map and threads reach the model; on one device no accelerate is needed."""
    with load_model(entry_of(tiny_folder(), dtype="bfloat16", device_map=device_map, threads=1)) as model:
        facts = model.engine.facts()
        assert (facts["dtype"], facts["device"], facts["threads"]) == ("bfloat16", "cpu", 1)


def test_a_gguf_file_is_dequantized_and_answers():
    """With gguf_file the weights are plain ones, and the answer is a real one."""
    with load_model(entry_of(gguf_folder(), gguf_file=GGUF, max_tokens=20)) as model:
        assert "Paris" in model.generate(CHATS[1]).text
        assert model.engine.facts()["sha256"].keys() == {GGUF}


def test_remote_code_runs_only_with_the_callers_consent(folder):
    """An entry may ask for the repository's code; without the caller's yes the load names the option."""
    code = (
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own_llama'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    (folder / "own.py").write_text(code)
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    change(folder, "config.json", model_type="own_llama", auto_map=auto_map)
    asking = entry_of(folder, trust_remote_code=True, max_tokens=3)
    with pytest.raises(EntryError, match="--trust-remote-code"):
        load_model(asking)
    with pytest.raises(EntryError, match='set "trust_remote_code": true in the entry'):
        load_model(entry_of(folder), trust_remote_code=True)
    with load_model(asking, trust_remote_code=True) as model:
        assert model.engine.facts()["class"] == "OwnModel"
        assert len(model.generate(CHATS[0]).output_ids) == 3


def test_weights_that_are_not_whole_are_refused(folder, caplog):
    """A checkpoint that lacks tensors would answer with random ones; that is an error, and too many a warning."""
    change(folder, "config.json", num_hidden_layers=3)
    with pytest.raises(WeightsError, match=r"lack 9 of the model's tensors \(model\.layers\.2"):
        load_model(entry_of(folder))
    change(folder, "config.json", num_hidden_layers=1)
    load_model(entry_of(folder)).close()
    assert "9 tensors of" in caplog.text
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="can't load the weights"):
        load_model(entry_of(folder))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"revision": "main"}, "a local folder has no revisions"),
        ({"device_map": "gpu0"}, "device_map 'gpu0' is no device"),
        ({"huggingface_id": "/nowhere/at/all"}, "there is no folder /nowhere/at/all"),
    ],
)
def test_what_cannot_be_had_is_said(keys, words):
    """Keys that make no sense for a folder, or for this machine, end in an error that names them."""
    with pytest.raises(PlaybillError, match=words):
        load_model(entry_of(tiny_folder(), **keys))


def test_the_module_keeps_the_contract_of_providers():
    """`load` gives engine and prompt path, `preview` the same prompt path without weights."""
    context = Context(credentials=Credentials([]), date=datetime(2026, 1, 1))
    entry = entry_of(tiny_folder())
    loaded = huggingface_local.load(entry, context)
    path = huggingface_local.preview(entry, context)
    loaded.engine.close()
    assert loaded.prompt_path is not None
    assert path.stops == loaded.prompt_path.stops
    assert path.date == context.date
