"""Families of thinking models, by the real chat templates of the archive: their own turns are separated right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from playbill.backends.answer.clean import CleaningRule, clean
from playbill.backends.errors import TemplateError
from playbill.backends.prompt.template import render
from playbill.backends.prompt.thinking_families import family_of
from support.assets import chat_templates

WITHOUT = {
    # Nothing in these templates tells that a model thinks; several are of models that don't.
    "CohereForAI-c4ai-command-r-plus-tool_use", "GigaChat3-10B-A1.8B", "GigaChat3.1-10B-A1.8B", "Kimi-K2-Instruct",
    "LFM2-8B-A1B", "MiMo-VL", "MiniMax-M1", "Mistral-Small-3.2-24B-Instruct-2506",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
    "Qwen-Qwen2.5-7B-Instruct", "Qwen3-Coder", "fireworks-ai-llama-3-firefunction-v2", "google-gemma-2-2b-it",
    "ibm-granite-granite-4.0", "ibm-granite-granite-4.1", "meetkai-functionary-medium-v3.1",
    "meetkai-functionary-medium-v3.2", "meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct",
    "meta-llama-Llama-3.3-70B-Instruct", "microsoft-Phi-3.5-mini-instruct", "mistralai-Mistral-Nemo-Instruct-2407",
    "moonshotai-Kimi-K2", "unsloth-mistral-Devstral-Small-2507",
}  # fmt: skip
CUT_FROM_HISTORY = {
    # These leave thinking out of a finished turn, or write it in another form than the model's.
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai-DeepSeek-V3.1", "google-gemma-4-31B-it", "google-gemma-4-31B-it-interleaved",
    "llama-cpp-deepseek-r1", "llama-cpp-rwkv-world", "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "Kimi-K2-Thinking",
}  # fmt: skip
USER = [{"role": "user", "content": "Hello."}]
VARIABLES = [{}, {"enable_thinking": True}, {"reasoning_effort": "high"}, {"thinking_mode": "enabled"}]
PARTS = [{"type": "thinking", "thinking": "WHY"}, {"type": "text", "text": "ANSWER"}]
THINKING = [{"reasoning_content": "WHY"}, {"reasoning": "WHY"}, {"content": PARTS}]


def prompt_of(template: str, variables: dict, *more: dict, opened: bool = True) -> str:
    tokens = {"bos_token": "<B>", "eos_token": "<E>"}
    return render(template, [*USER, *more], add_generation_prompt=opened, **tokens, **variables)


def turns(template: str) -> Iterator[tuple[str, str]]:
    """Prompts, and what the template itself makes of a turn with thinking after them; its end tokens are cut off."""
    family = family_of(template)
    tagged = {"content": f"{family.tags.start or ''}WHY{family.tags.end}ANSWER"}
    for variables in VARIABLES:
        for said in [*THINKING, tagged]:
            try:
                prompt = prompt_of(template, variables)
                turn = {"role": "assistant", "content": "ANSWER", **said}
                whole = prompt_of(template, variables, turn, opened=False)
            except TemplateError:
                continue
            prompt = prompt if whole.startswith(prompt) else prompt.rstrip()
            if whole.startswith(prompt) and whole.count("WHY") == 1 and "type" not in whole[len(prompt) :]:
                raw = whole[len(prompt) : whole.rindex("ANSWER") + len("ANSWER")]
                bare = raw.strip().removeprefix(family.tags.start or "")
                if said is not tagged or bare == f"WHY{family.tags.end}ANSWER":
                    yield prompt, raw


def test_every_template_that_knows_thinking_has_a_family():
    """And no other; a new template of the archive must be looked at."""
    assert {name for name, text in chat_templates().items() if family_of(text) is None} == WITHOUT


def test_the_turns_of_real_templates_are_separated_and_wherever_they_are_cut_no_thinking_is_an_answer():
    """Thinking and answer of a whole turn; of every beginning of it the answer is a beginning of the answer."""
    seen = set()
    for name, template in chat_templates().items():
        if (family := family_of(template)) is None:
            continue
        tags = {"thinking_start": family.tags.start, "thinking_end": family.tags.end}
        rule = CleaningRule(**tags, frame=family.frame or None)
        for prompt, raw in turns(template):
            seen.add(name)
            found = clean(raw, rule, prompt=prompt)
            assert (found.text, found.thinking) == ("ANSWER", "WHY"), (name, raw)
            for length in range(len(raw)):
                cut = clean(raw[:length], rule, prompt=prompt, truncated=True)
                assert "ANSWER".startswith(cut.text), (name, raw[:length])
                assert cut.in_thinking or cut.text or raw[:length].strip() == "" or cut.thinking, (name, raw[:length])
    assert seen == chat_templates().keys() - WITHOUT - CUT_FROM_HISTORY


def test_whether_a_prompt_ends_in_thinking_is_seen():
    """As it does for many models; and not where the template closed the thinking again."""
    found = {}
    for name in ("Qwen3.5-4B", "MiniMax-M2", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "Cohere2MoE", "Kimi-K3"):
        template = chat_templates()[name]
        tags = family_of(template).tags
        rule = CleaningRule(thinking_start=tags.start, thinking_end=tags.end)
        found[name] = rule.tags(prompt_of(template, {})).opened
    assert all(found.values()), found
    for name, off in {"Qwen3.5-4B": {"enable_thinking": False}, "Cohere2MoE": {"reasoning": False}}.items():
        template = chat_templates()[name]
        tags = family_of(template).tags
        rule = CleaningRule(thinking_start=tags.start, thinking_end=tags.end)
        assert not rule.tags(prompt_of(template, off)).opened


@pytest.mark.parametrize(
    ("template", "raw", "text", "thinking"),
    [
        ("<think></think><response></response>", "<think>a</think><response>b</response>", "b", "a"),
        (r"</think>\n\n<response>\n", "<think>\na\n</think>\n\n<response>\nb\n</response>\n", "b", "a"),
        ("</think><answer>", "<think>\na\n</think>\n<answer>\nb\n</answer>", "b", "a"),
        ("</think><answer>", "b", "b", None),
        ("◁/think▷", "◁think▷a◁/think▷b", "b", "a"),
        ("</thought>", "<thought>\na\n</thought>\nb", "b", "a"),
        (
            "<|end_of_thought|>",
            "<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>b<|end_of_solution|>",
            "b",
            "a",
        ),
        ("<|channel>thought<channel|>", "<|channel>thought\na<channel|>b", "b", "a"),
        ("<|channel|>final<|message|>", "<|channel|>commentary<|message|>b<|end|>", "b", None),
        (
            "<|channel|>final<|message|>",
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>c<|end|>"
            "<|start|>assistant<|channel|>final<|message|>b",
            "b",
            "a\n\nc",
        ),
        ("[BEGIN FINAL RESPONSE]", "a\n[BEGIN FINAL RESPONSE]\nb\n[END FINAL RESPONSE]", "b", "a"),
    ],
)
def test_the_forms_of_other_families(template, raw, text, thinking):
    """Of models whose templates aren't in the archive, or leave thinking out."""
    family = family_of(template)
    rule = CleaningRule(thinking_start=family.tags.start, thinking_end=family.tags.end, frame=family.frame or None)
    found = clean(raw, rule)
    assert (found.text, found.thinking) == (text, thinking)
