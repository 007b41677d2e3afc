"""Which file sees: found, named or refused before anything is loaded, and `check` and `add` say so."""

from __future__ import annotations

import json
import shutil
from datetime import datetime

import pytest

pytest.importorskip("xllamacpp", reason="the extra llamacpp is not installed")
pytest.importorskip("PIL", reason="needs the extra `vision`")
pytest.importorskip("gguf", reason="needs the extra `hf`")

from playbill.backends import Context, Credentials, EntryError, MessageError, ModelRegistry, load_model, make_prompt
from playbill.backends.errors import WeightsError
from playbill.backends.loading import load_prompt_path
from playbill.backends.weights.gguf import find_weights
from playbill.backends.weights.gguf_names import choose_files, choose_mmproj
from playbill.proof import check_all
from playbill.proof.add.sources import propose
from playbill.proof.check import Options
from support.gguf_eyes import PLACEHOLDER, TEMPLATE, TOKENS, entry_of, seeing_folder, write_mmproj
from support.pictures import png_url

PICTURE = [{"role": "user", "content": "What?", "image": png_url(40, 30)}]


@pytest.fixture(scope="module")
def seeing():
    return seeing_folder()


def checked(place, *entries):
    """What `check` finds: codes with messages, and why it went no deeper."""
    (place / "r.json").write_text(json.dumps(entries))
    found = ModelRegistry.from_file(place / "r.json")
    return [({f.code: f.message for f in v.findings}, v.stopped) for v in check_all(found, found, Options(fetch=False))]


def test_a_file_that_sees_is_never_taken_for_the_model():
    """Whatever the glob; unless it is named itself, by somebody who means it."""
    names = ["mmproj-model-f16.gguf", "model-Q4_K_M.gguf", "sub/Model.mmproj-Q8_0.gguf", "model-Q8_0.gguf"]
    assert choose_files(names, "*Q8_0*", (), "repo") == ("model-Q8_0.gguf",)
    assert choose_files(names[:2], None, (), "repo") == ("model-Q4_K_M.gguf",)
    assert choose_files(names, "mmproj-model-f16.gguf", (), "repo") == ("mmproj-model-f16.gguf",)


@pytest.mark.parametrize(
    ("names", "pattern", "meant"),
    [
        (["m.gguf", "mmproj-m-F16.gguf"], None, "mmproj-m-F16.gguf"),
        (["m.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"], None, "mmproj-F16.gguf"),
        (["m.gguf", "m-mmproj-bf16.gguf", "m-mmproj-q8_0.gguf"], None, "m-mmproj-bf16.gguf"),
        (["m.gguf", "mmproj-a-f16.gguf", "mmproj-b-f16.gguf"], "*b-f16*", "mmproj-b-f16.gguf"),
        (["m.gguf", "eyes.gguf"], "eyes.gguf", "eyes.gguf"),
    ],
)
def test_which_file_sees(names, pattern, meant):
    """The one called mmproj; of one in several formats the first of F16, BF16, F32, Q8_0; or what a glob means."""
    assert choose_mmproj(names, pattern, "repo") == meant


@pytest.mark.parametrize(
    ("names", "pattern", "said"),
    [
        (
            ["m.gguf"],
            None,
            "no file here is called mmproj; set mmproj to the file that sees, or take multimodality out",
        ),
        (["m.gguf", "mmproj-a-f16.gguf", "mmproj-b-bf16.gguf"], None, "means several files; set mmproj to mean one of"),
        (["m.gguf", "mmproj-f16.gguf"], "*q8*", r"the mmproj '\*q8\*' means no file; set mmproj to .* mmproj-f16.gguf"),
    ],
)
def test_where_none_or_several_are_meant_they_are_listed(names, pattern, said):
    """Two models' files in one folder are not one file in two formats."""
    with pytest.raises(WeightsError, match=said):
        choose_mmproj(names, pattern, "repo")


def test_a_file_beside_the_model_one_elsewhere_and_one_by_glob(seeing, tmp_path):
    """A relative path begins with a dot, and is relative to the file that holds the entry."""
    alone = shutil.copy(seeing / "model.gguf", tmp_path / "model.gguf")
    eyes = seeing / "mmproj-model-f32.gguf"
    for entry in (
        entry_of(seeing),
        entry_of(seeing / "model.gguf"),
        entry_of(seeing, mmproj="mmproj*f32*"),
        entry_of(alone, mmproj=str(eyes)),
    ):
        assert find_weights(entry, Credentials(())).mmproj == eyes
    shutil.copy(eyes, tmp_path / "eyes.gguf")
    (tmp_path / "model_registry.json").write_text(json.dumps([entry_of("./model.gguf", mmproj="./eyes.gguf")]))
    spec = ModelRegistry.from_file(tmp_path / "model_registry.json").find("eyes")
    assert find_weights(spec, Credentials(())).mmproj == tmp_path / "eyes.gguf"
    spec, path = load_prompt_path(spec)
    assert make_prompt(spec, path, PICTURE).picture_facts()[0]["tokens"] == TOKENS


def test_check_proves_a_model_that_sees(seeing, place):
    """Places for pictures, image tokens for four sizes, and llama.cpp takes both files; a template that leaves them out
    is an error."""
    ((found, stopped),) = checked(place, entry_of(seeing))
    assert stopped is None
    assert not [code for code in found if code.startswith("PB2") and code not in ("PB209", "PB223", "PB234")], found
    assert "the first patch of a picture is left out" in found["PB234"]
    blind = TEMPLATE.replace("<image>\n", "").replace("{{ message['content'] }}", "{{ message['content'][-20:] }}")
    ((found, _),) = checked(place, entry_of(seeing, premade_chat_template=False, custom_chat_template=blind))
    assert "PB230" in found


@pytest.mark.parametrize(
    ("width", "kind", "said"),
    [
        (
            64,
            "mlp",
            "mmproj-x.gguf belongs to another model: it makes vectors of 64 numbers, and model.gguf reads.*576",
        ),
        (576, "resampler", "mmproj-x.gguf is of the kind 'resampler', for which Playbill doesn't know what a prompt"),
    ],
    ids=["another model's", "unknown kind"],
)
def test_a_file_of_another_model_or_kind_is_refused_before_the_run(seeing, place, width, kind, said):
    """By its header, in `check` and on load."""
    shutil.copy(seeing / "model.gguf", place / "model.gguf")
    write_mmproj(place / "mmproj-x.gguf", width=width, kind=kind)
    ((found, _),) = checked(place, entry_of(place))
    assert "PB152" in found
    with pytest.raises(EntryError, match=said):
        load_model(entry_of(place))


def test_a_missing_file_and_one_that_is_no_mmproj_are_refused(seeing, place):
    """The model reads text all the same, where the entry says no more."""
    model = shutil.copy(seeing / "model.gguf", place / "model.gguf")
    ((found, _),) = checked(place, entry_of(model))
    assert "no file here is called mmproj" in found["PB152"]
    ((found, _),) = checked(place, entry_of(model, mmproj=str(model)))
    assert "holds no model that sees pictures" in found["PB152"]
    entry = {key: value for key, value in entry_of(seeing).items() if key != "multimodality"}
    with load_model(entry, max_tokens=1) as loaded, pytest.raises(MessageError, match="has a picture, and the entry"):
        loaded.generate(PICTURE)


@pytest.mark.slow
def test_a_file_that_llama_cpp_refuses_is_told_in_its_words(seeing, place):
    """One that lacks a tensor, though llama.cpp crashes over another one, and one cut off; this process goes on."""
    shutil.copy(seeing / "model.gguf", place / "model.gguf")
    content = (seeing / "mmproj-model-f32.gguf").read_bytes()
    for lost, said in ((b"v.blk.1.ffn_down.weight", "v.blk.1.ffn_down.weight"), (b"mm.2.weight", "SIGSEGV")):
        (place / "mmproj.gguf").write_bytes(content.replace(lost, lost[:-1] + b"X"))
        ((found, _),) = checked(place, entry_of(place))
        assert said in found["PB225"]
        with pytest.raises(WeightsError, match=said):
            load_model(entry_of(place))
    (place / "mmproj.gguf").write_bytes(content[: len(content) // 2])
    ((found, _),) = checked(place, entry_of(place))
    assert "mmproj.gguf" in found["PB225"]


def test_the_key_without_pictures_is_an_error(seeing, place):
    """Nothing would read it, and the answers would be of a blind model."""
    entry = {key: value for key, value in entry_of(seeing, mmproj="*mmproj*").items() if key != "multimodality"}
    ((found, _),) = checked(place, entry)
    assert "names a file that sees, and multimodality doesn't say" in found["PB123"]


def test_add_says_that_the_model_sees(seeing):
    """Where a file that sees lies beside it; the entry that it makes is one that `check` proves."""
    (proposal,) = propose(str(seeing), Context(credentials=Credentials(()), date=datetime(2026, 11, 23)))
    assert proposal.entry["multimodality"] == {"single_image": True, "multiple_images": True}
    assert proposal.entry["backend"] == "llamacpp"
    assert "mmproj-model-f32.gguf" in proposal.origins["multimodality"]
    assert PLACEHOLDER in TEMPLATE
