"""GGUF models that see, against transformers with the same weights: ids, and greedy answers where nothing is resized.

llama.cpp resizes pictures by code of its own, so only a picture that has the model's own size gives the same numbers.
"""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import pytest

pytest.importorskip("xllamacpp", reason="the extra llamacpp is not installed")
pytest.importorskip("PIL", reason="needs the extra `vision`")
pytest.importorskip("torchvision", reason="needs the extra `vision`")
pytest.importorskip("gguf", reason="needs the extra `hf`")

from PIL import Image

from playbill.backends import load_model, make_prompt
from support.gguf_eyes import entry_of
from support.vision.checkpoint import Reference
from support.vision.gguf_files import INTERNVL, LLAVA, PUBLISHED, save_both
from support.vision.kinds import KINDS
from support.vision.shapes import for_transformers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOKENS = 8
SAME_IDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "gemma3")
"""The other kinds have marks within a picture, for which the placeholder's id stands: those ids are as many."""


def talks_of_size(size):
    """Conversations of all shapes, with pictures of one size."""
    first, second = picture_url(size, turned=0), picture_url(size, turned=40)
    one, other = ({"type": "image_url", "image_url": {"url": url}} for url in (first, second))
    text, more = ({"type": "text", "text": text} for text in ("What is this?", "And now?"))
    past = {"role": "assistant", "content": "A tower."}

    def user(*parts):
        return {"role": "user", "content": list(parts)}

    return {
        "none": [{"role": "user", "content": "Say a word."}],
        "one": [user(one, text)],
        "clembench": [{"role": "user", "content": "What?", "image": first}],
        "two": [user(one, other, text)],
        "earlier turn": [user(one, text), past, {"role": "user", "content": "Sure?"}],
        "two turns": [user(one, text), past, user(other, more)],
        "after the text": [user(text, one)],
        "between texts": [user(text, one, more)],
        "system": [{"role": "system", "content": "Be brief."}, user(other, text)],
    }


def picture_url(size, *, turned):
    """A picture of this size that has something to see everywhere, as a data URL."""
    rows, rings = (make("L").resize(size) for make in (Image.linear_gradient, Image.radial_gradient))
    file = io.BytesIO()
    Image.merge("RGB", (rows, rings, rings.rotate(turned))).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def same_but_for_a_tie(answer, expected):
    """Whether two greedy answers are one, up to where their next tokens were as likely to two decimals."""
    places = zip(answer.output_ids, expected, answer.details["logprobs"], strict=False)
    for ours, theirs, place in places:
        if ours != theirs:
            likely = {each["id"]: each["logprob"] for each in place["top"]}
            return theirs in likely and likely[ours] - likely[theirs] < 0.05
    return True


@pytest.mark.parametrize("kind", sorted(PUBLISHED.keys() & KINDS.keys()))
def test_ids_and_answers_are_those_of_transformers(kind, tmp_path):
    """All nine shapes, alone and at once; the log probability of the first token is the same to two decimals, which is
    what keys in bfloat16 leave."""
    import torch

    given = talks_of_size(PUBLISHED[kind].size)
    folder = save_both(kind, tmp_path / kind)
    reference = Reference(folder)
    with load_model(entry_of(folder, eos_to_cull="</s>"), max_tokens=TOKENS) as model:
        together = model.generate_batch(list(given.values()))
        for (name, messages), batched in zip(given.items(), together, strict=True):
            wanted = reference.inputs(*for_transformers(messages, strings=KINDS[kind].strings))
            ids = tuple(wanted["input_ids"][0].tolist())
            made = make_prompt(model.spec, model.prompt_path, messages).ids
            assert len(made) == len(ids), name
            assert made == ids or kind not in SAME_IDS, name
            answer = model.generate(messages, logprobs=2)
            assert answer.error is None, (name, answer.error)
            assert answer.output_ids == batched.output_ids, name
            assert same_but_for_a_tie(answer, reference.answer(wanted, TOKENS)), name
            with torch.inference_mode():
                logits = torch.log_softmax(reference.model(**wanted).logits[0, -1].float(), -1)
            first = answer.details["logprobs"][0]
            assert first["logprob"] is None or abs(first["logprob"] - logits[first["id"]].item()) < 0.02, name


def first_token(folder, messages, *, strings, encoder=None):
    """How far llama.cpp and transformers are apart in the log probability of an answer's first token."""
    import torch

    with load_model(entry_of(folder, eos_to_cull="</s>"), max_tokens=1) as model:
        first = model.generate(messages, logprobs=1).details["logprobs"][0]
    reference = Reference(folder)
    if encoder is not None:
        encoder(reference.model.model.vision_tower.embeddings)
    with torch.inference_mode():
        made = reference.model(**reference.inputs(*for_transformers(messages, strings=strings)))
    return abs(first["logprob"] - torch.log_softmax(made.logits[0, -1].float(), -1)[first["id"]].item())


def test_llama_cpp_shifts_the_positions_of_internvl(tmp_path):
    """Why that kind is warned of: it answers as transformers with the position embeddings moved by one place.

    If this fails because the first distance is small, llama.cpp has mended it, and the warning can go.
    """
    import torch

    def moved(tensors, config):
        tensors, config = INTERNVL.older(tensors, config)
        (name,) = (name for name in tensors if name.endswith("position_embedding"))
        tensors[name] = torch.roll(tensors[name], -1, dims=1).contiguous()
        return tensors, config

    given = talks_of_size(INTERNVL.size)["one"]
    as_converted = save_both("internvl", tmp_path / "a", INTERNVL)
    mended = save_both("internvl", tmp_path / "b", replace(INTERNVL, older=moved))
    distance, without = (first_token(folder, given, strings=True) for folder in (as_converted, mended))
    assert distance > 4 * without, (distance, without)


def test_llama_cpp_leaves_out_the_first_patch_of_llava(tmp_path):
    """Why that kind is warned of, in `check` too: it answers as transformers with the class token in the last place.

    If this fails because the first distance is small, llama.cpp has mended it, and the warning can go.
    """
    import torch

    def class_token_last(embeddings):
        def forward(pixel_values, **_):
            patches = embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
            one = embeddings.class_embedding.expand(len(patches), 1, -1)
            return torch.cat([patches, one], 1) + embeddings.position_embedding(embeddings.position_ids)

        embeddings.forward = forward

    folder, given = save_both("llava", tmp_path / "llava", LLAVA), talks_of_size(LLAVA.size)["one"]
    distance = first_token(folder, given, strings=False)
    without = first_token(folder, given, strings=False, encoder=class_token_last)
    assert distance > 4 * without, (distance, without)
