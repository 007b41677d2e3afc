"""Vision models: ids, features and greedy answers are those of transformers' own processor and `generate`."""

from __future__ import annotations

import pytest

pytest.importorskip("PIL", reason="needs the extra `vision`")
pytest.importorskip("torchvision", reason="needs the extra `vision`")

import torch

from playbill.backends import MessageError, load_model, make_prompt
from support.vision.checkpoint import Reference, entry_of
from support.vision.kinds import KINDS
from support.vision.shapes import SHAPES, for_transformers

TOKENS = 8
FEW = ("one", "two", "earlier turn", "after the text")


def differences(model, reference, messages, strings):
    """What of a prompt isn't as transformers has it, and the answer that it gives to it."""
    wanted = reference.inputs(*for_transformers(messages, strings=strings))
    prompt = make_prompt(model.spec, model.prompt_path, messages)
    given = {name for name in wanted if name not in ("input_ids", "attention_mask")}
    found = [] if prompt.ids == tuple(wanted["input_ids"][0].tolist()) else ["ids"]
    found += sorted(given ^ set(prompt.features))
    found += [name for name in given & set(prompt.features) if not torch.equal(prompt.features[name], wanted[name])]
    return found, reference.answer(wanted, TOKENS)


def judge(folder, kind, shapes, batching="exact"):
    """What differs, in the prompts, in the answers one at a time, and in those to all at once."""
    reference, wrong = Reference(folder), {}
    with load_model(entry_of(folder, batching=batching)) as model:
        together = model.generate_batch([SHAPES[name] for name in shapes], max_tokens=TOKENS)
        for name, beside in zip(shapes, together, strict=True):
            found, expected = differences(model, reference, SHAPES[name], KINDS[kind].strings)
            alone = model.generate(SHAPES[name], max_tokens=TOKENS)
            for way, answer in (("alone", alone.output_ids), ("together", beside.output_ids)):
                found += [] if answer and expected[: len(answer)] == answer else [way]
            if found:
                wrong[name] = found
        return wrong, model.engine.facts()["batching"]


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "llava", "gemma3"])
def test_ids_features_and_answers_are_those_of_transformers(checkpoints, kind):
    """Three-dimensional positions with a state on the model, a BOS that the processor adds, attention both ways: one at
    a time, and beside each other and a dialogue without pictures."""
    wrong, facts = judge(checkpoints(kind), kind, ("none", *FEW))
    assert wrong == {}
    assert facts["kind"] == "exact"


WHOLE = {
    "gemma3": "the tokens of a picture see each other",
    "gemma4": "per_layer_inputs beside embeddings",
    "qwen3_vl": "deepstack_visual_embeds beside embeddings",
}
ALONE = {
    "deepseek_vl_hybrid": "has an attention of its own",
    "lfm2_vl": "has layers of the kind conv",
    "mllama": "has layers that look at pictures anew at each token",
    "qwen3_5": "keeps a state instead of keys and values",
}


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["exact", "fast", "single"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_so_they_are_for_every_kind_and_shape(checkpoints, kind, batching):
    """Tiles, rows, grids, padded pictures; without one, with two, in earlier turns, tiny and huge. What can't be
    computed beside others says why."""
    if kind == "smolvlm":
        pytest.importorskip("num2words")
    wrong, facts = judge(checkpoints(kind), kind, SHAPES, batching)
    assert wrong == {}
    if batching == "single" or kind in ALONE:
        assert facts["kind"] == "single"
        assert batching == "single" or ALONE[kind] in facts["reason"]
    else:
        assert facts["kind"] == batching
        assert facts["pictures_encoded"] == "one at a time"
        assert WHOLE.get(kind, "in pieces") in facts["prompts_with_pictures"]


def test_dialogues_that_take_turns_do_not_disturb_each_other(checkpoints):
    """Positions after a picture count on from a number that this kind keeps on the model."""
    folder = checkpoints("qwen2_5_vl")
    batch = [SHAPES[name] for name in ("one", "none", "two", "system")]
    with load_model(entry_of(folder)) as model:
        alone = [model.generate(messages, max_tokens=TOKENS).output_ids for messages in batch]
        together = [made.output_ids for made in model.generate_batch(batch, max_tokens=TOKENS)]
    assert together == alone


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "mistral3", "mllama"])
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
