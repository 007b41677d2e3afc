"""Check a template's text without a tokenizer: syntax, variables, roles, prompts, turns, dates.

Each check is a function from a `Subject` to findings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from playbill.backends.common.findings import Finding
from playbill.backends.common.prefixes import shared_length
from playbill.backends.errors import HOSTILE_FAULTS, TemplateError, TemplateFault
from playbill.backends.prompt.chat_template import unread_arguments as unread_arguments_of
from playbill.backends.prompt.template import check_syntax, template_variables
from playbill.backends.registry.fields.table import setting
from playbill.proof.checks.own_text import own_text
from playbill.proof.checks.probe import (
    ANSWER,
    ASSISTANT_FIRST,
    HISTORY,
    PLAIN,
    SHAPES,
    SYSTEM,
    SYSTEM_TEXT,
    TWO_USERS,
    Probe,
)
from playbill.proof.checks.thinking import switched_off, thinking_of
from playbill.proof.rules import path as path_rules
from playbill.proof.rules import template as template_rules

__all__ = ["PROMPT_CHECKS", "TEXT_CHECKS", "Subject", "finding_of", "judge_template"]

_GIVEN = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token", "tools", "documents"})
_LONGEST = 300
_SPECIAL = frozenset({"unk_token", "pad_token", "sep_token", "cls_token", "mask_token", "additional_special_tokens"})


@dataclass(frozen=True)
class Subject:
    """A template as an entry uses it. ``where`` names it in findings, ``entry`` holds the entry's flat data."""

    probe: Probe
    entry: Mapping[str, Any]
    where: str

    @cached_property
    def reads(self) -> frozenset[str]:
        """The variables that the template reads."""
        return template_variables(self.probe.text)


Check = Callable[[Subject], Iterator[Finding]]


def judge_template(subject: Subject, checks: tuple[Check, ...]) -> Iterator[Finding]:
    """Yield what the checks find. A template that can't be read, or is not to be used, is judged no further."""
    broken = list(broken_template(subject))
    yield from broken
    if not broken:
        for check in checks:
            yield from check(subject)


def broken_template(subject: Subject) -> Iterator[Finding]:
    try:
        check_syntax(subject.probe.text)
    except TemplateError as e:
        yield finding_of(e, subject.where)
        return
    for shape, conversation in SHAPES.items():
        error = subject.probe.attempt(conversation).error
        if error is not None and (error.fault in HOSTILE_FAULTS or conversation is PLAIN):
            yield finding_of(error, subject.where, f"on {shape}: ")
            return


def finding_of(error: TemplateError, where: str, on: str = "") -> Finding:
    """Return what makes a template unusable, as a finding."""
    message = f"{on}{error}"
    if error.fault is TemplateFault.SYNTAX:
        return template_rules.TEMPLATE_SYNTAX.at(where, str(error), "no prompt can be rendered with it")
    if error.fault is TemplateFault.FORBIDDEN:
        return template_rules.TEMPLATE_FORBIDDEN.at(where, message, "don't use this template")
    if error.fault in HOSTILE_FAULTS:
        return template_rules.TEMPLATE_COSTLY.at(where, message, "don't use this template")
    return template_rules.TEMPLATE_FAILS.at(where, message, "mend it, or give what it misses")


def undefined_variables(subject: Subject) -> Iterator[Finding]:
    known = _GIVEN | _SPECIAL | set(subject.probe.variables)
    for name in sorted(subject.reads - known):
        near = get_close_matches(name, known, n=1, cutoff=0.85)
        if near:
            message, fix = f"reads '{name}', which nobody gives it", f"did you mean '{near[0]}'?"
        elif not _guarded(name, subject.probe.text):
            message, fix = f"writes '{name}', which nobody gives it", f"give '{name}' in chat_template_kwargs"
        else:
            continue
        yield template_rules.TEMPLATE_UNDEFINED.at(subject.where, message, fix)


def _guarded(name: str, text: str) -> bool:
    """Tell whether a template sets a variable in some branch, or asks for it: by a test, a default, as a condition."""
    word = rf"(?<![\w.'\"]){re.escape(name)}(?!\w)"
    tested = rf"{word}\s+is\s|{word}\s*\|\s*(?:default|d)\b"
    set_here = rf"\bset\s+{re.escape(name)}\b|\bfor\s[^%]*{word}[^%]*\sin\s"
    condition = rf"\b(?:if|elif|and|or|not)\s*\(?\s*{word}|{word}\s+(?:and|or|in)\b"
    return re.search(f"{tested}|{set_here}|{condition}", text) is not None


def unread_arguments(subject: Subject) -> Iterator[Finding]:
    for name, near in unread_arguments_of(subject.entry, subject.reads).items():
        fix = f"did you mean '{near}'?" if near else "take it out"
        message = f"the template doesn't read '{name}' of chat_template_kwargs"
        yield template_rules.UNREAD_ARGUMENT.at(subject.where, message, fix)


def system_role(subject: Subject) -> Iterator[Finding]:
    if setting(subject.entry, "system_role") == "fold":
        return
    attempt = subject.probe.attempt(SYSTEM)
    fix = 'set "system_role": "fold"'
    if attempt.error is not None:
        yield path_rules.SYSTEM_REFUSED.at(subject.where, f"a system message is refused: {attempt.error}", fix)
    elif attempt.text is not None and SYSTEM_TEXT not in attempt.text:
        yield path_rules.SYSTEM_DROPPED.at(subject.where, "a system message does not come into the prompt", fix)


def own_system_prompt(subject: Subject) -> Iterator[Finding]:
    found = own_text(subject.probe)
    if found is None:
        return
    shown = repr(found.text if len(found.text) <= _LONGEST else f"{found.text[:_LONGEST]}…")
    if found.replaceable:
        message = f"where a dialogue has no system message, the template writes one of its own: {shown}"
        fix = "a system message replaces it"
    else:
        message = f"the template writes into every prompt: {shown}"
        fix = "a system message stands beside it"
    yield path_rules.OWN_SYSTEM_PROMPT.at(subject.where, message, fix)


def role_orders(subject: Subject) -> Iterator[Finding]:
    kept = setting(subject.entry, "consecutive_roles") == "keep"
    shapes = {"two user messages in a row": TWO_USERS, "an assistant message first": ASSISTANT_FIRST}
    for shape, conversation in shapes.items():
        error = subject.probe.attempt(conversation).error
        if error is None:
            continue
        merged = conversation is TWO_USERS and not kept
        fix = "they are merged before it, so nothing is to be done" if merged else "let the dialogue begin with a user"
        if conversation is TWO_USERS and kept:
            fix = 'set "consecutive_roles": "merge"'
        yield path_rules.ORDER_REFUSED.at(subject.where, f"{shape}: refused, {error}", fix)


def generation_prompt(subject: Subject) -> Iterator[Finding]:
    opened, closed = subject.probe.attempt(PLAIN).text, subject.probe.attempt(PLAIN, opened=False).text
    if opened is None or closed is None:
        return
    if not opened.startswith(closed):
        message = f"the generation prompt is no pure suffix: {_first_difference(closed, opened)}"
        yield path_rules.NOT_A_SUFFIX.at(subject.where, message)
    answered = subject.probe.answered()
    if answered is None or opened != closed:
        return  # what the template writes after its generation prompt is the model's to write
    missing = answered[0][len(opened) :] if answered[0].startswith(opened) else ""
    if missing.strip():
        message = f"the prompt ends without {missing!r}, which the template writes before an answer"
        fix = "let add_generation_prompt write it at the end of the template"
        yield path_rules.NO_GENERATION_PROMPT.at(subject.where, message, fix)


def _first_difference(expected: str, found: str) -> str:
    place = shared_length(expected, found)
    return f"after {expected[max(0, place - 20) : place]!r} comes {found[place : place + 20]!r}"


def stability(subject: Subject) -> Iterator[Finding]:
    if subject.probe.attempt(HISTORY).text != subject.probe.attempt(HISTORY, again=1).text:
        yield path_rules.UNSTABLE.at(subject.where, "the same messages rendered twice give two prompts")


def next_turn(subject: Subject) -> Iterator[Finding]:
    first, second = subject.probe.attempt(PLAIN).text, subject.probe.attempt(HISTORY).text
    if first is None or second is None or second.startswith(first + ANSWER):
        return
    message = f"the next turn's prompt doesn't extend this one's: {_first_difference(first + ANSWER, second)}"
    yield path_rules.NOT_EXTENDED.at(subject.where, message)


def turn_end(subject: Subject) -> Iterator[Finding]:
    answered = subject.probe.answered()
    if answered is None:
        return
    after = answered[1].strip()
    if not after:
        message = "nothing follows an assistant's answer"
        yield path_rules.TURN_NOT_CLOSED.at(subject.where, message, "write the end-of-turn token after it")
        return
    culled = subject.entry.get("eos_to_cull") or []
    literals = [culled] if isinstance(culled, str) else culled
    if literals and not any(after.startswith(literal.strip()) for literal in literals if literal.strip()):
        named = ", ".join(repr(literal) for literal in literals)
        message = f"eos_to_cull is {named}, but the template writes {after[:40]!r} after an answer"
        yield path_rules.EOS_MISMATCH.at(subject.where, message, "name what is written there in eos_to_cull")


def dated(subject: Subject) -> Iterator[Finding]:
    if "date" in subject.entry:
        return
    later = subject.probe.date + timedelta(days=400)
    if subject.probe.attempt(PLAIN).text != subject.probe.attempt(PLAIN, date=later).text:
        yield path_rules.DATED.at(subject.where, "the prompt has the date in it", 'set "date" to keep it the same')


def needless_split(subject: Subject) -> Iterator[Finding]:
    prefix = subject.entry.get("output_split_prefix")
    prompt = subject.probe.attempt(PLAIN).text
    if isinstance(prefix, str) and prefix.strip() and prompt and prompt.rstrip().endswith(prefix.strip()):
        message = f"output_split_prefix is {prefix!r}, which the prompt ends with; the output never has it"
        yield path_rules.SPLIT_PREFIX.at(subject.where, message, "take it out")


def thinking(subject: Subject) -> Iterator[Finding]:
    entry, found = subject.entry, thinking_of(subject.probe)
    if found is None or entry.get("cot_end_tag") or entry.get("output_split_prefix"):
        return
    if (switch := switched_off(subject.probe, subject.reads)) is not None:
        if switch not in subject.probe.variables:  # who sets it to false knows
            message = "the model thinks only when asked, and nothing asks it to, so it answers at once"
            fix = f'"chat_template_kwargs": {{"{switch}": true}} would ask it'
            yield path_rules.THINKS_WHEN_ASKED.at(subject.where, message, fix)
        return
    if found.end_tag is not None:
        message = f"the template knows thinking ({found.end_tag}), and no cot_end_tag is given"
        fix = f'add "cot_start_tag": {json.dumps(found.start_tag)} and "cot_end_tag": {json.dumps(found.end_tag)}'
    else:
        message = f"the model writes {found.prefix!r} before its answer, and no output_split_prefix is given"
        fix = f'add "output_split_prefix": {json.dumps(found.prefix)}'
    yield path_rules.THINKING_UNSEPARATED.at(subject.where, message, fix)


TEXT_CHECKS: tuple[Check, ...] = (undefined_variables, unread_arguments)
"""What is asked of an entry's own template as part of the entry."""
PROMPT_CHECKS: tuple[Check, ...] = (
    system_role,
    own_system_prompt,
    role_orders,
    generation_prompt,
    stability,
    next_turn,
    turn_end,
    dated,
    needless_split,
    thinking,
)
"""What is asked of any template as part of the prompt path."""
