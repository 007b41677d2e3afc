"""Each rule of the audit finds its planted failure, and finds nothing in the clean twin."""

import json
from pathlib import Path

import pytest

from playbill.backends.prompt.thinking_families import THINKING_TAGS
from playbill.runs.audit import AUDIT_RULES, RECORD_RULES
from playbill.runs.audit.clembench import sent_messages
from support.audited import USER, chatml, judge, local_call, names, record, service_call, write_calls, write_records

ASK = chatml(("user", USER))
SOUND = local_call(ASK, "A tall building.<|im_end|>", "A tall building.")
THINK = ASK + "<think>\n"
LONG = "First I will think about what a tower is and whom it may serve as a home"

CLEMBENCH = [
    (
        "eos-leak",
        [local_call(ASK, "A tall building.<|im_end|>", "A tall building.<|im_end|>")],
        [local_call(ASK, "<s>old</s> tall building.<|im_end|>", "<s>old</s> tall building.")],
    ),
    ("eos-leak", [service_call("A tall building.</s>")], [service_call("A tall building. 1 < 2 > 0 [x]")]),
    (
        "prompt-leak",
        [local_call(ASK, "A tall building.<|im_end|>", f"user\n{USER}\nassistant\nA tall building.")],
        [local_call(ASK, f"{USER}<|im_end|>", USER)],
    ),
    (
        "double-bos",
        [local_call(f"<s><s>[INST] {USER} [/INST]", " A tall building.</s>", "A tall building.")],
        [local_call(f"<s>[INST] {USER} [/INST]", " A tall building.</s>", "A tall building.")],
    ),
    (
        "no-generation-prompt",
        [local_call(chatml(("user", USER), answer=False), "A tall building.<|im_end|>", "A tall building.")],
        [SOUND],
    ),
    (
        "no-generation-prompt",
        [local_call(f"<|user|>\n{USER}\n", "A tall building.</s>", "A tall building.")],
        [local_call(f"<|user|>\n{USER}\n<|assistant|>\n", "A tall building.</s>", "A tall building.")],
    ),
    (
        "never-stops",
        [local_call(ASK, "A tall building.<|im_end|>\n<|im_end|>\n<|im_end|>", "A tall building.")],
        [local_call(ASK, "A tall building.<|im_end|><|endoftext|>", "A tall building.")],
    ),
    (
        "never-stops",
        [local_call(ASK, "A tall building.<|im_end|>\n<|im_start|>user\nMore!<|endoftext|>", "A tall building.")],
        [local_call(f"[gMASK]<sop><|user|>\n{USER}<|assistant|>\n", "A tall building.<|user|>", "A tall building.")],
    ),
    (
        "thinking-in-answer",
        [local_call(ASK, f"<think>{LONG}</think>A spire.<|im_end|>", f"<think>{LONG}</think>A spire.")],
        [local_call(ASK, f"<think>{LONG}</think>A spire.<|im_end|>", "A spire.")],
    ),
    (
        "thinking-in-answer",
        [local_call(THINK, f"{LONG}<|im_end|>", LONG)],
        [local_call(THINK, f"{LONG}</think>A spire.<|im_end|>", "A spire.")],
    ),
    (
        "thinking-cut",
        [local_call(THINK, LONG, LONG)],
        [local_call(ASK + "<think>\n\n</think>\n\n", f"{LONG}.<|im_end|>", f"{LONG}.")],
    ),
    (
        "empty-content",
        [service_call("", usage={"completion_tokens": 113})],
        [service_call("", usage={"completion_tokens": 1})],
    ),
    (
        "truncated",
        [SOUND, local_call(ASK, "A tall and", "A tall and")],
        [local_call(ASK, "A tall and", "A tall and")],
    ),
    ("truncated", [service_call("A tall", finish_reason="length")], [service_call("A tall one.")]),
    ("refused", [service_call("", finish_reason="content_filter")], [service_call("I refuse to say it.")]),
    (
        "changed-history",
        [
            SOUND,
            local_call(
                chatml(("user", USER), ("assistant", "a tall"), ("user", "Go on.")), "A spire.<|im_end|>", "A spire."
            ),
        ],
        [
            SOUND,
            local_call(
                chatml(("user", USER), ("assistant", "A tall building."), ("user", "Go on.")),
                "A spire.<|im_end|>",
                "A spire.",
            ),
        ],
    ),
    (
        "params-differ",
        [SOUND, local_call(ASK, "A spire.<|im_end|>", "A spire.", temperature=0.7)],
        [SOUND, local_call(ASK, "A spire.<|im_end|>", "A spire.", temperature=0.0)],
    ),
    (
        "drift",
        [service_call("A spire."), service_call("A spire.", model="gpt-x-2024-08-06")],
        [service_call("A spire."), service_call("A spire.")],
    ),
]

TWO_TURNS = [
    {"role": "user", "content": USER},
    {"role": "assistant", "content": "A spire."},
    {"role": "user", "content": "Go on."},
]
PICTURED = {"messages": [{"role": "user", "content": USER, "image": ["a.png", "b.png"]}]}
OURS = [
    (
        "lost-picture",
        record(**PICTURED, details={"pictures": [{"sha256": "0" * 64}]}),
        record(**PICTURED, details={"pictures": [{"sha256": "0" * 64}, {"sha256": "1" * 64}]}),
    ),
    ("eos-leak", record(text="A tall building.<|im_end|>"), record()),
    (
        "prompt-leak",
        record(text=f"user {USER} assistant A tall building."),
        record(text=USER, raw=f"{USER}<|im_end|>"),
    ),
    (
        "double-bos",
        record(prompt="<|begin_of_text|><|begin_of_text|>" + ASK),
        record(prompt="<|begin_of_text|>" + ASK),
    ),
    ("no-generation-prompt", record(prompt=chatml(("user", USER), answer=False)), record()),
    (
        "role-mismatch",
        record(prompt=chatml(("user", "Hi"), ("assistant", "I said so."), ("user", USER))),
        record(prompt=chatml(("system", "You are a helpful assistant."), ("user", USER))),
    ),
    (
        "role-mismatch",
        record(prompt=chatml(("user", USER), ("system", "Say the word."))),
        record(messages=TWO_TURNS, prompt=chatml(("user", USER), ("assistant", "A spire."), ("user", "Go on."))),
    ),
    (
        "never-stops",
        record(raw="A tall building.<|im_end|>\n<|im_start|>user\nAnd now?<|im_end|>"),
        record(raw="A tall building.<|im_end|>"),
    ),
    ("thinking-in-answer", record(text="</think>A spire."), record(text="A spire.", thinking=LONG)),
    (
        "thinking-cut",
        record(prompt=THINK, raw=LONG, text=LONG, finish_reason="length", outcome="truncated"),
        record(prompt=THINK, raw=LONG, text="", thinking=LONG, finish_reason="length", outcome="truncated_in_thinking"),
    ),
    (
        "empty-content",
        record(raw="\n \n\n<|im_end|>", text="", outcome="empty", usage={"output_tokens": 4}),
        record(raw="<|im_end|>", text="", outcome="empty", usage={"output_tokens": 1}),
    ),
    ("truncated", record(outcome="truncated", finish_reason="length", raw="A tall", text="A tall"), record()),
    ("refused", record(outcome="refused", text="", raw="", finish_reason=None), record(text="I must refuse.")),
    (
        "params-differ",
        record(params={"asked": {"temperature": 0.7}, "effective": {"temperature": 1.0}}),
        record(params={"asked": {"temperature": 1}, "effective": {"temperature": 1.0, "max_tokens": 300}}),
    ),
]


@pytest.mark.parametrize(("name", "planted", "clean"), CLEMBENCH)
def test_clembench_calls(tmp_path: Path, name: str, planted: list, clean: list):
    """A failure planted in clembench's records is found as just that; its twin without it has no such finding."""
    found, _ = judge(write_calls(tmp_path, *planted))
    assert names(found) == {name: 1}
    assert found[0].finding.where == f"{tmp_path / 'requests.json'}[{len(planted) - 1}]"
    assert names(judge(write_calls(tmp_path, *clean))[0]) == {}


@pytest.mark.parametrize(("name", "planted", "clean"), OURS)
def test_playbill_records(tmp_path: Path, name: str, planted: dict, clean: dict):
    """A failure planted in a record of Playbill's is found as just that; its twin without it has none."""
    found, _ = judge(write_records(tmp_path, planted))
    assert set(names(found)) - {"truncated"} == {name} - {"truncated"}
    assert names(found)[name] == 1
    errors = [j for j in judge(write_records(tmp_path, clean))[0] if j.finding.name != "truncated"]
    assert errors == []


def test_changed_history_of_records(tmp_path: Path):
    """An answer that the next turn's messages carry otherwise is found; one that they carry is not."""
    first = record(text="A spire.", raw="A spire.<|im_end|>")
    prompt = chatml(("user", USER), ("assistant", "A spire."), ("user", "Go on."))
    second = record(turn=1, messages=TWO_TURNS, prompt=prompt)
    assert names(judge(write_records(tmp_path, first, second))[0]) == {}
    other = record(text="A steeple.", raw="A steeple.<|im_end|>")
    assert names(judge(write_records(tmp_path, other, second))[0]) == {"changed-history": 1}


def test_every_rule_has_a_planted_example_and_words():
    """No rule is without a test of its own, and each says why it matters and how to mend it."""
    assert {name for name, *_ in CLEMBENCH + OURS} == {rule.name for rule in RECORD_RULES.values()}
    assert all(r.summary and r.why and r.prevents and r.mend for r in RECORD_RULES.values())
    assert [row.rule.code for row in AUDIT_RULES] == sorted(RECORD_RULES)


def test_end_tokens_after_a_padded_prompt_are_the_batchs(tmp_path):
    """Repeated to the end they may be padding; with text between them they are not."""
    padded, plain = "<PAD><PAD><BOS_TOKEN>Hi.", "<BOS_TOKEN>Hi."
    ends = "<|END_OF_TURN_TOKEN|>" * 8
    for prompt, raw, found in (
        (padded, f"Well.{ends}", {}),
        (padded, f"Well.{ends}More.{ends}", {"never-stops": 1}),
        (plain, f"Well.{ends}", {"never-stops": 1}),
    ):
        call = local_call(prompt, raw, "Well.")
        errors = names([j for j in judge(write_calls(tmp_path, call))[0] if j.finding.severity == "error"])
        assert errors == found, raw


def test_a_request_of_coheres_first_api_is_read(tmp_path):
    """Its body is a JSON string, with the history and the message apart; Google's parts may be plain strings."""
    history = [{"role": "USER", "message": "Hi."}, {"role": "CHATBOT", "message": "Yes?"}]
    sent = {"message": "Go on.", "chat_history": history}
    assert sent_messages(json.dumps(sent)) == (
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Go on."},
    )
    assert sent_messages([{"role": "model", "parts": ["Hi."]}]) == ({"role": "assistant", "content": "Hi."},)
    assert sent_messages("no JSON") is None


@pytest.mark.parametrize("tags", THINKING_TAGS, ids=lambda t: t.end)
def test_the_thinking_tags_of_every_family_are_known_to_the_audit(tmp_path, tags):
    """An end tag left in an answer is told, whichever family's it is."""
    text = f"Hm, a tower.{tags.end}A steeple."
    assert "thinking-in-answer" in names(judge(write_records(tmp_path, record(text=text, raw=f"{text}<|im_end|>")))[0])


def test_the_shared_records_when_they_are_here():
    """Real records named for a failure have just that error at every call; real sound ones have none."""
    above = (parent / "shared/data/clembench_runs" for parent in Path(__file__).resolve().parents)
    folder = next((path for path in above if path.is_dir()), None)
    if folder is None:
        pytest.skip("the folder of real records is not here")
    wanted = {
        "EOS-LEAK": ("eos-leak", 3),
        "EMPTY-CONTENT": ("empty-content", 1),
        "THINK-TRUNCATED": ("thinking-cut", 1),
    }
    for path in folder.iterdir():
        errors = names([j for j in judge(path)[0] if j.finding.severity == "error"])
        failure = next((f for mark, f in wanted.items() if mark in path.name), None)
        assert errors == ({failure[0]: failure[1]} if failure else {}), path.name
