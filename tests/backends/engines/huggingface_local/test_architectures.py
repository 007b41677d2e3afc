"""Every architecture answers as transformers' own `generate` does, whatever the neighbours, lengths and order."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import pytest

from playbill.backends.engines.base import Request
from support.tiny_models import ROPES, VOCABULARY, generated, tiny_model

torch = pytest.importorskip("torch")
TOKENS = 10
PROMPTS = [[5, 6, 7], list(range(3, 57)), list(range(3, 120)), [9, 8, 7, 6] * 9]
"""Alone short, across the rotary switch at 60 tokens while it answers, beyond it, and beyond a window of 16."""
MORE = (40, 41, 42)
"""What a user says in the second turn."""
OF_EACH_SORT = [
    "llama",
    "phi3",
    "phimoe",
    "moshi",
    "gemma2",
    "doge",
    "bamba",
    "mamba",
    "recurrent_gemma",
    "rwkv",
    "openai-gpt",
    "cpmant",
    "lfm3",
]


def engine_of(model: Any, batching: str = "exact") -> Any:
    from playbill.backends.engines.huggingface_local.batching.choice import choose_decoder
    from playbill.backends.engines.huggingface_local.engine import TransformersEngine

    decoder = choose_decoder({"model_name": "tiny", "batching": batching}, model, 1)
    return TransformersEngine(decoder, vocabulary=VOCABULARY, decode=str, facts=dict, threads=1)


def answers(model: Any, batching: str) -> list[list[tuple[int, ...]]]:
    """What the engine answers to all prompts at once, to all second turns, and to one prompt after the other, from the
    last to the first."""
    engine = engine_of(model, batching)

    def ask(prompt: Sequence[int]) -> Any:
        return engine.submit(Request(messages=(), params={"max_tokens": TOKENS}, prompt_ids=tuple(prompt)))

    def ask_all(prompts: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
        return [future.result(60).output_ids for future in [ask(prompt) for prompt in prompts]]

    together = ask_all(PROMPTS)
    second = ask_all([(*prompt, *answer, *MORE) for prompt, answer in zip(PROMPTS, together, strict=True)])
    after = [ask(prompt).result(60).output_ids for prompt in reversed(PROMPTS)]
    engine.close()
    return [together, second, after[::-1]]


def wanted(kind: str, rope: str | None = None) -> list[list[tuple[int, ...]]]:
    """What `generate` gives for the same, each prompt with a model just made."""
    fresh = tiny_model(kind, rope=rope)

    def ask(prompt: Sequence[int]) -> tuple[int, ...]:
        return generated(copy.deepcopy(fresh), prompt, TOKENS)

    first = [ask(prompt) for prompt in PROMPTS]
    return [first, [ask((*prompt, *a, *MORE)) for prompt, a in zip(PROMPTS, first, strict=True)], first]


def check(kind: str, rope: str | None = None) -> None:
    alone = wanted(kind, rope)
    for batching in ("exact", "single"):
        assert answers(tiny_model(kind, rope=rope), batching) == alone


@pytest.mark.parametrize("kind", OF_EACH_SORT)
def test_an_architecture_answers_as_generate_does(kind):
    """With keys and values, a state, a window, soft caps, masks of its own, or no cache at all."""
    check(kind)


def test_a_model_that_fails_at_every_step_is_refused_on_load():
    """The load computes two steps of a model that can't be batched, and names the class and what it raised."""
    from playbill.backends import WeightsError

    model = tiny_model("mamba")
    del model.backbone.norm_f
    with pytest.raises(WeightsError, match=r"^tiny: MambaForCausalLM can't generate .*AttributeError"):
        engine_of(model)


@pytest.mark.parametrize("batching", ["single", "exact", "fast"])
@pytest.mark.parametrize("params", [{}, {"logprobs": 2}, {"temperature": 0.7, "seed": 1}], ids=str)
def test_numbers_that_overflow_are_an_error_of_their_row(batching, params):
    """A token whose numbers are infinite, as in float16, spoils the logits of its own row, and of no other."""
    from playbill.backends import EngineError

    model = tiny_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[200] = float("inf")
    engine = engine_of(model, batching)

    def ask(*prompt: int) -> Any:
        return engine.submit(Request(messages=(), params={"max_tokens": 3, **params}, prompt_ids=prompt))

    spoilt, sound = ask(5, 200, 7), ask(5, 6, 7)
    with pytest.raises(EngineError, match=r"^the model's logits are not finite \(nan\)"):
        spoilt.result(60)
    assert len(sound.result(60).output_ids) == 3
    engine.close()


@pytest.mark.parametrize("rope", ROPES)
def test_no_rotary_scaling_lets_a_neighbour_or_an_earlier_request_reach_an_answer(rope):
    """Factors that follow the longest row are computed one row at a time, from where a model just loaded stands."""
    check("phi3" if rope == "longrope" else "llama", rope)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 150 kinds of models, each asked eleven times in three ways
@pytest.mark.parametrize("rope", [None, *ROPES])
def test_each_architecture_that_can_be_made_tiny_answers_as_generate_does(rope):
    """All of transformers' causal language models, with each rotary scaling that their configuration knows; those that
    fail there are left out."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    compared, differing = 0, []
    for kind in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        try:
            if rope is not None and not hasattr(AutoConfig.for_model(kind), "rope_parameters"):
                continue  # it has no rotary embedding, and would be the same model once more
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                alone = wanted(kind, rope)
        except Exception:  # noqa: BLE001 - transformers can't make it so small, or can't generate with it
            continue
        compared += 1
        for batching in ("exact", "single"):
            try:
                found = answers(tiny_model(kind, rope=rope), batching)
            except Exception as e:  # noqa: BLE001 - all are gathered
                differing.append(f"{kind}, {batching}: {e}")
                continue
            if found != alone:
                differing.append(f"{kind}, {batching}")
    assert compared > 40
    assert not differing
