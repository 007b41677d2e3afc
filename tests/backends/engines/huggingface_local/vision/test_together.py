"""Rows with pictures computed together: no bit by company, nothing shared but what was seen alike, encoded once."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("PIL", reason="needs the extra `vision`")
pytest.importorskip("torchvision", reason="needs the extra `vision`")


import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from playbill.backends import load_model, make_prompt
from playbill.backends.engines.base import Request
from playbill.backends.engines.checkpoint.vision.processor import CheckpointProcessor
from playbill.backends.engines.huggingface_local.batching.attention import ATTENTION, register, use_attention
from playbill.backends.engines.huggingface_local.batching.kv_cache import KVCache
from playbill.backends.engines.huggingface_local.batching.step import Step
from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads
from playbill.backends.engines.huggingface_local.vision.decoder import SeeingDecoder
from playbill.backends.engines.huggingface_local.vision.embedded_prompt import PromptEmbedder
from playbill.backends.engines.huggingface_local.vision.trial import find_fault
from support.vision.checkpoint import Reference, entry_of
from support.vision.kinds import KINDS
from support.vision.shapes import SHAPES, for_transformers, user

TOKENS = 6
LONG = "Look closely, name what you see, and never say its name in any other way than as one short word. " * 2
AGAIN = [{"role": "assistant", "content": "A."}, {"role": "user", "content": "Sure?"}]


def bits(generation: Any) -> Any:
    """The answer, with the log probabilities of the likeliest tokens."""
    assert generation.output_ids, generation.error
    return generation.output_ids, generation.details["logprobs"]


def expected(folder, kind, messages, tokens=TOKENS):
    reference = Reference(folder)
    return reference.answer(reference.inputs(*for_transformers(messages, strings=KINDS[kind].strings)), tokens)


class Failing:
    """A decoder some of whose steps over several rows fail, so that rows begin again."""

    def __init__(self, decoder: Any) -> None:
        self._decoder, self._step = decoder, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def advance(self, rows: Any, *more: Any) -> Any:
        self._step += 1
        if len(rows) > 1 and self._step % 5 == 0:
            raise (RuntimeError if self._step % 10 else MemoryError)("on purpose")
        return self._decoder.advance(rows, *more)


def check_company(folder, dtype):
    """Alone and nothing known before, all together, the other way round, as second turns of what is known, and begun
    again after faults."""
    dialogues = [*SHAPES.values(), [user(LONG, "<small>", LONG)], [user(LONG, "<small>", LONG), *AGAIN]]
    asked = {"max_tokens": TOKENS, "logprobs": 3}
    with load_model(entry_of(folder, batching="exact", dtype=dtype)) as model:
        assert model.engine.facts()["batching"]["kind"] == "exact"
        alone = []
        for messages in dialogues:
            alone.append(bits(model.generate(messages, **asked)))
            model.engine.decoder.make_room()
        assert [bits(made) for made in model.generate_batch(dialogues, **asked)] == alone
        assert [bits(made) for made in model.generate_batch(dialogues[::-1], **asked)] == alone[::-1]
        assert [bits(model.generate(messages, **asked)) for messages in dialogues] == alone
        model.engine.decoder = failing = Failing(model.engine.decoder)
        assert [bits(made) for made in model.generate_batch(dialogues, **asked)] == alone
        assert failing._step > 10


@pytest.mark.parametrize(("kind", "dtype"), [("qwen2_5_vl", "bfloat16"), ("gemma3", "float32")])
def test_company_changes_no_bit(checkpoints, kind, dtype):
    """Answers and log probabilities, in pieces and at once, anew and after what is known."""
    check_company(checkpoints(kind), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"deepseek_vl_hybrid", "lfm2_vl", "mllama", "qwen3_5"}))
def test_company_changes_no_bit_of_any_kind(checkpoints, kind, dtype):
    """Of those whose rows are computed together at all."""
    check_company(checkpoints(kind), dtype)


@pytest.mark.parametrize("kind", ["llava", "gemma3"])
@pytest.mark.parametrize("batching", ["exact", "fast"])
def test_a_picture_is_known_again_by_what_was_seen(checkpoints, kind, batching):
    """A later turn computes what is new; another picture with the same ids is another prompt from there on."""
    folder = checkpoints(kind)
    first, other = [user("<small>", LONG)], [user("<tall>", LONG)]
    with load_model(entry_of(folder, batching=batching)) as model:
        begun = model.generate(first, max_tokens=TOKENS)
        again = model.generate([*first, *AGAIN], max_tokens=TOKENS)
        second = model.generate(other, max_tokens=TOKENS)
        together = model.generate_batch([first, other, [*other, *AGAIN]], max_tokens=TOKENS)
    assert begun.prompt_ids == second.prompt_ids
    image = begun.prompt_ids.index(max(begun.prompt_ids))  # the image token is the tokenizer's last
    assert again.usage.cached_tokens >= len(begun.prompt_ids) // 64 * 64 > image
    assert second.usage.cached_tokens <= image
    for made, messages in zip(
        [again, second, *together], [[*first, *AGAIN], other, first, other, [*other, *AGAIN]], strict=True
    ):
        assert made.output_ids == expected(folder, kind, messages)[: len(made.output_ids)]


class Encoded:
    """How many numbers of pictures a model's encoder gets."""

    def __init__(self, model: Any) -> None:
        inner = model.engine.decoder._step.model.model
        self._encoder = getattr(inner, "visual", None) or inner.vision_tower
        self.numbers = 0

    def __enter__(self) -> Encoded:
        self._hook = self._encoder.register_forward_pre_hook(self._note, with_kwargs=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._hook.remove()

    def _note(self, module: Any, args: Any, kwargs: Any) -> None:
        pixels = args[0] if args else kwargs["pixel_values"]
        self.numbers += pixels.numel()


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "llava", "mistral3"])
def test_each_picture_of_a_dialogue_is_encoded_once(checkpoints, kind):
    """Each turn sends all again; a new one is encoded without the others, also where it is larger. The answers are as
    if all were asked anew."""
    folder = checkpoints(kind)
    messages = [user("<small>", "What is this?"), *AGAIN, {"role": "assistant", "content": "B."}]
    messages += [user("<wide>", "And this?"), *AGAIN]
    with load_model(entry_of(folder)) as model, Encoded(model) as seen:
        for end in (1, 3, 5, 7):
            made = model.generate(messages[:end], max_tokens=TOKENS)
            assert made.output_ids == expected(folder, kind, messages[:end])[: len(made.output_ids)]
        turns = seen.numbers
        model.engine.decoder.make_room()
        for part in ([messages[0]], [messages[4]]):
            model.generate(part, max_tokens=1)
        assert turns == seen.numbers - turns > 0


@pytest.mark.parametrize("kind", ["llava", "qwen3_vl"])
def test_a_prompt_may_end_with_a_picture(checkpoints, kind, tmp_path):
    """No token comes after its last patch: what is computed at once is all of it."""
    folder = checkpoints(kind)
    image = "<image>" if kind == "llava" else "<|vision_start|><|image_pad|>"
    show = "{% if c.type == 'image' %}" + image + "{% else %}{{ c.text }}{% endif %}"
    template = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
    template += "{% for c in m.content %}" + show + "{% endfor %}{% endif %}{% endfor %}"
    messages = [user("Look:", "<small>")]
    reference = Reference(folder)
    reference.processor.chat_template = template
    wanted = reference.inputs(*for_transformers(messages, strings=True))
    entry = entry_of(folder, premade_chat_template=False, custom_chat_template=template, batching="fast")
    with load_model(entry) as model:
        made = [model.generate(messages, max_tokens=TOKENS), *model.generate_batch([messages] * 2, max_tokens=TOKENS)]
        prompt = make_prompt(model.spec, model.prompt_path, messages)
        assert prompt.ids == tuple(wanted["input_ids"][0].tolist())
        assert {each.output_ids for each in made} == {reference.answer(wanted, TOKENS)}
        # A next turn that begins with this answer: its tokens have other positions in a prompt than after one.
        more = made[0].output_ids
        again = {name: longer(value, len(prompt.ids), len(more)) for name, value in wanted.items()}
        again["input_ids"] = torch.tensor([[*prompt.ids, *more]])
        features = {name: again[name] for name in prompt.features}
        request = Request(
            messages=(),
            params={"max_tokens": TOKENS},
            prompt_ids=(*prompt.ids, *more),
            pictures=prompt.pictures,
            features=features,
        )
        assert model.engine.submit(request).result().output_ids == reference.answer(again, TOKENS)


def longer(value: Any, length: int, more: int) -> Any:
    """What goes with a prompt's tokens, for text after it."""
    if value.shape != (1, length):
        return value
    return torch.cat([value, torch.full((1, more), 1 if value.min() > 0 else 0, dtype=value.dtype)], 1)


@pytest.mark.parametrize("kind", ["gemma3", "llava"])
def test_seeded_answers_are_those_of_one_at_a_time(checkpoints, kind):
    """A draw for each new token, however its prompt was computed."""
    dialogues, answers = [SHAPES["one"], SHAPES["none"], SHAPES["two turns"]], []
    for batching in ("single", "exact"):
        with load_model(entry_of(checkpoints(kind), batching=batching)) as model:
            made = model.generate_batch(dialogues, max_tokens=TOKENS, temperature=0.8, seed=7)
            answers.append([each.output_ids for each in made])
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 3


def test_a_picture_that_a_model_fails_on_fails_alone(checkpoints):
    """Mistral3 in transformers can't read a single picture of one token; those beside it are answered."""
    folder = checkpoints("mistral3")
    small = [user("<speck>", "What is this?")]
    with load_model(entry_of(folder)) as model:
        failed, answered = model.generate_batch([small, SHAPES["two"]], max_tokens=TOKENS)
    assert failed.outcome == "error"
    assert answered.output_ids == expected(folder, "mistral3", SHAPES["two"])[: len(answered.output_ids)]


def double_positions_of_many(module: Any, args: Any, kwargs: Any) -> Any:
    """What a model might do that knows positions otherwise when it is called for one row."""
    many = "playbill_pass" in kwargs
    return args, {**kwargs, "position_ids": kwargs["position_ids"] * 2} if many else kwargs


class Trial:
    """What the trial on load is made of, for a way of attention."""

    def __init__(self, folder: Any, way: str) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = CheckpointProcessor(AutoProcessor.from_pretrained(folder))
        self.embedder = PromptEmbedder(self.model)
        register()
        use_attention(self.model, ATTENTION)
        self.step = Step(self.model, KVCache(20), way, RowThreads(None), most_rows=4)

    @torch.inference_mode()
    def fault(self) -> str | None:
        reference = SeeingDecoder(self.model, None, self.embedder.memory)
        return find_fault(self.embedder, reference, self.step, self.processor)


@pytest.mark.parametrize("way", ["masked", "rows"])
@pytest.mark.parametrize("kind", ["qwen2_5_vl", "gemma3"])
def test_the_trial_on_load_passes_each_way_of_attention(checkpoints, kind, way):
    """And finds a model whose positions after a picture go wrong."""
    trial = Trial(checkpoints(kind), way)
    assert trial.fault() is None
    assert trial.step.planes == (3 if kind == "qwen2_5_vl" else 1)
    trial.model.get_decoder().register_forward_pre_hook(double_positions_of_many, with_kwargs=True)
    assert "computes something else for a picture beside other rows" in str(trial.fault())


def test_an_encoder_that_looks_across_pictures_gets_all_of_a_prompt(checkpoints):
    """As `generate` gives them to it; what would have been given for each alone is noticed on load."""
    trial = Trial(checkpoints("llava"), "rows")
    assert trial.fault() is None
    assert trial.embedder.facts()["pictures_encoded"] == "one at a time"
    projector = trial.model.model.multi_modal_projector
    projector.register_forward_pre_hook(lambda _, given: (given[0] + given[0].mean(0, keepdim=True),))
    assert trial.fault() is None
    assert trial.embedder.facts()["pictures_encoded"] == "all of a prompt together"


def test_what_cannot_be_computed_together_says_why(checkpoints, caplog):
    """Once at the start, and in the manifest's facts."""
    with load_model(entry_of(checkpoints("mllama"))) as model:
        facts = model.engine.facts()["batching"]
    assert facts["kind"] == "single"
    assert "has layers that look at pictures anew at each token" in facts["reason"]
    assert "mllama: requests are answered one at a time, since MllamaForConditionalGeneration has" in caplog.text
