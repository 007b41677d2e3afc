"""Judge one entry at three depths: as written, with its tokenizer, with its weights; and say how deep that went.

Raises for what can't be found, never for what is wrong with an entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from playbill.backends.common.findings import Finding, Severity
from playbill.backends.common.home import expanded
from playbill.backends.common.waivers import waive
from playbill.backends.credentials import Credentials
from playbill.backends.engines.self_test import self_test_words
from playbill.backends.errors import EngineError, EntryError, NoTemplate, PlaybillError, TemplateError, WeightsError
from playbill.backends.loading import find_spec, judge_spec, look_before_load, open_prompt_path
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry import rules as entry_rules
from playbill.backends.registry.fields.table import LOCAL, setting
from playbill.backends.registry.fields.types import parse_date
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.backends.registry.spec import ModelSpec
from playbill.proof.checks.at_hand import is_path, why_not_at_hand
from playbill.proof.checks.evidence import Evidence, evidence_of
from playbill.proof.checks.memory import memory
from playbill.proof.checks.neighbours import contradictions, missing_files, shadows
from playbill.proof.checks.path import PATH_CHECKS, PathSubject
from playbill.proof.checks.pictures import image_tokens, picture_places
from playbill.proof.checks.probe import Probe
from playbill.proof.checks.template import PROMPT_CHECKS, TEXT_CHECKS, Subject, finding_of, judge_template
from playbill.proof.rules import path as path_rules

__all__ = ["Options", "Verdict", "check_all", "check_entry", "check_model", "judge_path"]

ENTRY: tuple[str, ...] = ("the entry",)
PROMPT = (*ENTRY, "the prompt path")
_LIVE = "live answers"
_DEPTHS = {ENTRY[0]: 1, PROMPT[1]: 2, _LIVE: 3}


@dataclass(frozen=True)
class Options:
    """How deep to go: ``live`` with weights; ``fetch`` whether tokenizers may be downloaded to go beyond the entry.

    With ``evidence`` a verdict holds what a stamp is made of, for which weights are hashed.
    """

    live: bool = False
    fetch: bool = True
    credentials: Credentials | None = None
    trust_remote_code: bool = False
    progress: bool = False
    evidence: bool = False


@dataclass(frozen=True)
class Verdict:
    """What was found on one entry, by looking at what.

    ``stopped`` says why it went no deeper; None where it went as deep as it was asked to. ``unseen`` is what couldn't
    be looked at, though a load needs it. ``entry`` is the one that was judged as it stands in its file; None where a
    caller's own values were judged. ``evidence`` was asked for. ``self_test`` is what the engine of live answers found
    on load about requests that are computed together.
    """

    name: str | None
    where: str
    looked_at: tuple[str, ...]
    findings: tuple[Finding, ...]
    stopped: str | None = None
    unseen: tuple[str, ...] = ()
    entry: RegistryEntry | None = None
    evidence: Evidence | None = None
    self_test: str | None = None

    @property
    def depth(self) -> int:
        """1 where the entry was looked at, 2 where its prompt path was, 3 where live answers were."""
        return _DEPTHS[self.looked_at[-1]]

    @property
    def wrong(self) -> bool:
        return any(f.severity is Severity.ERROR for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        return {
            "model_name": self.name,
            "where": self.where,
            "depth": self.depth,
            "looked_at": list(self.looked_at),
            "not_looked_at": list(self.unseen),
            "stopped": self.stopped,
            "wrong": self.wrong,
            **({"self_test": self.self_test} if self.self_test else {}),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def check_model(
    selector: str | dict[str, Any],
    registry: ModelRegistry,
    options: Options,
    overrides: dict[str, Any] | None = None,
) -> Verdict:
    """Judge the entry that a selector finds. Raises as `ModelRegistry.find`."""
    spec = find_spec(selector, registry=registry, overrides=overrides)
    entry = registry.entry_of(selector)
    where = entry.where if entry is not None else f"selector '{spec['model_name']}'"
    written = [*judge_spec(spec), *(shadows(entry, registry) if entry is not None else ())]
    verdict = _judge(spec, where, written, options)
    return replace(verdict, entry=entry) if entry is not None and spec == entry.spec else verdict


def check_all(entries: Iterable[RegistryEntry], registry: ModelRegistry, options: Options) -> Iterator[Verdict]:
    """Judge entries as they stand in their files, one after the other."""
    return (check_entry(entry, registry, options) for entry in entries)


def check_entry(entry: RegistryEntry, registry: ModelRegistry, options: Options) -> Verdict:
    """Judge one entry as it stands in its file."""
    written = [*entry.findings, *shadows(entry, registry)]
    if entry.name is None:
        return Verdict(None, entry.where, ENTRY, _sorted(written, entry.flat.entry), "the entry has errors")
    return replace(_judge(entry.spec, entry.where, written, options), entry=entry)


def _judge(spec: ModelSpec, where: str, written: list[Finding], options: Options) -> Verdict:
    name = str(spec["model_name"])
    template = _own_template(spec, where)
    found = [*written, *contradictions(spec, where), *missing_files(spec, where)]
    found += judge_template(template, TEXT_CHECKS) if template is not None else ()
    if any(f.severity is Severity.ERROR for f in found):
        return Verdict(name, where, ENTRY, _sorted(found, spec), "the entry has errors")
    reason = None if options.fetch else why_not_at_hand(spec)
    path: PromptPath | None = None
    if reason is None:
        try:
            path = open_prompt_path(spec, credentials=options.credentials, progress=options.progress)
        except NoTemplate as e:
            found.append(path_rules.NO_TEMPLATE.at(where, str(e)))
            return Verdict(name, where, PROMPT, _sorted(found, spec), "there is no template to look at")
        except TemplateError as e:
            found.append(finding_of(e, where))
            return Verdict(name, where, PROMPT, _sorted(found, spec), "the template is not to be used")
        except EntryError as e:
            said = entry_rules.REFUSED_KEY.at(where, str(e).removeprefix(f"{name}: "))
            found.extend(e.findings or [said])
            return Verdict(name, where, PROMPT, _sorted(found, spec), "the entry asks for what can't be had")
        except PlaybillError as e:
            reason = str(e)
            found += _fault_of_files(spec, where, e, options)
            if found and found[-1].code == path_rules.WEIGHTS_REFUSED.code:
                return Verdict(name, where, PROMPT, _sorted(found, spec), "the model's files can't be used")
    if reason is not None:
        # As far as it goes without the tokenizer: the template that the entry itself brings.
        found += judge_template(template, PROMPT_CHECKS) if template is not None else ()
        needed = ("the prompt path", "the weights") if spec["backend"] in LOCAL else ("whether it loads",)
        return Verdict(name, where, ENTRY, _sorted(found, spec), reason, needed)
    if path is not None:
        found.extend(judge_path(path, spec, where))
        found.extend(memory(spec, where, options.credentials))
    if options.live:
        return _judge_live(spec, path, where, found, options)
    unseen = tuple(_look(spec, where, found, options))
    stopped = None if path is not None else "this backend takes messages, so there is no prompt path to look at"
    evidence = evidence_of(spec, path) if options.evidence else None
    reached = ENTRY if path is None else PROMPT
    return Verdict(name, where, reached, _sorted(found, spec), stopped, unseen, evidence=evidence)


def _fault_of_files(spec: ModelSpec, where: str, e: PlaybillError, options: Options) -> Iterator[Finding]:
    """Yield the error of files that lie here, or should, and that every load would refuse as this look did."""
    source = str(spec.get("huggingface_id"))
    if spec["backend"] not in LOCAL or not isinstance(e, (WeightsError, EngineError)):
        return
    if not (is_path(source) or expanded(source).exists()):
        return
    faults: list[Finding] = []
    tuple(_look(spec, where, faults, options))
    words = next((f.message for f in faults), str(e))
    yield path_rules.WEIGHTS_REFUSED.at(where, words.removeprefix(f"{spec['model_name']}: "))


def _look(spec: ModelSpec, where: str, found: list[Finding], options: Options) -> Iterator[str]:
    """Yield what a look at weights or key couldn't see; a fault that it found is added to the findings."""
    if any(f.severity is Severity.ERROR for f in found):
        return
    try:
        look = look_before_load(spec, credentials=options.credentials)
    except EntryError as e:
        found.append(entry_rules.REFUSED_KEY.at(where, str(e).removeprefix(f"{spec['model_name']}: ")))
    except PlaybillError as e:
        yield f"the weights: {e}"
    else:
        if look.fault is not None:
            found.append(path_rules.WEIGHTS_REFUSED.at(where, look.fault))
        if look.unseen is not None:
            yield look.unseen


def _judge_live(
    spec: ModelSpec, path: PromptPath | None, where: str, found: list[Finding], options: Options
) -> Verdict:
    from playbill.proof.checks.live import judge_live

    name, reached = str(spec["model_name"]), ENTRY if path is None else PROMPT
    if spec["backend"] == "human":
        return Verdict(name, where, ENTRY, _sorted(found, spec), "a person answers, whom nobody checks")
    try:
        live = judge_live(spec, path, where, options.credentials, options.trust_remote_code, options.progress)
    except PlaybillError as e:
        return Verdict(name, where, reached, _sorted(found, spec), str(e))
    evidence = evidence_of(spec, path, live.facts) if options.evidence else None
    return Verdict(
        name,
        where,
        (*reached, _LIVE),
        _sorted([*found, *live.findings], spec),
        evidence=evidence,
        self_test=self_test_words(live.facts),
    )


def _own_template(spec: ModelSpec, where: str) -> Subject | None:
    """Return the template that the entry itself brings, as it can be looked at without the model's tokenizer."""
    text = spec.get("custom_chat_template")
    if not isinstance(text, str) or not text or spec.get("premade_chat_template") is True:
        return None
    given, end = spec.get("chat_template_kwargs"), spec.get("eos_to_cull")
    ends = [end] if isinstance(end, str) else end if isinstance(end, list) else []
    eos = next((text for text in ends if isinstance(text, str) and text), "</s>")
    variables = {"bos_token": "<s>", "eos_token": eos, **(given if isinstance(given, dict) else {})}
    probe = Probe(text, variables, parse_date(setting(spec, "date")) or datetime.now())
    return Subject(probe, spec, spec.sources().get("custom_chat_template", where))


def judge_path(path: PromptPath, spec: ModelSpec, where: str) -> list[Finding]:
    """Return what the prompt path of an entry shows, without weights."""
    template = path.template
    subject = Subject(Probe(template.text, template.variables, path.date), spec, where)
    own = template.source != "custom"
    found = list(judge_template(subject, (*(TEXT_CHECKS if own else ()), *PROMPT_CHECKS)))
    if any(f.severity is Severity.ERROR and f.code < path_rules.NO_TEMPLATE.code for f in found):
        return found
    for check in (*PATH_CHECKS, picture_places, image_tokens):
        found.extend(check(PathSubject(path, subject)))
    return list({(f.code, f.where, f.message): f for f in found}.values())


def _sorted(findings: Iterable[Finding], entry: Mapping[str, Any]) -> tuple[Finding, ...]:
    order = list(Severity)
    return tuple(sorted(waive(findings, entry), key=lambda f: (order.index(f.severity), f.code)))
