"""Judge what a dialogue's later calls make of its earlier answers, and what is there of the dialogue at all.

A call goes on from the earlier one whose messages, or whose prompt, it begins with: so side branches of a dialogue
don't change its history, nor do two players whose dialogues begin alike. Knows no layout of records.
"""

from __future__ import annotations

from playbill.runs.audit.call import Call
from playbill.runs.audit.judging import CannotTell, Group, Said, Verdict, prompt_stem, stem_before_answer
from playbill.runs.audit.turn_headers import headers

__all__ = ["changed_history", "error_record", "leak_fed_back", "missing_turn"]

_NO_HISTORY = CannotTell("no earlier answer is in the request: the caller keeps no history")
_NO_PARENT = CannotTell("the call that this one goes on from is not among the dialogue's last ones")


def changed_history(call: Call, group: Group) -> Verdict:
    said = group.dialogue(call.dialogue).said
    if not said or (call.messages is None and call.prompt is None):
        return None
    if call.messages is not None:
        before = stem_before_answer(call.messages)
        if before is None:
            return _NO_HISTORY
        parents = [each for each in said if each.stem == before[0]]
        if parents and not any(_carries(before[1], each.answer) for each in parents):
            return f"the messages don't carry the answer before: {_short(parents[-1].answer)}"
        if not parents:
            return None if _carries(before[1], said[-1].answer) else _NO_PARENT
    if call.prompt is not None:
        return _judge_prompt(call, call.prompt, said)
    return None


def _judge_prompt(call: Call, prompt: str, said: list[Said]) -> Verdict:
    if any(_carries(prompt, each.answer) for each in said[-1:]):
        return None
    if call.messages is not None:  # of which one carries it
        before = stem_before_answer(call.messages)
        parents = [each for each in said if before is not None and each.stem == before[0]]
    else:
        turns = [h.role for h in headers(prompt)]
        if turns and turns.count("assistant") < 2:
            return _NO_HISTORY
        longest = max((each.length for each in said if prompt_stem(prompt, each.length) == each.stem), default=0)
        parents = [each for each in said if each.length == longest and longest]
    if not parents:
        return _NO_PARENT
    if any(_carries(prompt, each.answer) for each in parents):
        return None
    return f"the prompt doesn't carry the answer before: {_short(parents[-1].answer)}"


def leak_fed_back(call: Call, group: Group) -> Verdict:
    for each in group.dialogue(call.dialogue).said:
        if not each.leaked:
            continue
        given = [str(m.get("content")) for m in call.messages or () if m.get("role") == "assistant"]
        if any(_carries(text, each.answer) for text in given) or (call.prompt and _carries(call.prompt, each.answer)):
            return f"the request shows the model an answer with its special tokens: {_short(each.answer[-60:])}"
    return None


def error_record(call: Call, group: Group) -> Verdict:
    return f"there is no answer: {_short(call.error or 'the record says error')}" if call.outcome == "error" else None


def missing_turn(call: Call, group: Group) -> Verdict:
    if call.turn is None or call.outcome is None:
        return None
    last = group.dialogue(call.dialogue).turn
    expected = 0 if last is None else last + 1
    if call.turn <= expected:
        return None
    gap = f"turn {expected} has" if call.turn == expected + 1 else f"turns {expected} to {call.turn - 1} have"
    return f"{gap} no record, and turn {call.turn} has one"


def _carries(text: str, answer: str) -> bool:
    """Tell whether a text holds an answer; templates and tokenizers may change its white space."""
    return answer in text or "".join(answer.split()) in "".join(text.split())


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:97]}…")
