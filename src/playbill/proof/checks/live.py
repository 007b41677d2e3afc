"""Check a model's real answers: a handful of short questions, greedy, one at a time and all at once. Loads weights.

Of a hosted service only `service` is asked: its list of models, and one request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from playbill.backends.common.findings import Finding, Severity
from playbill.backends.common.prefixes import shared_length
from playbill.backends.common.words import counted
from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import ServiceEngine, supported_parameters
from playbill.backends.generation import FinishReason, Generation, Outcome
from playbill.backends.loading import load_spec
from playbill.backends.model import Model
from playbill.backends.prompt.messages import Message
from playbill.backends.prompt.prompt_path import PromptPath, make_prompt
from playbill.backends.registry.services import SERVICES
from playbill.backends.registry.spec import ModelSpec
from playbill.proof.checks.service import judge_service
from playbill.proof.rules import live as rules

__all__ = ["LiveVerdict", "judge_answers", "judge_live"]

_QUESTIONS = (
    "What is the capital of France? Answer with one word.",
    "Say hello.",
    "Count from one to five.",
    "Is water wet? Answer yes or no.",
)
_MOST_TOKENS = 160
_MOST_WITH_THINKING = 1024
_MARKER = re.compile(r"<\|[^|<>\s]{1,40}\|>|<(?:start|end)_of_\w{1,20}>")
_TAIL = 24


@dataclass(frozen=True)
class _Trial:
    """What was asked, and the answers: alone, the first once more, and all at once."""

    conversations: Sequence[Sequence[Message]]
    alone: Sequence[Generation]
    repeated: Generation
    together: Sequence[Generation]


@dataclass(frozen=True)
class LiveVerdict:
    """What was found in live answers, and what the engine that gave them says of itself."""

    findings: tuple[Finding, ...]
    facts: Mapping[str, Any]


def judge_live(
    spec: ModelSpec,
    path: PromptPath | None,
    where: str,
    credentials: Credentials | None = None,
    trust_remote_code: bool = False,
    progress: bool = False,
) -> LiveVerdict:
    """Load the model, ask it, and say what is wrong with its answers. Raises as `load_model`."""
    loaded = load_spec(
        spec,
        credentials=credentials,
        trust_remote_code=trust_remote_code,
        dialogues=len(_QUESTIONS),
        progress=progress,
    )
    with loaded as model:
        return LiveVerdict(tuple(_judge(model, path, where, str(spec["backend"]))), dict(model.engine.facts()))


def _judge(model: Model, path: PromptPath | None, where: str, backend: str) -> list[Finding]:
    if not isinstance(model.engine, ServiceEngine):
        return judge_answers(model, path, where)
    found = list(judge_service(model, model.engine, where))
    # A hosted service is paid for by the token; at a server of one's own the questions are free.
    failed = any(finding.severity is Severity.ERROR for finding in found)
    return found if failed or not SERVICES[backend].keyless else [*found, *judge_answers(model, path, where)]


def judge_answers(model: Model, path: PromptPath | None, where: str) -> list[Finding]:
    """Ask a loaded model, and say what is wrong. ``path`` is the prompt path that was opened without weights."""
    trial = _ask(model, _MOST_WITH_THINKING if model.spec.get("cot_end_tag") else _MOST_TOKENS)
    found = [*_failures(trial, where)]
    if found:
        return found
    checks = (_leaks(trial, model, where), _endings(trial, where), _repeats(trial, where))
    tested = _self_test(model, where)
    return [*(f for check in checks for f in check), *tested, *_ids(trial, model.spec, path, where)]


def _self_test(model: Model, where: str) -> Iterator[Finding]:
    """Tell what an engine found on load about rows that are computed together."""
    batching = model.engine.facts().get("batching")
    if isinstance(batching, Mapping) and batching.get("company_independent") is False:
        yield rules.SELF_TEST_FAILS.at(where, f"{batching['differs']} has other bits in other company")


def _ask(model: Model, most_tokens: int) -> _Trial:
    wanted = {"temperature": 0.0, "max_tokens": most_tokens}
    params = {name: value for name, value in wanted.items() if name in supported_parameters(model.engine)}
    conversations = [[{"role": "user", "content": question}] for question in _QUESTIONS]
    alone = [model.generate(conversation, **params) for conversation in conversations]
    repeated = model.generate(conversations[0], **params)
    return _Trial(conversations, alone, repeated, model.generate_batch(conversations, **params))


def _failures(trial: _Trial, where: str) -> Iterator[Finding]:
    failed = {Outcome.ERROR, Outcome.CONTEXT_EXCEEDED, Outcome.REFUSED}
    for question, answer in zip(_QUESTIONS, trial.alone, strict=True):
        if answer.outcome in failed:
            why = (answer.error or {}).get("message", answer.outcome.value)
            yield rules.LIVE_FAILS.at(where, f"{question!r}: {why}")
            return


def _leaks(trial: _Trial, model: Model, where: str) -> Iterator[Finding]:
    path = model.prompt_path
    ends = [text for text in model.cleaning.end_tokens if text.strip()]
    for answer in (*trial.alone, *trial.together):
        tail = (answer.prompt or "")[-_TAIL:].strip()
        if path is not None and tail and tail in answer.raw:
            yield rules.PROMPT_LEAK.at(where, f"an answer contains the prompt's end, {tail!r}")
            break
    for answer in (*trial.alone, *trial.together):
        marker = _MARKER.search(answer.text)
        token = next((text for text in ends if text in answer.text), marker[0] if marker else None)
        if token is not None:
            yield rules.EOS_LEAK.at(where, f"{token!r} is left in an answer: {answer.text[-60:]!r}")
            break


def _endings(trial: _Trial, where: str) -> Iterator[Finding]:
    if all(answer.finish_reason is FinishReason.LENGTH for answer in trial.alone):
        longest = max(answer.usage.output_tokens or 0 for answer in trial.alone)
        last = trial.alone[0].raw[-60:]
        within = f"no answer ended within {counted(longest, 'token')}"
        message = f"{counted(len(trial.alone), 'short question')}, and {within}: …{last!r}"
        yield rules.NEVER_STOPS.at(where, message)
    for question, answer in zip(_QUESTIONS, trial.alone, strict=True):
        if answer.outcome is Outcome.EMPTY:
            yield rules.ALL_EMPTY.at(where, f"the answer to {question!r} is empty; raw is {answer.raw[:80]!r}")
            return


def _repeats(trial: _Trial, where: str) -> Iterator[Finding]:
    first, again = trial.alone[0], trial.repeated
    if first.raw != again.raw:
        once, twice = _parted(first.raw, again.raw)
        yield rules.NOT_REPEATABLE.at(where, f"asked twice: {once!r}, then {twice!r}")
    pairs = list(zip(trial.alone, trial.together, strict=True))
    other = [pair for pair in pairs if pair[0].raw != pair[1].raw]
    if other:
        alone, together = _parted(other[0][0].raw, other[0][1].raw)
        differ = f"{len(other)} of {counted(len(pairs), 'answer')} {'differs' if len(other) == 1 else 'differ'}"
        shown = f"{alone!r} alone, {together!r} in a batch"
        yield rules.BATCH_DIFFERS.at(where, f"{differ} in a batch: {shown}")


def _parted(left: str, right: str) -> tuple[str, str]:
    """Return two texts from a little before the place where they part."""
    same = shared_length(left, right)
    start = max(0, same - 20)
    return left[start : same + 20], right[start : same + 20]


def _ids(trial: _Trial, spec: ModelSpec, path: PromptPath | None, where: str) -> list[Finding]:
    """Return the ids that the loaded model sent against those of the prompt path that was opened without weights."""
    for conversation, answer in zip(trial.conversations, trial.alone, strict=True):
        if path is None or answer.prompt_ids is None:
            continue
        rendered = make_prompt(spec, path, conversation).ids
        sent, received = counted(len(answer.prompt_ids), "id"), answer.usage.input_tokens
        if rendered != answer.prompt_ids:
            return [rules.IDS_DIFFER.at(where, f"sent: {sent}, which are not those rendered")]
        if received is not None and received != len(answer.prompt_ids):
            message = f"sent: {sent}, and the engine counted {received}"
            return [rules.IDS_DIFFER.at(where, message)]
    return []
