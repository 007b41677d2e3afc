"""Keys of huggingface_local that change the prompt or the weights: each does what it says, or is refused in words."""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from playbill.backends import (
    BackendUnavailable,
    EntryError,
    MessageError,
    ParameterError,
    PlaybillError,
    WeightsError,
    load_model,
)
from playbill.backends.registry.lookup import ModelRegistry
from playbill.proof.check import Options, check_model
from support.smollm2 import tiny_folder

pytest.importorskip("torch")

CHAT = [{"role": "user", "content": "Hello."}]
LAYERS = ["q_proj", "down_proj"]


def entry_of(folder: Path | None = None, **keys: Any) -> dict[str, Any]:
    return {
        "model_name": "smol",
        "backend": "huggingface_local",
        "huggingface_id": str(folder or tiny_folder()),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "max_tokens": 4,
        "threads": 1,
        **keys,
    }


def with_template(tmp_path: Path, template: Any) -> Path:
    folder = Path(shutil.copytree(tiny_folder(), tmp_path / "model"))
    for old in folder.glob("*.jinja"):
        old.unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    return folder


def test_cot_bypass_begins_the_answer_and_is_a_part_of_the_prompt():
    """The text stands at the prompt's end, its special tokens are one id each, and it is in no answer."""
    with load_model(entry_of()) as plain, load_model(entry_of(cot_bypass="<|im_start|>so:")) as model:
        before, answer = plain.generate(CHAT), model.generate(CHAT)
    assert answer.prompt == before.prompt + "<|im_start|>so:"
    assert answer.prompt_ids[: len(before.prompt_ids)] == before.prompt_ids
    assert answer.prompt_ids[len(before.prompt_ids)] == 1
    assert "so:" not in answer.raw


def test_cot_effort_reaches_the_template():
    """It is the template's reasoning_effort, unless chat_template_kwargs say otherwise."""
    template = "{{ reasoning_effort }}|{{ messages[0].content }}"
    keys = {"premade_chat_template": False, "custom_chat_template": template, "cot_effort": "low"}
    with load_model(entry_of(**keys)) as model:
        assert model.generate(CHAT).prompt == "low|Hello."
    with load_model(entry_of(**keys, chat_template_kwargs={"reasoning_effort": "high"})) as model:
        assert model.generate(CHAT).prompt == "high|Hello."


def test_cot_effort_that_the_template_does_not_read_is_refused():
    """It would change nothing, and the records would be called 'low'."""
    with pytest.raises(EntryError, match="cot_effort can't be honoured: the chat template doesn't read"):
        load_model(entry_of(cot_effort="low"))


def test_check_finds_what_a_load_would_refuse():
    """As an error of the entry, on a mere look at its prompt path."""
    from playbill.backends import ModelRegistry
    from playbill.proof import Options, check_model

    for keys in ({"cot_effort": "low"}, {"cot_output": True}, {"chat_template_language": "DE"}, {"model_class": "X"}):
        for backend in ("huggingface_local", "vllm"):
            verdict = check_model({**entry_of(**keys), "backend": backend}, ModelRegistry([]), Options())
            assert verdict.wrong
            assert "PB123" in [finding.code for finding in verdict.findings]


def test_cot_output_needs_an_end_of_the_thinking():
    """From the entry, or from a template of a known family; else nothing could be separated."""
    with pytest.raises(EntryError, match="neither the entry nor the chat template says how the thinking ends"):
        load_model(entry_of(cot_output=True))
    family = {"premade_chat_template": False, "custom_chat_template": "{{ messages[0].content }}{# </think> #}"}
    for known in ({"cot_end_tag": "</think>"}, family):
        with load_model(entry_of(cot_output=True, **known)) as model:
            assert model.cleaning.thinking_end == "</think>"


def test_an_end_of_the_thinking_that_stops_the_model_is_refused():
    """All would be thinking, or none of it told from the answer; on a mere look as on a load."""
    from playbill.backends.loading import load_prompt_path

    for open_it in (load_model, load_prompt_path):
        with pytest.raises(EntryError, match=r"cot_end_tag is '<\|im_end\|>', with which the model ends its answers"):
            open_it(entry_of(cot_end_tag="<|im_end|>"))
    load_prompt_path(entry_of(cot_end_tag="<|im_end|>", cot_output=False))


def test_cot_output_false_takes_a_text_without_both_tags_as_the_answer():
    """Even one that is cut off; thinking between both tags is kept apart all the same."""
    with load_model(entry_of(cot_output=False, cot_end_tag="</think>")) as model:
        answer = model.generate(CHAT)
        assert (answer.outcome, answer.thinking) == ("truncated", None)
    with load_model(entry_of(cot_end_tag="</think>", max_thinking_tokens=4)) as model:
        assert model.generate(CHAT).outcome == "truncated_in_thinking"
    with load_model(entry_of(cot_output=False, cot_start_tag="<think>", cot_end_tag="</think>")) as model:
        assert model.cleaning.thinking_end == "</think>"


def test_use_bf16_is_the_number_format():
    """As dtype says it; the checkpoint is float32."""
    formats = []
    for keys in ({}, {"use_bf16": True}, {"use_bf16": False}, {"dtype": "bfloat16"}):
        with load_model(entry_of(**keys)) as model:
            formats.append(model.engine.facts()["dtype"])
    assert formats == ["float32", "bfloat16", "float32", "bfloat16"]


def test_model_class_is_compared_and_never_imported():
    """The class that the configuration gives, or transformers' choice of it; another is refused on a mere look."""
    from playbill.backends.loading import load_prompt_path

    for right in ("LlamaForCausalLM", "transformers.LlamaForCausalLM", "transformers.AutoModelForCausalLM"):
        load_prompt_path(entry_of(model_class=right))
    for wrong in ("transformers.AutoModel", "os.system"):
        with pytest.raises(EntryError, match="LlamaForCausalLM follows from the model's configuration"):
            load_prompt_path(entry_of(model_class=wrong))


def test_do_sample_false_refuses_a_temperature(tmp_path):
    """Of a call, as of the entry; and takes none from the repository."""
    folder = Path(shutil.copytree(tiny_folder(), tmp_path / "model"))
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "temperature": 0.6}))
    with load_model(entry_of(folder, do_sample=False, generation_config="repo")) as model:
        assert model.generate(CHAT).params.effective["temperature"] == 0
        with pytest.raises(ParameterError, match="do_sample: false, which is greedy"):
            model.generate(CHAT, temperature=0.5)
    with load_model(entry_of(folder, do_sample=True, generation_config="repo")) as model:
        assert model.generate(CHAT).params.effective["temperature"] == 0.6


def test_arguments_that_the_template_does_not_read_are_said_on_a_load(caplog):
    """With the near one that it does."""
    template = "{{ enable_thinking }}{{ messages[0].content }}"
    keys = {"premade_chat_template": False, "custom_chat_template": template}
    load_model(entry_of(**keys, chat_template_kwargs={"enable_thinkin": False})).close()
    assert "doesn't read 'enable_thinkin' of chat_template_kwargs; did you mean 'enable_thinking'?" in caplog.text


def test_images_are_refused():
    """A template would pass them over, and the model would answer to half of what it was asked."""
    with load_model(entry_of()) as model:
        for message in ({"content": "What?", "image": "a.png"}, {"content": [{"type": "image_url", "image_url": {}}]}):
            with pytest.raises(MessageError, match=r"messages\[0\].*(the entry doesn't say|names no picture)"):
                model.generate([{"role": "user", **message}])


def test_chat_template_language_names_one_of_several_templates(tmp_path):
    """Where a model has named templates the key chooses; a name that isn't there is an error that lists them."""
    templates = [{"name": n, "template": f"{n}: {{{{ messages[0].content }}}}"} for n in ("default", "DE")]
    folder = with_template(tmp_path, templates)
    with load_model(entry_of(folder, chat_template_language="DE")) as model:
        assert model.generate(CHAT).prompt == "DE: Hello."
    with load_model(entry_of(folder)) as model:
        assert model.generate(CHAT).prompt == "default: Hello."
    with pytest.raises(PlaybillError, match="no chat template named 'FR', only: DE, default"):
        load_model(entry_of(folder, chat_template_language="FR"))
    with pytest.raises(EntryError, match="one template without a name"):
        load_model(entry_of(chat_template_language="DE"))


def test_another_attention_is_used_and_said(caplog):
    """attn_implementation reaches the model; requests are then computed one after the other, which is said."""
    with load_model(entry_of(attn_implementation="eager")) as model:
        assert model.engine.facts()["attention"] == "eager"
        assert model.concurrency == 1
        assert model.generate(CHAT).output_ids
    assert "answered one at a time, since attn_implementation is 'eager'" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "package"),
    [("load_in_8bit", True, "bitsandbytes"), ("load_in_4bit", True, "bitsandbytes"), ("peft_model", "a/b", "peft")],
)
def test_a_package_that_is_missing_is_named_before_any_download(key, value, package):
    """The message says which key needs it and how it is installed."""
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(BackendUnavailable, match=f"{key} needs {package}.*pip install {package}"):
        load_model(entry_of(**{key: value}))


def test_an_attention_whose_package_is_missing_says_so():
    """Before any download; without a package named after it the key's value would tell nobody what to install."""
    if find_spec("flash_attn") or find_spec("kernels"):
        pytest.skip("there is one")
    with pytest.raises(BackendUnavailable, match="pip install flash-attn; or take the key out"):
        load_model(entry_of(attn_implementation="flash_attention_2"))


@pytest.mark.parametrize("other", [{"load_in_8bit": True}, {"gguf_file": "x"}])
def test_keys_that_exclude_each_other_are_refused(other):
    """Weights can't be quantized in two ways."""
    with pytest.raises(EntryError, match="exclude each other"):
        load_model(entry_of(load_in_4bit=True, **other))


def test_an_adapter_must_be_there_in_safetensors(tmp_path):
    """A folder that is missing, or has pickled weights only, is refused by its name."""
    from datetime import datetime

    from playbill.backends.credentials import Credentials
    from playbill.backends.engines.base import Context
    from playbill.backends.weights.adapter import adapter_folder

    context = Context(credentials=Credentials([]), date=datetime(2026, 1, 1))
    with pytest.raises(WeightsError, match="there is no folder /nowhere"):
        adapter_folder(entry_of(peft_model="/nowhere"), context.credentials)
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"pickled")
    with pytest.raises(WeightsError, match=r"has no adapter_model.safetensors; adapters are loaded from safetensors"):
        adapter_folder(entry_of(peft_model=str(tmp_path)), context.credentials)


def test_an_adapter_changes_the_answers(tmp_path):
    """A real LoRA adapter, in either layout, and its hashes are in the facts."""
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    lora = peft.LoraConfig(r=4, lora_alpha=400, target_modules=["q_proj", "o_proj"], init_lora_weights=False)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder()), lora).save_pretrained(tmp_path)
    flat = entry_of(peft_model=str(tmp_path))
    moved = ("premade_chat_template", "eos_to_cull", "peft_model")
    nested = {k: v for k, v in flat.items() if k not in moved}
    nested["model_config"] = {**{k: flat[k] for k in moved}, "eos_to_cull": r"<\|im_end\|>"}
    answers = []
    for entry, adapted in ((entry_of(), False), (flat, True), (nested, True)):
        with load_model(entry) as model:
            answers.append(model.generate(CHAT).output_ids)
            assert ("peft_model" in model.engine.facts()) is adapted
    assert answers[0] != answers[1] == answers[2]


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_dialogues_with_an_adapter_are_computed_together(tmp_path, kind):
    """As peft's own `generate` answers each."""
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    common = {"task_type": "CAUSAL_LM"}
    config = {
        "lora": lambda: peft.LoraConfig(r=4, lora_alpha=400, init_lora_weights=False, target_modules=LAYERS, **common),
        "ia3": lambda: peft.IA3Config(
            init_ia3_weights=False, target_modules=LAYERS, feedforward_modules=LAYERS[1:], **common
        ),
    }[kind]()
    base = AutoModelForCausalLM.from_pretrained(tiny_folder(), dtype=torch.float32)
    adapted = peft.get_peft_model(base, config).eval()
    adapted.save_pretrained(tmp_path)
    chats = [[{"role": "user", "content": f"Say {word} to me."}] for word in ("yes", "no, never ever", "hello")]
    with load_model(entry_of(peft_model=str(tmp_path), dtype="float32")) as model:
        facts = model.engine.facts()["batching"]
        found = model.generate_batch(chats, max_tokens=8)
    assert (facts["kind"], facts["company_independent"]) == ("exact", True)
    for answer in found:
        ids = torch.tensor([answer.prompt_ids])
        whole = adapted.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8, min_new_tokens=1
        )[0].tolist()
        assert whole[ids.shape[1] :][: len(answer.output_ids)] == list(answer.output_ids)


def test_an_adapter_that_would_not_be_applied_is_refused(tmp_path):
    """Keys before the prompt are dropped by transformers' caches, and the answers are those of the bare model. `check`
    says it too."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    config = peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder()), config).save_pretrained(tmp_path)
    said = "of the kind PREFIX_TUNING, which isn't in the model's layers alone and isn't applied here; take one of LORA"
    with pytest.raises(WeightsError, match=re.escape(said)):
        load_model(entry_of(peft_model=str(tmp_path)))
    verdict = check_model(entry_of(peft_model=str(tmp_path)), ModelRegistry.load(), Options())
    assert [f.code for f in verdict.findings if said in f.message] == ["PB225"]
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "alora_invocation_tokens": [1]}')
    with pytest.raises(WeightsError, match="LoRA that begins at certain tokens"):
        load_model(entry_of(peft_model=str(tmp_path)))


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_are_quantized_on_load(bits):
    """By bitsandbytes, on a CPU too; the facts say it, and the noise that it makes about itself is kept out."""
    pytest.importorskip("bitsandbytes")
    with load_model(entry_of(**{f"load_in_{bits}bit": True})) as model:
        found = model.engine.facts()["quantization"]
        assert (found["method"], found["bits"]) == ("bitsandbytes", bits)
        assert found.get("bnb_4bit_quant_type") == (None if bits == 8 else "nf4")
        assert model.generate(CHAT).output_ids


def test_a_model_that_thinks_has_two_budgets(tmp_path):
    """The template's family tells the tags; thinking that never ends is cut at its own limit, and is no answer."""
    template = "{{ messages[0].content }}{# </think> #}<think>"
    keys = {"premade_chat_template": False, "custom_chat_template": template, "max_thinking_tokens": 7}
    with load_model(entry_of(**keys)) as model:
        answer = model.generate(CHAT)
        assert answer.outcome == "truncated_in_thinking"
        assert (answer.text, len(answer.output_ids), answer.finish_reason_raw) == ("", 7, "max_thinking_tokens")
        assert answer.usage.thinking_tokens == 7
    with load_model(entry_of(**keys, cot_bypass="</think>")) as model:
        answer = model.generate(CHAT)
        assert (answer.outcome, len(answer.output_ids)) == ("truncated", 4)


def test_a_text_on_which_the_tokenizer_panics_is_the_fate_of_its_dialogue(tmp_path):
    """A panic in Rust is a BaseException, which would end the whole run; the other dialogues are answered."""
    folder = Path(shutil.copytree(tiny_folder(), tmp_path / "model"))
    file = folder / "tokenizer.json"
    config = json.loads(file.read_text())
    split = {"type": "Split", "pattern": {"Regex": "(b+)+$"}, "behavior": "Isolated", "invert": False}
    config["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, config["pre_tokenizer"]]}
    file.write_text(json.dumps(config))
    texts = ["Hello.", "b" * 40 + "?", "Good bye."]
    with load_model(entry_of(folder)) as model:
        found = model.generate_batch([[{"role": "user", "content": text}] for text in texts])
    assert [each.outcome == "error" for each in found] == [False, True, False]
    assert found[1].error["message"].startswith("the tokenizer broke on this text: ")
