"""The prompt path of huggingface_local: each key of the entry is read, and nothing is added to a prompt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from playbill.backends import EntryError, PlaybillError, WeightsError
from playbill.backends.loading import load_prompt_path
from playbill.backends.prompt.prompt_path import PromptPath
from support.smollm2 import GGUF, gguf_folder, mistral_models, tiny_folder

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the tiny model without its weights, for tests to change."""
    copy = tmp_path / "model"
    copy.mkdir()
    for path in tiny_folder().iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, copy)
    return copy


def path_of(folder: Path, **keys: Any) -> PromptPath:
    entry = {
        "model_name": "tiny",
        "backend": "huggingface_local",
        "huggingface_id": str(folder),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        **keys,
    }
    _, path = load_prompt_path(entry)
    assert path is not None
    return path


def change(folder: Path, file: str, **values: Any) -> None:
    path = folder / file
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**content, **values}))


def test_the_premade_template_is_the_models_own(folder):
    """With premade_chat_template the prompt is what transformers itself renders, ids and all."""
    from transformers import AutoTokenizer

    messages = [{"role": "system", "content": "Guess."}, *HELLO]
    path = path_of(folder)
    prompt = path.render(messages)
    peer = AutoTokenizer.from_pretrained(folder)
    rendered = peer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=True)
    assert list(path.encode(prompt)) == rendered["input_ids"]
    assert prompt == peer.decode(rendered["input_ids"])


def test_a_model_without_a_template_is_an_error_where_the_entry_says_premade(folder):
    """premade_chat_template: true and no template there fails, and says what to write instead."""
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(PlaybillError, match="comes without a chat template; set it to false"):
        path_of(folder)
    assert path_of(folder, premade_chat_template=False).template.source == "generic"


def test_the_custom_template_is_used_where_the_entry_does_not_say_premade(folder):
    """custom_chat_template renders the prompt, and sees the special tokens and chat_template_kwargs."""
    custom = "{{ bos_token }}{{ mood }}: {{ messages[0].content }}{{ eos_token }}"
    path = path_of(
        folder, premade_chat_template=False, custom_chat_template=custom, chat_template_kwargs={"mood": "glad"}
    )
    assert path.render(HELLO) == "<|im_start|>glad: Hello<|im_end|>"


def test_of_named_templates_the_default_one_is_taken(folder):
    """A repository with several templates gives the one called default; without such a one it is an error."""
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    default = (folder / "chat_template.jinja").read_text()
    assert path_of(folder).template.text == default
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(PlaybillError, match="no chat template named 'default', only: tool_use"):
        path_of(folder)


def test_stop_ids_are_a_union_with_their_sources(folder):
    """Tokenizer, generation config, configuration, entry and template all end an answer; lists of ids count whole."""
    change(folder, "generation_config.json", eos_token_id=[0, 3])
    change(folder, "config.json", eos_token_id=4)
    stops = {stop.id: stop.sources for stop in path_of(folder, eos_to_cull=["<|im_end|>", "<file_sep>"]).stops.ids}
    assert stops == {
        0: ("generation_config",),
        2: ("entry", "tokenizer", "template"),
        3: ("generation_config",),
        4: ("config",),
        5: ("entry",),
    }


def test_an_eos_that_is_no_single_token_becomes_a_stop_string(folder):
    """eos_to_cull may be any text; what the tokenizer splits ends the answer as text."""
    assert path_of(folder, eos_to_cull="### User:").stops.strings == ("### User:",)


def test_special_tokens_are_recognised_and_none_is_added(folder):
    """Text becomes the ids of its own tokens, even where the tokenizer is set up to add, split, cut or pad."""
    plain = path_of(folder).encode("<|im_start|>user\nHi<|im_end|>")
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    settings["padding"] = {
        "strategy": {"Fixed": 16}, "direction": "Left", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>",
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    change(folder, "tokenizer_config.json", split_special_tokens=True, add_bos_token=True)
    assert plain == (1, 4093, 198, 26843, 2)
    assert path_of(folder).encode("<|im_start|>user\nHi<|im_end|>") == plain


def test_ids_come_back_as_the_very_text(folder):
    """Decoding keeps special tokens, spaces before punctuation and line breaks, whatever the model's settings."""
    change(folder, "tokenizer_config.json", clean_up_tokenization_spaces=True)
    path = path_of(folder)
    text = "  I do n't , <|im_end|> \n\n know . 🎭 "
    assert path.decode(path.encode(text)) == text


def test_the_context_is_the_least_that_anyone_states(folder):
    """The entry's context_size is a limit, and so is the configuration's; scaled positions stretch the latter."""
    assert path_of(folder).context_size == 8192
    assert path_of(folder, context_size="2k").context_size == 2048
    assert path_of(folder, context_size=100_000).context_size == 8192
    change(folder, "config.json", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4})
    assert path_of(folder).context_size == 16384


def test_recommended_sampling_is_shown_in_our_words(folder):
    """What the repository recommends is read from its file, as it would take effect in transformers."""
    assert path_of(folder).recommended == {}
    change(folder, "generation_config.json", temperature=0.6, top_p=0.9)
    assert path_of(folder).recommended == {"temperature": 0.0}
    change(folder, "generation_config.json", do_sample=True)
    assert path_of(folder).recommended == {"temperature": 0.6, "top_p": 0.9}


def test_a_recommendation_that_cannot_be_honoured_is_refused_by_name(folder):
    """With generation_config: repo every setting of the file is honoured, or the load fails and names it."""
    hidden = {"typical_p": 0.5, "no_repeat_ngram_size": 3, "min_new_tokens": 5, "suppress_tokens": [7], "num_beams": 4}
    for name, value in hidden.items():
        path = folder / "generation_config.json"
        path.write_text(json.dumps({"do_sample": True, name: value}))
        assert path_of(folder).recommended[name] == value
        with pytest.raises(EntryError, match=f"{name} can't be honoured"):
            path_of(folder, generation_config="repo")


def test_a_gguf_file_brings_its_own_tokenizer_and_template(folder):
    """With gguf_file the prompt has the same ids as with the folder that was made from it."""
    gguf, plain = path_of(gguf_folder(), gguf_file=GGUF), path_of(folder)
    assert gguf.encode(gguf.render(HELLO)) == plain.encode(plain.render(HELLO))
    with pytest.raises(WeightsError, match=f"GGUF files there: {GGUF}"):
        path_of(gguf_folder(), gguf_file="other.gguf")


def test_code_of_the_repository_never_runs_for_a_preview(folder, tmp_path):
    """A tokenizer that is Python code is an error in a preview, even where the entry asks for the code."""
    mark = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: pass\n")
    change(folder, "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})
    change(folder, "config.json", model_type="own", auto_map={"AutoConfig": "own.Own"})
    with pytest.raises(WeightsError, match="which only runs on a load that allows it"):
        path_of(folder, trust_remote_code=True)
    assert not mark.exists()


def test_a_broken_file_is_said_with_the_model(folder):
    """A tokenizer that can't be read is an error that names the model, not a traceback of the library's."""
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"^tiny: .*the tokenizer"):
        path_of(folder)


@pytest.fixture
def mistral(folder) -> Path:
    """A model whose tokenizer is Mistral's first SentencePiece file, in the form of its repository."""
    (folder / "tokenizer.json").unlink()
    shutil.copy(mistral_models() / "tokenizer.model.v1", folder / "tokenizer.model")
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True, **special})
    )
    change(folder, "config.json", eos_token_id=2, model_type="mistral")
    return folder


def test_the_slow_tokenizer_is_sentencepieces_own(mistral):
    """slow_tokenizer: true gives the ids of the SentencePiece model, and the records tell it from the fast one.

    transformers 5.23's fast tokenizer gave others for this text; 5.24's gives the same.
    """
    from sentencepiece import SentencePieceProcessor

    fast, slow = path_of(mistral), path_of(mistral, slow_tokenizer=True)
    peer = SentencePieceProcessor(str(mistral / "tokenizer.model"))
    text = "[INST] Hello, a  b\n\nc 日本 🎭 [/INST]"
    assert list(slow.encode("<s>" + text)) == [1, *peer.encode(text)]
    assert slow.tokenizer.facts()["slow"] is True
    assert fast.tokenizer.facts()["slow"] is False


def test_the_slow_tokenizer_gives_the_text_back(mistral):
    """Byte pieces, line breaks and spaces survive the way to ids and back; special tokens are written out."""
    path = path_of(mistral, slow_tokenizer=True)
    for text in ("Hello,\n\n a  b\t", "日本 🎭", "é"):
        assert path.decode(path.encode(text)) == text
    assert path.decode([1, 22557, 2]) == "<s> Hello</s>"
    assert {1, 2} <= path.tokenizer.special_ids()


def test_where_there_is_no_slow_tokenizer_that_is_warned_of(folder, caplog):
    """A model without a SentencePiece file keeps its fast tokenizer, with a warning, and the facts say so."""
    path = path_of(folder, slow_tokenizer=True, model_name="fast-only")
    assert "fast-only: slow_tokenizer is true, but the model brings no SentencePiece file" in caplog.text
    assert path.tokenizer.facts()["slow_asked"] is True
    assert path.tokenizer.facts()["slow"] is False


def test_a_sentencepiece_file_of_another_numbering_is_not_used(folder, caplog):
    """A file whose pieces have other ids than the model's tokens would give wrong ids, and is left alone."""
    shutil.copy(mistral_models() / "tokenizer.model.v1", folder / "tokenizer.model")
    path = path_of(folder, slow_tokenizer=True, model_name="other-numbers")
    assert path.tokenizer.facts()["slow"] is False
    assert "other-numbers: slow_tokenizer is true, but the model brings no SentencePiece file that fits" in caplog.text
