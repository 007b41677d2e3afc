"""Check a prompt path: BOS, stop tokens, special strings, context, slow or fast tokenizer. Needs no weights.

Each check is a function from a `PathSubject` to findings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from playbill.backends.common.findings import Finding
from playbill.backends.common.words import counted
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.fields.types import parse_token_count
from playbill.proof.checks.probe import HISTORY, PLAIN
from playbill.proof.checks.template import Subject
from playbill.proof.rules import path as path_rules

__all__ = ["PATH_CHECKS", "PathSubject"]

_MARKER = re.compile(r"<\|[^|<>\s]{1,40}\|>|<(?:start|end)_of_\w{1,20}>|<\uff5c[^\uff5c<>]{1,40}\uff5c>")


@dataclass(frozen=True)
class PathSubject:
    """A prompt path as an entry uses it, with its template under probes."""

    path: PromptPath
    template: Subject

    @property
    def where(self) -> str:
        return self.template.where

    def encode(self, text: str) -> list[int]:
        return self.path.tokenizer.encode(text)

    def is_token(self, text: str) -> bool:
        return len(self.encode(text)) == 1


Check = Callable[[PathSubject], Iterator[Finding]]


def bos(subject: PathSubject) -> Iterator[Finding]:
    text = subject.path.template.variables.get("bos_token")
    prompt = subject.template.probe.attempt(PLAIN).text
    ids = subject.encode(text) if isinstance(text, str) and text else []
    if len(ids) != 1 or prompt is None:
        return
    found = subject.encode(prompt)
    leading = next((i for i, token in enumerate(found) if token != ids[0]), len(found))
    if leading > 1:
        yield path_rules.DOUBLE_BOS.at(subject.where, f"the prompt begins with {leading} times {text!r}")
    if leading == 0 and subject.path.tokenizer.facts().get("adds_bos"):
        message = f"the tokenizer begins texts with {text!r}, and the template doesn't"
        yield path_rules.MISSING_BOS.at(subject.where, message, "begin the template with {{ bos_token }}")


def turn_end_token(subject: PathSubject) -> Iterator[Finding]:
    answered = subject.template.probe.answered()
    if answered is None or not answered[1].strip():
        return
    first = subject.encode(answered[1].lstrip())[:1]
    stop = next((s for s in subject.path.stops.ids if s.id in first), None)
    strings = subject.path.stops.strings
    if stop is None and not any(answered[1].lstrip().startswith(s.lstrip()) for s in strings):
        message = f"{answered[1].strip()[:40]!r}, which follows an answer, begins with no stop token"
        yield path_rules.TURN_NOT_CLOSED.at(subject.where, message, "name it in eos_to_cull")
    elif stop is not None and stop.sources == ("template",):
        message = f"{stop.text!r} (id {stop.id}) closes a turn, and no list of EOS tokens has it"
        yield path_rules.TURN_END_UNKNOWN.at(subject.where, message, f"add {stop.text!r} to eos_to_cull")


def special_strings(subject: PathSubject) -> Iterator[Finding]:
    text = subject.template.probe.attempt(HISTORY).text or ""
    split = [m for m in dict.fromkeys(_MARKER.findall(text)) if not subject.is_token(m)]
    if split:
        names = ", ".join(repr(marker) for marker in split[:5])
        yield path_rules.NO_SINGLE_TOKEN.at(subject.where, f"no single token to this tokenizer: {names}")


def end_texts(subject: PathSubject) -> Iterator[Finding]:
    culled = subject.template.entry.get("eos_to_cull") or []
    for literal in [culled] if isinstance(culled, str) else culled:
        if literal.strip() and not subject.is_token(literal):
            ids = len(subject.encode(literal))
            message = f"{literal!r} in eos_to_cull is {counted(ids, 'token')}; it stops a generation as text only"
            yield path_rules.EOS_NO_TOKEN.at(subject.where, message, _end_hint(subject))


def _end_hint(subject: PathSubject) -> str:
    stops = [stop.text for stop in subject.path.stops.ids]
    return f"the model's stop tokens are {', '.join(map(repr, stops))}" if stops else ""


def context_size(subject: PathSubject) -> Iterator[Finding]:
    stated = parse_token_count(subject.template.entry.get("context_size"))
    known = subject.path.context_size
    if known is None:
        yield path_rules.CONTEXT_UNKNOWN.at(subject.where, "nobody states the context size", "set context_size")
    elif stated is not None and known < stated:
        message = f"the entry states a context of {stated}, the model's configuration {known}"
        yield path_rules.CONTEXT_DISAGREES.at(subject.where, message, f"set context_size to {known}")


def slow_tokenizer(subject: PathSubject) -> Iterator[Finding]:
    facts = subject.path.tokenizer.facts()
    if setting(subject.template.entry, "slow_tokenizer") and not facts.get("slow"):
        message = f"slow_tokenizer is true, and the tokenizer in use is {facts.get('class')}, a fast one"
        yield path_rules.SLOW_IGNORED.at(subject.where, message, "give a tokenizer.model, or take the key out")


PATH_CHECKS: tuple[Check, ...] = (
    bos,
    turn_end_token,
    special_strings,
    end_texts,
    context_size,
    slow_tokenizer,
)
