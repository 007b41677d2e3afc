"""Response templates: read as transformers reads them, bounded, and answers that hold no thinking."""

from __future__ import annotations

import copy
import json
import random
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from playbill.backends import ModelRegistry, load_model, load_prompt_path
from playbill.backends.answer.clean import Cleaned, CleaningRule, clean
from playbill.backends.answer.cleaning_rule import cleaning_rule, usable_response, who_separates
from playbill.backends.credentials import Credentials
from playbill.backends.engines import vllm
from playbill.backends.engines.base import Context
from playbill.backends.errors import TemplateError, TemplateFault
from playbill.backends.prompt.template import Region, response_regions
from playbill.cli import main
from playbill.runs import run
from playbill.runs.replay import Replayed, replay
from support.response_templates import BARE, GEMMA, HARMONY, QWEN, TEMPLATES

PIECES = ["a", " b ", "\n", "<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>", "<|endoftext|>"]
PIECES += ["<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|channel|>commentary to=f<|message|>"]
PIECES += ["<|end|>", "<|return|>", "<|call|>", "<|start|>assistant", "<|channel>thought\n", "<channel|>", "<turn|>"]
PIECES += ["<eos>", "=>", "=", "<|cha", "nel|>final<|message|>"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_regions_are_those_that_transformers_finds(name):
    """Over random texts of markers and words: the same fields in the same order, with the same text."""
    chat_parsing = pytest.importorskip("transformers.utils.chat_parsing")
    draw = random.Random(name)
    for _ in range(400):
        text = "".join(draw.choice(PIECES) for _ in range(draw.randint(0, 12)))
        parser = chat_parsing.ResponseParser(TEMPLATES[name], prefix="")
        events = [*parser.feed(text), *parser.finalize()[1]]
        wanted = [(e["field"], e["value"]) for e in events if e["type"] == "region_close"]
        found = response_regions(TEMPLATES[name], "", text)
        assert [(region.field, region.text.strip()) for region in found] == wanted, text


def test_the_prompt_says_what_is_open_and_gives_no_text():
    """Thinking opened by the template, closed by it, or in an earlier turn; the anchor's last occurrence counts."""
    earlier = "<|im_start|>assistant\n<think>no<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    for prompt, wanted in {
        earlier: [Region("content", "a", closed=False)],
        earlier + "<think>\n": [Region("reasoning_content", "a", closed=False)],
        earlier + "<think>\n\n</think>\n\n": [Region("content", "a", closed=False)],
        earlier + "Sure: ": [Region("content", "a", closed=False)],
        "no anchor <think>": [Region("content", "a", closed=False)],
    }.items():
        assert response_regions(QWEN, prompt, "a") == wanted, prompt


def rule(template, **more):
    return CleaningRule(
        end_tokens=("<|im_end|>",), thinking_start="<think>", thinking_end="</think>", response=template
    )


OPENED = "<|im_start|>assistant\n<think>\n"


@pytest.mark.parametrize(
    ("raw", "prompt", "truncated", "wanted"),
    [
        ("<think>why</think>\n\nso<|im_end|>", "", False, Cleaned("so", "why")),
        ("so<|im_end|>", "", False, Cleaned("so", None)),
        ("why</think>so", OPENED, False, Cleaned("so", "why")),
        ("why", OPENED, True, Cleaned("", "why", in_thinking=True)),
        ("why", OPENED, False, Cleaned("", "why", in_thinking=True)),
        ("<think>why", "", True, Cleaned("", "why", in_thinking=True)),
        ("<thi", "", True, Cleaned("", "", in_thinking=True)),
        ("<think>a<think>b</think>c</think>so", "", False, Cleaned("so", "a<think>b\n\nc")),
        ("<think>a<think>b</think>c", "", True, Cleaned("", "a<think>b</think>c", in_thinking=True)),
        ("<think>a</think>x<think>b</think>so", "", False, Cleaned("so", "a\n\nb")),
        ("so<think>b</think>\n", "", False, Cleaned("so", "b")),
        ("<think>why</think>so<tool_call>{}</tool_call>\n<|im_end|>", "", False, Cleaned("so", "why")),
    ],
)
def test_thinking_and_answer_come_from_the_template(raw, prompt, truncated, wanted):
    """Opened by the prompt, cut off, nested, repeated, with a tool call behind: the answer holds no thinking."""
    assert clean(raw, rule(QWEN), prompt=prompt, truncated=truncated) == wanted


def test_channels_are_told_apart():
    """Of several channels the final one is the answer; a text that ends before it is thinking."""
    harmony = CleaningRule(response=HARMONY)
    prompt = "<|start|>user<|message|>Hi<|end|><|start|>assistant"
    thought = "<|channel|>analysis<|message|>one<|end|><|start|>assistant<|channel|>analysis<|message|>two"
    whole = f"{thought}<|end|><|start|>assistant<|channel|>final<|message|>Hello.<|return|>"
    assert clean(whole, harmony, prompt=prompt) == Cleaned("Hello.", "one\n\ntwo")
    assert clean(thought, harmony, prompt=prompt, truncated=True) == Cleaned("", "one\n\ntwo", in_thinking=True)
    gemma = CleaningRule(response=GEMMA, end_tokens=("<turn|>",))
    assert clean("<|channel>thought\nhm<channel|>Hello.<turn|>", gemma) == Cleaned("Hello.", "hm")
    assert clean("hm => Hello.", CleaningRule(response=BARE), prompt="A:") == Cleaned("Hello.", "hm")


def test_joined_answers_are_joined_and_others_replaced():
    """As transformers does it."""
    joined = copy.deepcopy(HARMONY)
    joined["fields"]["content"] |= {"repeats": True, "join": " + "}
    two = "<|channel|>final<|message|>a<|end|><|channel|>final<|message|>b<|end|>"
    assert clean(two, CleaningRule(response=joined)).text == "a + b"
    assert clean(two, CleaningRule(response=HARMONY)).text == "b"


def test_where_the_template_finds_nothing_tags_separate_and_it_is_said():
    """A text without any of its markers stays whole."""
    found = clean("<think>hm</think>plain", rule(HARMONY))
    assert (found.text, found.thinking) == ("plain", "hm")
    assert found.problem == "it found neither thinking nor an answer"


def hostile(**field):
    return {"start_anchor": "A:", "fields": {"content": {}, "thinking": field}}


def test_a_pattern_that_takes_for_ever_is_stopped_and_in_the_end_asked_no_more():
    """Two seconds, three times; then tags separate at once. Nothing of it is an answer."""
    bad = hostile(open_pattern="(x+x+)+y", close="</think>")
    raw = f"<think>{'x' * 60}</think>so"
    found = clean(raw, rule(bad))
    assert (found.text, found.thinking) == ("so", "x" * 60)
    assert "2 s" in found.problem
    for _ in range(2):
        assert clean(raw, rule(bad)) == found
    assert "asked no more" in clean(raw, rule(bad)).problem


def test_a_text_of_very_many_regions_takes_no_more_than_its_length():
    """A model that repeats itself to its limit doesn't use up the time of its template."""
    text = "<think>a</think>b" * 20_000
    assert len(response_regions(QWEN, "", text)) == 40_000


@pytest.mark.parametrize(
    "template",
    [
        {"start_anchor": "A:", "fields": {"content": {}, "thinking": {}}},
        {"fields": {"content": {}}},
        {"start_anchor": "A:", "fields": {"thinking": {"open": "x"}}},
        {"start_anchor": "A:", "fields": []},
        {"start_anchor": "A:", "version": 2, "fields": {"content": {}}},
        {"start_anchor": "A:", "fields": {"content": 5}},
        hostile(open_pattern="(unclosed"),
        hostile(open=""),
        hostile(open_pattern="(?:" * 5000 + ")" * 5000),
        "text",
    ],
    ids=str,
)
def test_what_is_no_response_template_is_warned_of_and_left_out(template, recwarn):
    """Whatever is wrong with it, the model loads without it."""
    assert usable_response("m", template) is None


def test_regions_without_end_are_bounded():
    """Patterns that match nothing again and again end the process that matches them, and nothing else."""
    with pytest.raises(TemplateError) as caught:
        response_regions(hostile(open_pattern="(?=a)", close_pattern="(?=a)"), "", "a")
    assert caught.value.fault in (TemplateFault.MEMORY, TemplateFault.TIME)
    assert response_regions(GEMMA, "", "a")


@pytest.fixture
def folder(tmp_path):
    """The tiny model as one whose repository brings a response template."""
    pytest.importorskip("torch")
    from support.smollm2 import tiny_folder

    folder = Path(shutil.copytree(tiny_folder(), tmp_path / "model"))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "response_template": QWEN}))
    return folder


def entry(folder, **keys):
    common = {"model_name": "tiny", "backend": "huggingface_local", "premade_chat_template": True, "threads": 1}
    return {**common, "huggingface_id": str(folder), "eos_to_cull": "<|im_end|>", **keys}


def test_the_tokenizers_own_template_is_used_unless_the_entry_says_otherwise(folder):
    """It belongs to the model's own chat template, and an entry's tags win over it."""
    found = {}
    own = {"cot_start_tag": "<t>", "cot_end_tag": "</t>"}
    other = {"premade_chat_template": False, "custom_chat_template": "{{ messages[0].content }}"}
    for name, keys in {"plain": {}, "tags": own, "template": other}.items():
        spec, path = load_prompt_path(entry(folder, **keys), registry=ModelRegistry([]))
        rule = cleaning_rule(spec, path)
        found[name] = (rule.response is not None, rule.thinking_end, who_separates(spec, rule))
    assert found == {
        "plain": (True, "</think>", "response template"),
        "tags": (False, "</t>", "entry"),
        "template": (False, None, None),
    }
    context = Context(credentials=Credentials([]), date=datetime(2026, 11, 24))
    assert vllm.preview(entry(folder, backend="vllm"), context).response == QWEN


def test_show_and_prompt_say_who_separates_thinking(folder, tmp_path, capsys):
    """With the template itself, and the tags by which budgets are counted."""
    registry = tmp_path / "registry.json"
    registry.write_text(json.dumps([entry(folder)]))
    found = {}
    for command in (["show", "tiny", "--full"], ["prompt", "tiny"]):
        with pytest.raises(SystemExit):
            main([*command, "--registry", str(registry), "--json"])
        printed = json.loads(capsys.readouterr().out)
        found[command[0]] = printed.get("prompt_path", printed)["thinking"]
    tags = {"start": "<think>", "end": "</think>"}
    assert found["show"] == found["prompt"] == {"source": "response template", **tags, "response_template": QWEN}
    with pytest.raises(SystemExit):
        main(["prompt", "tiny", "--registry", str(registry)])
    assert "thinking: '<think>' to '</think>', says response template" in capsys.readouterr().out


def test_a_run_is_replayed_from_its_manifest_and_records(folder, tmp_path):
    """The response template is in the manifest; with another one other texts are made, and that is a difference."""
    template = copy.deepcopy(QWEN)
    with load_model(entry(folder), registry=ModelRegistry([]), max_tokens=4) as model:
        words = model.generate([{"role": "user", "content": "Hi"}]).raw
        assert model.generate([{"role": "user", "content": "Hi"}], max_thinking_tokens=3)
    template["fields"]["reasoning_content"] = {"open": words[:3], "close": words[4:6]}
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "response_template": template}))
    dialogues = [{"id": "d", "messages": [{"role": "user", "content": "Hi"}]}]
    out = tmp_path / "run"
    models = [("plain", entry(folder, max_tokens=4)), ("begun", entry(folder, max_tokens=4, cot_bypass="So: "))]
    run(dialogues, models, out=out, registry=ModelRegistry([]))
    counts = Replayed()
    assert list(replay(out, counts)) == []
    assert counts.texts == 2
    manifest = json.loads((out / "manifest.json").read_text())
    described = manifest["models"]["plain"]
    assert described["cleaning"]["response"] == template
    described["cleaning"] |= {"response": QWEN, "thinking_start": None, "thinking_end": None}
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert {difference.field for difference in replay(out)} == {"text", "thinking"}
