"""Folders of models from strangers, with any of their files damaged: words about it, and the sound entry beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

from support.fuzzing import command, fuzz
from support.mutations import json_bytes, mutated_bytes

pytest.importorskip("transformers", reason="the extra hf is not installed")

CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 6, "hidden_size": 8,
    "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "auto_map": {"AutoConfig": "code.Config"},
}  # fmt: skip
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {"id": n, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True} for n, text in enumerate(("<unk>", "<s>", "</s>", "<|im_end|>"))
    ],
    "normalizer": None, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "unk_token": "<unk>",
              "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "<|im_end|>": 3, "Hello": 4, "user": 5}},
}  # fmt: skip
CHAT = (
    "{% for m in messages %}{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}user{% endif %}"
)
FILES = {
    "config.json": CONFIG,
    "tokenizer.json": TOKENIZER,
    "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "chat_template": CHAT, "model_max_length": 64, "added_tokens_decoder": {"3": {"content": "<|im_end|>"}},
    },
    "generation_config.json": {"eos_token_id": [2, 3], "temperature": 0.6, "do_sample": True},
}  # fmt: skip
DAMAGE = st.one_of(
    *(st.tuples(st.just(name), json_bytes([content])) for name, content in FILES.items()),
    st.tuples(st.just("chat_template.jinja"), mutated_bytes(CHAT.encode())),
    st.tuples(st.sampled_from(("special_tokens_map.json", "added_tokens.json")), json_bytes([{"pad_token": "</s>"}])),
)
ENTRY = {"backend": "huggingface_local", "premade_chat_template": True, "eos_to_cull": "</s>"}


@pytest.fixture
def loaded(place):
    """The libraries are imported, so that their memory isn't taken for an example's."""
    _write(None)
    command("check", "r.json")


@fuzz(DAMAGE, quick=8, fixture="loaded")
def test_a_model_folder(example, place, loaded):
    """It is judged, shown and rendered, or refused; the folder beside it always is judged."""
    _write(example)
    _, out, _ = command("check", "r.json", "--json")
    assert [verdict["model_name"] for verdict in json.loads(out)] == ["odd", "sound"]
    assert json.loads(out)[1]["looked_at"] == ["the entry", "the prompt path"]
    command("prompt", "odd", "chat.json", "--registry", "r.json")
    command("show", "odd", "--registry", "r.json")


def _write(damage: tuple[str, bytes] | None) -> None:
    """Write two folders of a model, the first with a damaged file, a registry and messages."""
    for folder in ("sound", "odd"):
        Path(folder).mkdir(exist_ok=True)
        for old in Path(folder).iterdir():
            old.unlink()
        for name, whole in FILES.items():
            (Path(folder) / name).write_text(json.dumps(whole))
    if damage is not None:
        (Path("odd") / damage[0]).write_bytes(damage[1])
    entries = [{**ENTRY, "model_name": name, "huggingface_id": f"./{name}"} for name in ("odd", "sound")]
    Path("r.json").write_text(json.dumps(entries))
    Path("chat.json").write_text(json.dumps([{"role": "user", "content": "Hello"}]))
