"""Every rule of `check`: a planted defect triggers it, and a twin without the defect doesn't."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

import support.proof_planted as planted
from playbill.backends import Completion, FinishReason, Model, ModelRegistry, ModelSpec, Request, Usage
from playbill.backends.common.findings import Severity, table_of
from playbill.backends.errors import EngineError, NoTemplate
from playbill.backends.loading import model_from_function
from playbill.proof import RULES, check_all
from playbill.proof.check import Options, judge_path
from playbill.proof.checks.live import judge_answers

HERE = Options(fetch=False)


def judged(registry: list, path) -> list[str]:
    path.write_text(json.dumps(registry))
    entries = ModelRegistry.from_file(path)
    return [finding.code for verdict in check_all(entries, entries, HERE) for finding in verdict.findings]


@pytest.mark.parametrize("code", planted.REGISTRIES)
def test_a_planted_entry_is_found_and_its_twin_is_not(code, place):
    """What is wrong with an entry as written is found without its model."""
    defect, twin = planted.REGISTRIES[code]
    assert code in judged(defect, place / "defect.json")
    assert code not in judged(twin, place / "twin.json")


@pytest.mark.parametrize("code", planted.PATHS)
def test_a_planted_prompt_path_is_found_and_its_twin_is_not(code):
    """What is wrong between messages and ids is found with template and tokenizer, without weights."""
    codes = []
    for each in planted.PATHS[code]:
        spec, path = each.open()
        codes.append([finding.code for finding in judge_path(path, spec, "here")])
    assert code in codes[0]
    assert code not in codes[1]


def test_a_right_entry_has_no_finding_at_all(place):
    """The entry that the planted ones are made from is right in all depths without weights."""
    assert judged([planted.entry()], place / "right.json") == []
    spec, path = planted.Planted().open()
    assert judge_path(path, spec, "here") == []


def test_a_model_of_channels_needs_a_split_prefix():
    """PB222 again: what the model writes itself before its answer is no part of it."""
    final = "{{ '<|final|>' if m.role == 'assistant' else '' }}{{ m.content }}"
    channels = planted.CHATML.replace("{{ m.content }}", final)
    for split, expected in ((None, True), ("<|final|>", False)):
        spec, path = planted.path_of(channels, output_split_prefix=split).open()
        found = [f for f in judge_path(path, spec, "here") if f.code == "PB222"]
        assert bool(found) is expected
        assert all("<|final|>" in f.fix for f in found)


def test_a_system_prompt_of_the_template_is_shown_with_its_text():
    """PB223 tells one that a system message replaces from one that stands in every prompt."""
    spec, path = planted.path_of(planted.HELPFUL).open()
    (found,) = [f for f in judge_path(path, spec, "here") if f.code == "PB223"]
    assert found.message == (
        "where a dialogue has no system message, the template writes one of its own: 'You are a helpful assistant.'"
    )
    assert found.fix == "a system message replaces it"
    spec, path = planted.path_of("<|im_start|>system\nCutting Knowledge Date: May<|im_end|>\n" + planted.CHATML).open()
    (found,) = [f for f in judge_path(path, spec, "here") if f.code == "PB223"]
    assert found.message == "the template writes into every prompt: 'Cutting Knowledge Date: May'"
    assert found.fix == "a system message stands beside it"


@pytest.mark.parametrize(
    ("kwargs", "code"), [(None, "PB224"), ({"thinking": True}, "PB222"), ({"thinking": False}, None)]
)
def test_a_model_that_thinks_only_when_asked_is_not_warned_of_its_thinking(kwargs, code):
    """Unasked it answers at once, which is noted; asked for its thinking it needs tags; who says no knows."""
    spec, path = planted.path_of(planted.ON_DEMAND, chat_template_kwargs=kwargs).open()
    found = [f.code for f in judge_path(path, spec, "here") if f.code in ("PB222", "PB224")]
    assert found == ([code] if code else [])


def test_a_template_that_ends_its_last_turn_otherwise_is_understood():
    """gpt-oss ends a finished dialogue with another token than the turns before; that is the one the model writes."""
    last = "{{ '<|eot|>' if loop.last and not add_generation_prompt else '<|im_end|>' }}"
    template = planted.CHATML.replace("<|im_end|>", last)
    for end, expected in (("<|eot|>", False), ("<|im_end|>", True)):
        spec, path = planted.path_of(template, eos_to_cull=end).open()
        assert ("PB216" in [f.code for f in judge_path(path, spec, "here")]) is expected


def test_a_template_that_always_opens_a_turn_is_understood():
    """What follows an answer then is not the prompt of the next one."""
    template = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n{% endfor %}### assistant:\n"
    spec, path = planted.path_of(template, eos_to_cull="</s>").open()
    said = [f.message for f in judge_path(path, spec, "here") if f.code == "PB216"]
    assert len(said) == 1
    assert "'### user:'" in said[0]


def test_an_entry_hidden_by_another_file_is_noted(place):
    """PB120: of two files with one name, the entry of the file that is searched later is said to be hidden."""
    for name in ("first", "second"):
        (place / f"{name}.json").write_text(json.dumps([{**planted.MOCK, "model_name": "twice"}]))
    registry = ModelRegistry.load([place / "first.json", place / "second.json"])
    found = {v.where: [f.code for f in v.findings] for v in check_all(registry, registry, HERE) if v.name == "twice"}
    assert [codes for _, codes in sorted(found.items())] == [[], ["PB120"]]


def test_a_model_without_the_template_that_its_entry_promises_is_told_apart():
    """PB201 rests on an error of its own, not on the words of one."""
    with pytest.raises(NoTemplate, match="premade_chat_template is true"):
        planted.Planted(planted.entry(premade_chat_template=True), premade=None).open()
    planted.Planted(planted.entry(premade_chat_template=True), premade=planted.CHATML).open()


class Scripted:
    """An engine with a prompt path whose answers a test writes; what it counts as input can be wrong."""

    supported_parameters = frozenset({"temperature", "max_tokens"})
    concurrency = 1

    def __init__(self, tokenizer, answer, miscount=0, facts=None) -> None:
        self._tokenizer, self._answer, self._miscount, self._facts = tokenizer, answer, miscount, facts or {}

    def submit(self, request: Request, on_text=None) -> Future[Completion]:
        future: Future[Completion] = Future()
        text, reason = self._answer(self._tokenizer.decode(request.prompt_ids or ()))
        usage = Usage(input_tokens=len(request.prompt_ids or ()) + self._miscount)
        ids = tuple(self._tokenizer.encode(text))
        future.set_result(Completion(finish_reason=reason, output_ids=ids, usage=usage))
        return future

    def close(self) -> None:
        pass

    def facts(self) -> dict[str, Any]:
        return self._facts


def live_codes(answer, *, miscount=0, path_sent=None, facts=None) -> list[str]:
    """The codes that a model's answers raise; ``path_sent`` is a prompt path other than the one it was checked by."""
    spec, path = planted.Planted().open()
    engine = Scripted(path.tokenizer, answer, miscount, facts)
    model = Model(spec, engine, path_sent or path, "scripted")
    return [finding.code for finding in judge_answers(model, path, "here")]


def good(prompt: str) -> tuple[str, FinishReason]:
    return "Paris.<|im_end|>", FinishReason.STOP


def test_a_model_that_answers_well_has_no_finding():
    """Short answers that end, are the same again, and hold neither prompt nor tokens."""
    assert live_codes(good) == []


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("PB302", lambda prompt: (prompt, FinishReason.STOP)),
        ("PB303", lambda prompt: ("Paris.<|im_end|>And more.", FinishReason.STOP)),
        ("PB304", lambda prompt: ("Paris, and on and on", FinishReason.LENGTH)),
        ("PB305", lambda prompt: ("<|im_end|>", FinishReason.STOP)),
    ],
)
def test_a_planted_answer_is_found(code, answer):
    """Prompts and end tokens in answers, answers without end, empty ones."""
    assert code in live_codes(answer)


def test_an_engine_that_counts_other_ids_is_found():
    """PB307: the engine says that it got one more token than was sent."""
    assert live_codes(good, miscount=1) == ["PB307"]


def test_a_prompt_path_that_changes_with_the_weights_is_found():
    """PB307: with weights another template is in use than the one that was judged."""
    other = planted.path_of("{{ bos_token }}" + planted.CHATML).open()[1]
    assert live_codes(good, path_sent=other) == ["PB307"]


def test_an_engine_whose_rows_depend_on_each_other_is_found():
    """PB313: what the self-test on load found; nothing is said where it passed, or where none was made."""
    failed = {"kind": "exact", "company_independent": False, "differs": "what comes into layer 3, or is made of it,"}
    assert live_codes(good, facts={"batching": failed}) == ["PB313"]
    assert live_codes(good, facts={"batching": {"kind": "exact", "company_independent": True}}) == []
    assert live_codes(good, facts={"batching": {"kind": "fast"}}) == []


def counted(answers: Iterator[str]):
    """A model that gives these answers, one a call."""
    return model_from_function(lambda messages: next(answers))


def test_an_answer_that_is_not_repeated_is_found():
    """PB306: the fifth call is the first question once more; PB308 has the share that differs in a batch."""
    first = ["a", "b", "c", "d"]
    assert judge_answers(counted(iter([*first, "a", *first])), None, "here") == []
    again = judge_answers(counted(iter([*first, "other", *first])), None, "here")
    assert [f.code for f in again] == ["PB306"]
    batch = judge_answers(counted(iter([*first, "a", "a", "b", "x", "y"])), None, "here")
    assert [f.code for f in batch] == ["PB308"]
    assert "2 of 4" in batch[0].message


def test_a_failure_is_found_and_ends_the_judgement():
    """PB301: an engine's error is the one finding; its twin is any model that answers."""

    def fail(messages):
        raise EngineError("out of memory")

    found = judge_answers(model_from_function(fail), None, "here")
    assert [f.code for f in found] == ["PB301"]
    assert "out of memory" in found[0].message


LIVE_TESTED = {f"PB{n}" for n in range(301, 314)}
ELSEWHERE = {"PB225", "PB240", "PB241", "PB242", "PB120", "PB152", "PB201"}
"""Rules whose tests need more than an entry or a path: PB152 is in tests/backends/engines/checkpoint/vision."""


def test_every_rule_has_its_planted_defect():
    """A rule that is added without one fails here."""
    assert set(RULES) == {*planted.REGISTRIES, *planted.PATHS, *LIVE_TESTED, *ELSEWHERE}


def test_findings_carry_name_and_severity_of_their_rule(place):
    """Code, name and severity are said in one place, so a page on a code is a page on all its findings."""
    quick = {code: pair for code, pair in planted.REGISTRIES.items() if code != "PB117"}
    for code, (defect, _) in quick.items():
        (place / "r.json").write_text(json.dumps(defect))
        registry = ModelRegistry.from_file(place / "r.json")
        for verdict in check_all(registry, registry, HERE):
            for finding in verdict.findings:
                rule = RULES[finding.code]
                assert (finding.name, finding.severity) == (rule.name, rule.severity), code


def test_every_rule_says_all_that_its_page_shows():
    """Sentences with an end, in every field."""
    for rule in RULES.values():
        for text in (rule.summary, rule.why, rule.prevents, rule.mend):
            assert text.rstrip("`'").endswith((".", ":")), (rule.code, text)
        assert isinstance(rule.severity, Severity)


def test_two_rules_with_one_code_are_refused():
    """Codes are stable because no two rules can share one."""
    rule = RULES["PB101"]
    with pytest.raises(ValueError, match="same code"):
        table_of([rule, rule])


def test_a_verdict_says_how_deep_it_went_and_why_not_deeper(place):
    """An entry with errors is not opened; one whose files are elsewhere says which option fetches them."""
    (place / "r.json").write_text(json.dumps([planted.without("eos_to_cull"), planted.entry()]))
    registry = ModelRegistry.from_file(place / "r.json")
    broken, elsewhere = check_all(registry, registry, HERE)
    assert (broken.depth, broken.stopped) == (1, "the entry has errors")
    assert elsewhere.depth == 1
    assert "--fetch" in str(elsewhere.stopped)


def test_a_spec_of_another_layout_is_judged_the_same(place):
    """Nested and flat entries get the same findings."""
    nested = {"model_name": "m", "backend": "llamacpp", "huggingface_id": "org/model"}
    inner = {k: v for k, v in planted.entry(eos_to_cull=r"<\|im_end\|>").items() if k not in nested}
    flat = ModelSpec.from_dict({**nested, "model_config": inner})
    assert flat["eos_to_cull"] == "<|im_end|>"
    assert judged([{**nested, "model_config": inner}], place / "n.json") == []
