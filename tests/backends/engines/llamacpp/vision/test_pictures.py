"""GGUF models that see: what is sent, what is said of a picture, and that answers depend on nothing beside it."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

pytest.importorskip("xllamacpp", reason="the extra llamacpp is not installed")
pytest.importorskip("PIL", reason="needs the extra `vision`")
pytest.importorskip("gguf", reason="needs the extra `hf`")

from playbill.backends import MessageError, Outcome, load_model, load_prompt_path, make_prompt
from playbill.backends.engines.llamacpp.server import Cancelled
from playbill.backends.engines.llamacpp.vision.pixels import PixelBudget
from playbill.backends.engines.llamacpp.vision.prompt import PICTURE_PROMPT, PicturePrompt
from playbill.backends.errors import EngineError
from support.gguf_eyes import TEMPLATE, TOKENS, entry_of, seeing_folder, write_mmproj
from support.gguf_smollm2 import RULES, write_noise
from support.pictures import png_url
from support.vision.shapes import SHAPES, data_url, image


@pytest.fixture(scope="module")
def seeing():
    return seeing_folder()


@pytest.fixture(scope="module")
def model(seeing):
    with load_model(entry_of(seeing), dialogues=4, max_tokens=6) as model:
        yield model


def asked(*parts):
    """A user's message; a word in angle brackets is a picture."""
    found = [
        {"type": "image_url", "image_url": {"url": data_url(part.strip("<>"))}}
        if part.startswith("<")
        else {"type": "text", "text": part}
        for part in parts
    ]
    return {"role": "user", "content": found}


def bits(generation):
    assert generation.error is None, generation.error
    return generation.output_ids, [place["logprob"] for place in generation.details["logprobs"]]


@pytest.mark.parametrize("shape", SHAPES)
def test_ids_are_the_texts_and_a_placeholder_for_each_token_of_a_picture(model, shape):
    """Before anything is computed; and llama.cpp then says that it had just so many, and just these texts."""
    prompt = make_prompt(model.spec, model.prompt_path, SHAPES[shape])
    texts = prompt.text.split("<image>")
    (place,) = model.prompt_path.tokenizer.encode("<image>")
    wanted = model.prompt_path.tokenizer.encode(texts[0])
    for text in texts[1:]:
        wanted += [place] * TOKENS + model.prompt_path.tokenizer.encode(text)
    assert prompt.ids == tuple(wanted)
    answer = model.generate(SHAPES[shape])
    assert answer.error is None
    assert (answer.prompt_ids, answer.usage.input_tokens) == (prompt.ids, len(prompt.ids))


def test_the_preview_gives_the_same_ids_without_weights(model, seeing):
    """`playbill prompt` and `check` count as the loaded model does."""
    spec, path = load_prompt_path(entry_of(seeing))
    for messages in SHAPES.values():
        assert make_prompt(spec, path, messages).ids == make_prompt(spec, model.prompt_path, messages).ids


def test_what_is_said_of_a_picture(model):
    """Its tokens, and which file saw it, by its hash."""
    made = make_prompt(model.spec, model.prompt_path, [asked("<small>", "What is it?")])
    (fact,) = made.picture_facts()
    assert (fact["mime"], fact["width"], fact["tokens"]) == ("image/png", *image("small").size[:1], TOKENS)
    facts = model.prompt_path.processor.facts()
    assert (facts["projector"], facts["mmproj"]["file"]) == ("mlp", "mmproj-model-f32.gguf")
    assert facts["mmproj"] in model.engine.facts()["weights"]


def test_the_model_sees_the_picture_and_not_another(model):
    """Another picture, another order and none give other numbers; the same one gives the same, asked again too."""
    kinds = [
        ("<small>", "This?"),
        ("<tall>", "This?"),
        ("This?", "<small>"),
        ("<small>", "<tall>", "This?"),
        ("This?",),
    ]
    found = [bits(model.generate([asked(*kind)], logprobs=1))[1][0] for kind in kinds]
    assert len(set(found)) == len(found)
    assert [bits(model.generate([asked(*kind)], logprobs=1))[1][0] for kind in kinds] == found


def test_a_dialogue_about_a_picture_computes_it_once(model):
    """The next turn finds it in memory; so does the same question again, which is answered alike."""
    messages = [asked("<wide>", "What is this, if you please?")]
    first = model.generate(messages, dialogue="d", logprobs=1)
    again = model.generate(messages, dialogue="d", logprobs=1)
    assert bits(again) == bits(first)
    assert again.usage.cached_tokens > TOKENS
    messages += [{"role": "assistant", "content": "A tower."}, {"role": "user", "content": "Sure?"}]
    assert model.generate(messages, dialogue="d").usage.cached_tokens >= len(first.prompt_ids)


def test_an_answer_depends_on_no_other_dialogue(tmp_path):
    """Batching is exact: alone, and with seven others that show pictures or none, the numbers are the same bits."""
    write_noise(tmp_path, "Q4_0", "Q8_0")
    write_mmproj(tmp_path / "mmproj-noise.gguf", width=256)
    entry = entry_of(tmp_path, premade_chat_template=False, custom_chat_template=TEMPLATE)
    rules = {"role": "system", "content": RULES}
    shown = [
        asked("<small>", "This?"),
        asked("So", "<wide>", "and?"),
        asked("Hm."),
        asked("<tall>", "<small>", "Both?"),
    ]
    talks = [[message] for message in shown] + [[rules, message] for message in shown]

    def play(dialogues, together):
        found = []
        with load_model(entry, dialogues=dialogues, max_tokens=8) as model:
            for _ in range(2):
                futures = []
                for talk in talks:
                    futures.append(model.submit(talk, logprobs=1))
                    if not together:
                        futures[-1].result()
                found += [bits(future.result()) for future in futures]
        return found

    alone = play(1, together=False)
    assert play(len(talks), together=True) == alone
    assert alone[: len(talks)] == alone[len(talks) :]


def test_a_stream_and_a_text_alone_go_with_it(model):
    """Its texts are the answer's; a dialogue without pictures is sent as ids."""
    stream = model.stream([asked("<small>", "This?")], max_tokens=12)
    assert "".join(stream) == stream.generation.text
    assert stream.generation.error is None
    text = make_prompt(model.spec, model.prompt_path, SHAPES["none"])
    assert PICTURE_PROMPT not in text.features
    assert model.generate(SHAPES["none"]).error is None


def test_a_prompt_that_does_not_fit_is_told_before_it_is_computed(seeing):
    """Pictures count with their tokens."""
    with load_model(entry_of(seeing, n_ctx=64)) as model:
        made = model.generate([asked("<small>", "<wide>", "<tall>", "<small>", "Which?")])
    assert made.outcome is Outcome.CONTEXT_EXCEEDED
    assert "tokens, which leaves no room for an answer in the context of 64" in made.error["message"]


def test_a_text_that_holds_the_placeholder_is_refused(model):
    """Nobody could tell it from a picture's place."""
    with pytest.raises(MessageError, match="holds '<image>' 2 times, and 1 picture is given"):
        model.generate([{"role": "user", "content": "an <image>", "image": png_url(40, 30)}])


def test_a_bos_that_llama_cpp_adds_is_there_once(seeing, tmp_path):
    """As transformers' processors have it: before a prompt that doesn't begin with it, with pictures and without."""
    content = (seeing / "model.gguf").read_bytes()
    key = b"tokenizer.ggml.add_bos_token" + (7).to_bytes(4, "little")
    assert content.count(key + b"\0") == 1
    (tmp_path / "model.gguf").write_bytes(content.replace(key + b"\0", key + b"\1"))
    entry = entry_of(tmp_path, mmproj=str(seeing / "mmproj-model-f32.gguf"))
    bare = TEMPLATE.replace("<|im_start|>", "[", 1)
    other = {**entry, "premade_chat_template": False, "custom_chat_template": bare}
    for given in (entry, other):
        with load_model(given, max_tokens=2) as model:
            for messages in (SHAPES["none"], SHAPES["one"]):
                answer = model.generate(messages)
                assert answer.error is None
                assert (answer.prompt_ids[0], answer.prompt_ids.count(1)) == (1, 2)


def test_what_llama_cpp_says_of_its_prompt_is_held_against_ours():
    """Another number of tokens, another text around the pictures, or an end that is missing."""
    prompt = PicturePrompt("a<m>b", "<m>", ("x",), (1, -7, -7, 2), ("a", "b"))
    prompt.refuse_other(4, "ab")
    prompt.refuse_other(None, None)
    for tokens, text in ((5, "ab"), (4, "ba"), (4, "a"), (4, "aXb")):
        with pytest.raises(EngineError, match="than was proven"):
            prompt.refuse_other(tokens, text)
    tiled = replace(prompt, tiles=True)
    tiled.refuse_other(4, "a<row_1><row_2>b")
    for text in ("Xab", "abX", "b", ""):
        with pytest.raises(EngineError, match="than was proven"):
            tiled.refuse_other(4, text)


def test_large_pictures_wait_for_each_other():
    """Those that come to more pixels than may be held go one after the other; small ones don't wait for one another,
    and one that is too large for the whole budget goes alone. Who isn't waited for any more gives up."""
    budget, gave_up = PixelBudget(100), threading.Event()

    def hold(pixels, inside, leave):
        with budget.hold(pixels, gave_up.is_set):
            inside.set()
            leave.wait(20)

    events = [(threading.Event(), threading.Event()) for _ in range(4)]
    with ThreadPoolExecutor() as threads:
        for (inside, leave), pixels in zip(events[:2], (60, 40), strict=True):
            threads.submit(hold, pixels, inside, leave)
            assert inside.wait(20)
        large = threads.submit(hold, 500, *events[2])
        assert not events[2][0].wait(0.3)
        events[0][1].set()
        events[1][1].set()
        assert events[2][0].wait(20)
        waiting = threads.submit(hold, 1, *events[3])
        gave_up.set()
        assert isinstance(waiting.exception(20), Cancelled)
        events[2][1].set()
        assert large.exception(20) is None


def test_a_run_keeps_and_proves_pictures(seeing, place, playbill):
    """Records, replay and audit as with any other engine."""
    manifest = run_about_a_picture(seeing, place, playbill)
    (record,) = map(json.loads, (place / "run" / "eyes" / "records.jsonl").read_text().splitlines())
    assert record["details"]["pictures"][0]["tokens"] == TOKENS
    assert manifest["models"]["eyes"]["pictures"]["projector"] == "mlp"


@pytest.mark.slow
def test_a_run_of_replicas_keeps_and_proves_them_too(seeing, place, playbill):
    """The processor stays with the replica, and is told of."""
    manifest = run_about_a_picture(seeing, place, playbill, "--replicas", "1")
    assert manifest["models"]["eyes"]["pictures"]["placeholder"] == "<image>"


def run_about_a_picture(seeing, place, playbill, *options):
    image("small").save(place / "cat.png")
    (place / "in.jsonl").write_text(
        json.dumps({"id": "d", "messages": [{"role": "user", "content": "What?", "image": "cat.png"}]}) + "\n"
    )
    (place / "model_registry.json").write_text(json.dumps([entry_of(seeing, max_tokens=4)]))
    code, out, err = playbill("run", "in.jsonl", "-m", "eyes", "-o", "run", *options)
    assert code == 0, out + err
    assert playbill("replay", "run")[0] == 0
    return json.loads((place / "run" / "manifest.json").read_text())
