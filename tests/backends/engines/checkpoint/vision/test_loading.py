"""A checkpoint's processor: loaded, or refused with what is missing and the line to type; `check` proves it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime

import pytest

pytest.importorskip("PIL", reason="needs the extra `vision`")
pytest.importorskip("torchvision", reason="needs the extra `vision`")

from playbill.backends import (
    BackendUnavailable,
    Context,
    Credentials,
    EntryError,
    ModelRegistry,
    load_model,
    load_prompt_path,
    make_prompt,
)
from playbill.proof import check_all
from playbill.proof.add.sources import propose
from playbill.proof.check import Options
from support.pictures import png_url, tiny_png
from support.vision.checkpoint import entry_of, save_tiny


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return save_tiny("llava", tmp_path_factory.mktemp("eyes") / "llava")


def checked(place, *entries):
    """The codes of what `check` finds, and how deep it went."""
    (place / "r.json").write_text(json.dumps(entries))
    found = ModelRegistry.from_file(place / "r.json")
    return [(v.depth, [f.code for f in v.findings], v.stopped) for v in check_all(found, found, Options(fetch=False))]


def test_check_proves_a_checkpoint_with_eyes(llava, place):
    """Places and image tokens for pictures of several sizes; that this kind puts them first is a note."""
    ((depth, codes, stopped),) = checked(place, entry_of(llava))
    assert (depth, stopped) == (2, None)
    assert [code for code in codes if code.startswith("PB23")] == ["PB232"]
    assert "PB123" not in codes
    assert "PB211" not in codes  # the processor puts the BOS there that the template leaves out


def test_image_tokens_are_counted_where_a_processor_has_no_name_for_them(tmp_path):
    """Ovis2 puts another token into prompts than the one that it calls its image token."""
    spec, path = load_prompt_path(entry_of(save_tiny("ovis2", tmp_path / "ovis2")))
    prompt = make_prompt(spec, path, [{"role": "user", "content": "Hm?", "image": [png_url(40, 40), png_url(90, 40)]}])
    assert [(each["tokens"], each["tiles"]) for each in prompt.made] == [(20, 5), (20, 5)]
    assert prompt.ids.count(path.encode("<IMG_ATOM>")[-1]) == 40


def test_a_repository_without_a_processor_is_refused(llava, place, tmp_path):
    """Before any weights are loaded; as text it works."""
    bare = shutil.copytree(llava, tmp_path / "bare")
    for name in ("processor_config.json", "preprocessor_config.json"):
        (bare / name).unlink(missing_ok=True)
    ((_, codes, _),) = checked(place, entry_of(bare))
    assert "PB152" in codes
    with pytest.raises(EntryError, match=r"has no processor for them \(preprocessor_config.json"):
        load_model(entry_of(bare))


def test_a_kind_that_sees_nothing_is_refused_with_pictures(tmp_path):
    """And one whose checkpoints have a second form is told its name."""
    for kind, said in (("llama", "has no AutoModelForImageTextToText"), ("internvl_chat", "InternVL3-14B-hf")):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": kind, "architectures": ["X"]}))
        with pytest.raises(EntryError, match=f"takes pictures.*kind '{kind}'.*{said}"):
            load_prompt_path(entry_of(folder))


VISION = 'install with: pip install "playbill[vision]"'
MISSING = """
import importlib.util, importlib.metadata, sys
real = importlib.util.find_spec
hidden = {names!r}
importlib.util.find_spec = lambda name, *rest: None if name.partition(".")[0] in hidden else real(name, *rest)
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
from playbill.backends import BackendUnavailable, load_prompt_path
try:
    load_prompt_path({entry!r})
except BackendUnavailable as e:
    print(e)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "hidden", "said"),
    [
        ("llava", ("PIL", "torchvision"), f"Pillow, which opens them, is not installed here; {VISION}"),
        ("qwen2_5_vl", ("torchvision",), f"needs Torchvision, which is not installed here; {VISION}"),
        (
            "smolvlm",
            ("num2words",),
            "needs num2words, which is not installed here; install with: pip install num2words",
        ),
    ],
    ids=["pillow", "torchvision", "num2words"],
)
def test_a_missing_package_is_named_with_the_line_to_type(tmp_path, kind, hidden, said):
    """In a process of its own, where the package can't be found."""
    if kind == "smolvlm":
        pytest.importorskip("num2words")
    folder = save_tiny(kind, tmp_path / kind)
    code = MISSING.format(names=hidden, entry=entry_of(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said in done.stdout, done.stdout + done.stderr


def test_a_text_that_holds_the_placeholder_is_refused(llava):
    """The processor would take it for a picture."""
    spec, path = load_prompt_path(entry_of(llava))
    for content, count in (("What is <image> there?", 1), ("<image><image>", 2)):
        with pytest.raises(Exception, match=f"holds '<image>' {count} times, and 0 pictures are given"):
            make_prompt(spec, path, [{"role": "user", "content": content}])
    with pytest.raises(Exception, match="holds '<image>' 2 times, and 1 picture is given"):
        make_prompt(spec, path, [{"role": "user", "content": "an <image>", "image": png_url(40, 30)}])


def test_what_is_said_of_a_picture(llava):
    """Its hash, what the processor made of it, and which processor it was."""
    spec, path = load_prompt_path(entry_of(llava))
    made = make_prompt(spec, path, [{"role": "user", "content": "What?", "image": png_url(40, 30)}])
    (fact,) = made.picture_facts()
    assert (fact["mime"], fact["width"], fact["height"], fact["tokens"], fact["tiles"]) == ("image/png", 40, 30, 16, 1)
    assert made.ids.count(path.tokenizer.encode("<image>")[0]) == 16
    facts = path.processor.facts()
    assert (facts["class"], facts["image_backend"]) == ("LlavaProcessor", "torchvision")
    assert isinstance(BackendUnavailable("x"), Exception)


def test_add_says_that_the_model_sees(llava):
    """From the kind of model and its processor; the entry that it makes is one that `check` proves."""
    (proposal,) = propose(str(llava), Context(credentials=Credentials(()), date=datetime(2026, 11, 23)))
    assert proposal.entry["multimodality"] == {"single_image": True, "multiple_images": True}
    assert "of the kind 'llava' do" in proposal.origins["multimodality"]


def test_two_engines_are_compared_on_pictures(llava, tmp_path, playbill):
    """The same model twice has no difference; another template has, where it puts a picture."""
    (tmp_path / "cat.png").write_bytes(tiny_png(40, 30))
    talk = [{"role": "user", "content": [{"type": "text", "text": "This?"}, {"type": "image", "path": "cat.png"}]}]
    (tmp_path / "talk.json").write_text(json.dumps(talk))
    part = "{{ '<image>' if p.type == 'image' else p.text }}"
    moved = f"{{% for m in messages %}}{{% for p in m.content %}}{part}{{% endfor %}}{{% endfor %}}"
    other = entry_of(llava, premade_chat_template=False, custom_chat_template=moved)
    (tmp_path / "r.json").write_text(json.dumps([entry_of(llava), {**other, "model_name": "other"}]))
    registry = ("--registry", str(tmp_path / "r.json"))
    code, out, _ = playbill("diff", "llava", str(llava), str(tmp_path / "talk.json"), *registry)
    assert (code, "no difference" in out) == (0, True)
    code, out, _ = playbill("diff", "llava", "other", str(tmp_path / "talk.json"), *registry)
    assert code == 1
