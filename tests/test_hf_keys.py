"""Keys of huggingface_local that change the prompt or the weights: each does what it says, or is refused in words."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from playbill.backends import BackendUnavailable, EntryError, PlaybillError, WeightsError, load_model
from smollm2 import tiny_folder

pytest.importorskip("torch")
CHAT = [{"role": "user", "content": "Hello."}]


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


@pytest.mark.parametrize("other", [{"load_in_8bit": True}, {"gguf_file": "x"}])
def test_keys_that_exclude_each_other_are_refused(other):
    """Weights can't be quantized in two ways."""
    with pytest.raises(EntryError, match="exclude each other"):
        load_model(entry_of(load_in_4bit=True, **other))


def test_an_adapter_must_be_there_in_safetensors(tmp_path):
    """A folder that is missing, or has pickled weights only, is refused by its name."""
    from datetime import datetime

    from playbill.backends.credentials import Credentials
    from playbill.backends.engine import Context
    from playbill.backends.engines.adapters import adapter_folder

    context = Context(credentials=Credentials([]), date=datetime(2026, 1, 1))
    with pytest.raises(WeightsError, match="there is no folder /nowhere"):
        adapter_folder(entry_of(peft_model="/nowhere"), context)
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"pickled")
    with pytest.raises(WeightsError, match=r"has no adapter_model.safetensors; adapters are loaded from safetensors"):
        adapter_folder(entry_of(peft_model=str(tmp_path)), context)


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
