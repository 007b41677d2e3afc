"""Strangers' registries and templates in the commands: an error in words within seconds, never more."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import support.proof_planted as planted
from playbill.backends import ModelRegistry
from playbill.backends.common.findings import Severity
from playbill.proof import RULES, check_all
from playbill.proof.add.importing import import_registry
from playbill.proof.check import Options

HOSTILE = {
    "reaches for Python": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "reaches by a filter": "{{ messages | map(attribute='__class__') | list }}{{ ''|attr('__class__') }}",
    "reaches by a format": "{{ '{0.__class__}'.format(messages) }}",
    "loops for ever": planted.ENDLESS,
    "eats memory": "{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "writes without end": "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
    "calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_template_is_an_error_in_check(playbill, place, template):
    """`check` says what it does; nothing is rendered by any command, and no traceback is shown."""
    hostile = {**planted.ENTRY, "custom_chat_template": planted.CHATML + template}
    (place / "model_registry.json").write_text(json.dumps([hostile]))
    code, out, err = playbill("check", "m", "--json")
    found = json.loads(out)[0]
    assert (code, found["depth"]) == (1, 1)
    assert {f["code"] for f in found["findings"]} & {"PB116", "PB117", "PB118"}
    assert "Traceback" not in err


WORST = ("reaches for Python", "loops for ever", "eats memory")


@pytest.mark.parametrize("template", [HOSTILE[name] for name in WORST], ids=WORST)
def test_a_hostile_template_is_an_error_on_a_real_model(playbill, place, template):
    """`prompt` and `run` on SmolLM2 with such a template: the load fails, in one line; nothing is generated."""
    pytest.importorskip("xllamacpp")
    from support.smollm2 import GGUF, gguf_folder

    entry = {"model_name": "m", "backend": "llamacpp", "huggingface_id": str(gguf_folder() / GGUF), "n_ctx": 256}
    entry |= {"premade_chat_template": False, "eos_to_cull": "<|im_end|>"}
    entry["custom_chat_template"] = planted.CHATML + template
    (place / "model_registry.json").write_text(json.dumps([entry]))
    (place / "in.jsonl").write_text(json.dumps({"id": "1", "messages": [{"role": "user", "content": "Hello"}]}) + "\n")
    for command in (["prompt", "m"], ["run", "in.jsonl", "-m", "m", "-o", "out"]):
        code, _, err = playbill(*command)
        assert code in (1, 2)
        assert "Traceback" not in err
        assert "template" in err
    assert not [line for path in place.glob("out/**/records.jsonl") for line in path.read_text().splitlines()]


@pytest.mark.parametrize("template", [HOSTILE[name] for name in WORST], ids=WORST)
def test_a_hostile_template_inside_of_a_model_is_found(playbill, place, template):
    """A template that comes with the model is met on the prompt path, and judged by the same rules."""
    pytest.importorskip("transformers")
    from support.smollm2 import smollm2_folder

    folder = place / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((smollm2_folder() / name).read_bytes())
    (folder / "chat_template.jinja").write_text(planted.CHATML + template)
    entry = {"model_name": "m", "backend": "huggingface_local", "huggingface_id": str(folder)}
    entry |= {"premade_chat_template": True, "eos_to_cull": "<|im_end|>"}
    (place / "model_registry.json").write_text(json.dumps([entry]))
    code, out, err = playbill("check", "m", "--json")
    found = json.loads(out)[0]
    assert (code, found["depth"]) == (1, 2)
    assert {f["code"] for f in found["findings"]} & {"PB116", "PB117"}
    assert "Traceback" not in err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [*planted.ENTRY, "model_config", "chat_template_kwargs", "cot_start_tag", "context_size", "date"]
)
BACKENDS = st.sampled_from(["llamacpp", "huggingface_local", "programmatic", "human", "nobody"])
TEMPLATES = st.text(alphabet="{}%-| mesagforindu'_.[]()=1", max_size=30)
ENTRY = st.dictionaries(KEYS, JSON, max_size=7)
NEARLY = st.builds(
    lambda some, backend, template: {**planted.ENTRY, "backend": backend, "custom_chat_template": template, **some},
    st.dictionaries(KEYS, JSON, max_size=2),
    BACKENDS,
    TEMPLATES | st.just(planted.CHATML),
)
REGISTRY = st.lists(ENTRY | NEARLY | JSON, max_size=3)


@settings(deadline=None)
@given(content=REGISTRY)
def test_any_registry_is_judged_and_imported(content, tmp_path_factory):
    """Whatever an entry holds, it gets a verdict by known rules, and comes out of the import flat or not at all."""
    path = tmp_path_factory.getbasetemp() / "any-registry.json"
    path.write_text(json.dumps(content))
    registry = ModelRegistry.from_file(path)
    verdicts = list(check_all(registry, registry, Options(fetch=False)))
    assert len(verdicts) == len(content)
    for verdict in verdicts:
        assert all(finding.code in RULES for finding in verdict.findings)
        assert verdict.wrong == any(finding.severity is Severity.ERROR for finding in verdict.findings)
    imported = import_registry(path)
    assert len(imported.entries) == len(content)
    for entry in imported.registry:
        assert "model_config" not in entry
    assert json.loads(path.read_text()) == content


@given(content=st.lists(NEARLY, min_size=1, max_size=2))
def test_an_imported_registry_is_not_changed_by_another_import(content, tmp_path_factory):
    """The flat form is a fixed point."""
    path = tmp_path_factory.getbasetemp() / "twice.json"
    path.write_text(json.dumps(content))
    once = import_registry(path).registry
    path.write_text(json.dumps(once))
    again = import_registry(path)
    assert again.registry == once
    assert [entry.changes for entry in again.entries] == [()] * len(once)
