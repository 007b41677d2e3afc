"""What a stranger's configuration says reaches no kernel on the hub; what can't be loaded is known before the load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from playbill.backends import EntryError, load_model, load_prompt_path
from playbill.backends.registry.lookup import ModelRegistry
from playbill.proof.check import Options, check_model
from support.smollm2 import tiny_folder

pytest.importorskip("torch")
CHAT = [{"role": "user", "content": "Hello."}]
KERNEL = "nobody/no-kernel"


def folder_of(place: Path, config: dict[str, Any]) -> Path:
    """A copy of the tiny model with another configuration."""
    folder = Path(shutil.copytree(tiny_folder(), place / "model"))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def own() -> dict[str, Any]:
    config: dict[str, Any] = json.loads((tiny_folder() / "config.json").read_text())
    return config


def entry_of(folder: Path, **keys: Any) -> dict[str, Any]:
    return {
        "model_name": "odd",
        "backend": "huggingface_local",
        "huggingface_id": str(folder),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "max_tokens": 4,
        "threads": 1,
        **keys,
    }


def refusal(entry: dict[str, Any]) -> str:
    """The one refusal of load and preview, which `check` has as an error."""
    said = set()
    for attempt in (load_model, load_prompt_path):
        with pytest.raises(EntryError) as e:
            attempt(entry)
        said.add(str(e.value))
    verdict = check_model(entry, ModelRegistry.load(), Options())
    (found,) = [f for f in verdict.findings if f.code == "PB123"]
    (message,) = said
    assert message == f"odd: {found.message}"
    assert verdict.wrong
    return message


@pytest.fixture(scope="module")
def usual() -> tuple[int, ...]:
    with load_model(entry_of(tiny_folder())) as model:
        return model.generate(CHAT).output_ids


@pytest.mark.parametrize(
    "said",
    [
        {"_attn_implementation": KERNEL},
        {"attn_implementation": KERNEL},
        {"_attn_implementation_internal": KERNEL},
        {"_experts_implementation": "sonicmoe"},
        {"experts_implementation": "deepgemm"},
        {"use_kernels": True, "kernel_config": {"RMSNorm": KERNEL}},
        {"auto_map": {"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Evil"}},
    ],
    ids=lambda said: next(iter(said)),
)
def test_a_configuration_that_names_kernels_or_code_is_computed_as_ever(tmp_path, usual, said):
    """Attention and experts are those of the entry, or transformers' own; the facts say which."""
    folder = folder_of(tmp_path, own() | said)
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with load_model(entry_of(folder)) as model:
        assert model.generate(CHAT).output_ids == usual
        assert model.engine.facts()["attention"] == "sdpa"
        assert model.engine.concurrency > 1


def test_a_part_of_a_configuration_names_no_kernel_either(tmp_path):
    """Models of several parts have a configuration in the configuration."""
    from playbill.backends.engines.checkpoint.config import own_config
    from playbill.backends.engines.checkpoint.source import Source

    named = {"_attn_implementation": KERNEL, "experts_implementation": "sonicmoe"}
    folder = folder_of(tmp_path, {"model_type": "gemma3", "text_config": named, "vision_config": named, **named})
    config = own_config(entry_of(folder, attn_implementation="eager"), Source(str(folder), folder), trust=False)
    for part in (config, config.text_config, config.vision_config):
        assert (part._attn_implementation, part._experts_implementation) == ("eager", None)


def test_a_kind_that_transformers_does_not_know_is_refused(tmp_path):
    folder = folder_of(tmp_path, own() | {"model_type": "llama99"})
    assert "a model of the kind 'llama99' (LlamaForCausalLM), for which" in refusal(entry_of(folder))


def test_an_encoder_is_refused(tmp_path):
    """What it says of a token depends on the tokens after it, of which there are none in an answer."""
    folder = folder_of(tmp_path, {"model_type": "bert", "architectures": ["BertForMaskedLM"]})
    assert "names an encoder ('bert' (BertForMaskedLM), without is_decoder)" in refusal(entry_of(folder))


def test_a_class_that_is_code_needs_the_entrys_word(tmp_path):
    folder = folder_of(tmp_path, own() | {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "evil.Evil"}})
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    assert "the model's class is Python code in its repository" in refusal(entry_of(folder))
