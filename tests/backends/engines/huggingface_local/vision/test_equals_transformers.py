"""Models with eyes: ids, features and greedy answers are those of transformers' own processor and `generate`."""

from __future__ import annotations

import pytest

pytest.importorskip("PIL", reason="needs the extra `vision`")
pytest.importorskip("torchvision", reason="needs the extra `vision`")

import torch
from torch.nn.modules.module import register_module_forward_hook

from playbill.backends import MessageError, load_model, make_prompt
from support.vision.checkpoint import Reference, entry_of, save_tiny
from support.vision.kinds import KINDS
from support.vision.shapes import SHAPES, for_transformers

TOKENS = 8
FEW = ("one", "two", "earlier turn", "after the text")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder for each kind, made when it is first asked for."""
    root, made = tmp_path_factory.mktemp("eyes"), {}

    def folder(kind):
        if kind not in made:
            made[kind] = save_tiny(kind, root / kind)
        return made[kind]

    return folder


def differences(model, reference, messages, strings):
    """What of a prompt and its answer isn't as transformers has it."""
    wanted = reference.inputs(*for_transformers(messages, strings=strings))
    prompt = make_prompt(model.spec, model.prompt_path, messages)
    if prompt.ids != tuple(wanted["input_ids"][0].tolist()):
        return ["ids"]
    given = {name for name in wanted if name not in ("input_ids", "attention_mask")}
    found = [name for name in given if not torch.equal(prompt.features[name], wanted[name])]
    found += sorted(given ^ set(prompt.features))
    answer = model.generate(messages, max_tokens=TOKENS).output_ids or ()
    expected = reference.answer(wanted, TOKENS)
    return found + (["answer"] if not answer or expected[: len(answer)] != answer else [])


def judge(folder, kind, shapes):
    reference = Reference(folder)
    with load_model(entry_of(folder)) as model:
        return {
            name: found
            for name in shapes
            if (found := differences(model, reference, SHAPES[name], KINDS[kind].strings))
        }


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "llava", "gemma3"])
def test_ids_features_and_answers_are_those_of_transformers(checkpoints, kind):
    """Three-dimensional positions with a state on the model, a BOS that the processor adds, attention both ways."""
    assert judge(checkpoints(kind), kind, FEW) == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_so_they_are_for_every_kind_and_shape(checkpoints, kind):
    """Tiles, rows, grids, padded pictures; without one, with two, in earlier turns, tiny and huge."""
    if kind == "smolvlm":
        pytest.importorskip("num2words")
    assert judge(checkpoints(kind), kind, SHAPES) == {}


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "llava"])
def test_a_picture_is_encoded_once_in_a_dialogue(checkpoints, kind):
    """Each turn sends it again, and the encoder is asked once; the answer is as if it were asked anew."""
    folder, turns = checkpoints(kind), ["Sure?", "And now?", "Why?"]
    reference = Reference(folder)
    messages = list(SHAPES["one"])
    encoder = reference.model.model
    encoder = getattr(encoder, "visual", None) or encoder.vision_tower
    answers, seen = [], []
    noted = register_module_forward_hook(lambda module, *_: seen.append(1) if type(module) is type(encoder) else None)
    try:
        with load_model(entry_of(folder)) as model:
            for turn in [None, *turns]:
                if turn is not None:
                    messages += [{"role": "assistant", "content": "A tower."}, {"role": "user", "content": turn}]
                answers.append(model.generate(messages, max_tokens=TOKENS).output_ids)
    finally:
        noted.remove()
    assert len(seen) == 1
    wanted = reference.inputs(*for_transformers(messages, strings=KINDS[kind].strings))
    assert reference.answer(wanted, TOKENS)[: len(answers[-1])] == answers[-1]


def test_dialogues_that_take_turns_do_not_disturb_each_other(checkpoints):
    """Positions after a picture count on from a number that this kind keeps on the model."""
    folder = checkpoints("qwen2_5_vl")
    batch = [SHAPES[name] for name in ("one", "none", "two", "system")]
    with load_model(entry_of(folder)) as model:
        alone = [model.generate(messages, max_tokens=TOKENS).output_ids for messages in batch]
        together = [made.output_ids for made in model.generate_batch(batch, max_tokens=TOKENS)]
    assert together == alone


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "mistral3"])
def test_a_checkpoint_with_eyes_reads_text_without_them(checkpoints, kind):
    """An entry that doesn't speak of pictures loads it all the same, and gives what transformers gives for text."""
    folder = checkpoints(kind)
    reference = Reference(folder)
    entry = {key: value for key, value in entry_of(folder).items() if key != "multimodality"}
    with load_model(entry) as model:
        for messages in (SHAPES["none"], [*SHAPES["none"], {"role": "assistant", "content": "A."}, *SHAPES["none"]]):
            wanted = reference.inputs(*for_transformers(messages, strings=KINDS[kind].strings))
            made = model.generate(messages, max_tokens=TOKENS)
            assert made.prompt_ids == tuple(wanted["input_ids"][0].tolist())
            assert reference.answer(wanted, TOKENS)[: len(made.output_ids)] == made.output_ids
        with pytest.raises(MessageError, match="has a picture, and the entry doesn't say"):
            model.generate(SHAPES["one"])
