"""Each fault that `check` is to prove of a model that sees, planted into a real checkpoint with its real processor."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("PIL", reason="needs the extra `vision`")
pytest.importorskip("torchvision", reason="needs the extra `vision`")

from playbill.backends import ModelRegistry
from playbill.proof import check_all
from playbill.proof.check import Options
from support.vision.checkpoint import entry_of, save_tiny
from support.vision.kinds import KINDS


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("eyes")
    return {kind: save_tiny(kind, root / kind) for kind in ("qwen2_5_vl", "llava")}


def checked(place, entry):
    """What `check` finds of pictures: codes with messages."""
    (place / "r.json").write_text(json.dumps([entry]))
    found = ModelRegistry.from_file(place / "r.json")
    (verdict,) = check_all(found, found, Options(fetch=False))
    return {f.code: f.message for f in verdict.findings if f.code.startswith(("PB15", "PB23"))}


def with_template(folder, template):
    return entry_of(folder, premade_chat_template=False, custom_chat_template=template)


QWEN = KINDS["qwen2_5_vl"].template
SHOWN = "<|vision_start|><|image_pad|><|vision_end|>"
TEXT = "{{ message['content'] }}"
UNMARKED = "{{ message['content'] | replace('<|image_pad|>', '') }}"
PLANTED = {
    "leaves pictures out": (QWEN.replace(SHOWN, "").replace(TEXT, UNMARKED), "PB230"),
    "the last message's alone": (QWEN.replace(SHOWN, f"{{% if last %}}{SHOWN}{{% endif %}}").replace(
        "{% for message in messages %}", "{% for message in messages %}{% set last = loop.last %}"), "PB231"),
    "each picture twice": (QWEN.replace(SHOWN, SHOWN * 2), "PB231"),
    "one of several": (QWEN.replace(SHOWN, f"{{% if count.value == 1 %}}{SHOWN}{{% endif %}}"), "PB231"),
    "pictures first": (QWEN.replace(
        "{% for content in message['content'] %}", "{% for content in message['content'] | sort(attribute='type') %}"),
        "PB232"),
}  # fmt: skip


def test_a_sound_checkpoint_has_none_of_these(checkpoints, place):
    """In all shapes: no picture, one, several, in an earlier turn, before and after the text."""
    assert checked(place, entry_of(checkpoints["qwen2_5_vl"])) == {}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_template_with_a_fault(checkpoints, place, fault):
    """Places against pictures, for each shape of conversation."""
    template, code = PLANTED[fault]
    found = checked(place, with_template(checkpoints["qwen2_5_vl"], template))
    assert list(found) == [code], found


def test_a_tokenizer_that_does_not_know_the_image_token(checkpoints, place):
    """The placeholder becomes the letters of its name, and the picture is nowhere."""
    folder = shutil.copytree(checkpoints["llava"], place / "letters")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["content"] != "<image>"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    dropped = {key: value for key, value in config.items() if "<image>" not in json.dumps(value)}
    (folder / "tokenizer_config.json").write_text(json.dumps(dropped))
    found = checked(place, entry_of(folder))
    assert "PB233" in found, found


def test_a_processor_that_refuses_a_size(checkpoints, place):
    """One of the four that are tried; what it says is told, with the size."""
    folder = shutil.copytree(checkpoints["qwen2_5_vl"], place / "narrow")
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            text = (folder / name).read_text()
            (folder / name).write_text(text.replace('"patch_size": 4', '"patch_size": 0'))
    found = checked(place, entry_of(folder))
    assert "for a picture of 64 x 64" in found.get("PB233", ""), found


def test_a_processor_that_is_missing(checkpoints, place):
    """And one whose picture part alone is."""
    folder = shutil.copytree(checkpoints["qwen2_5_vl"], place / "bare")
    for name in ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)
    assert "PB152" in checked(place, entry_of(folder))
