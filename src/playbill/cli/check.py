"""`playbill check`: judge entries, and say how deep each was looked into and how to mend each finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from playbill.backends.common.findings import Rule, Severity
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.backends.credentials import Credentials
from playbill.backends.errors import InputError
from playbill.backends.loading import retirement
from playbill.backends.registry.lookup import ModelRegistry
from playbill.cli.listing import describe
from playbill.cli.options import (
    json_option,
    key_file_option,
    parameter_option,
    read_parameters,
    read_selector,
    registry_option,
    trust_option,
)
from playbill.proof.check import Options, Verdict, check_all, check_model
from playbill.proof.rules.table import RULES, explain

__all__ = ["check", "print_verdicts"]

_DEEPEST = 3


@click.command()
@click.argument("target", metavar="[NAME|FILE]", required=False)
@click.option("--all", "everything", is_flag=True, help="Every entry of every registry file.")
@click.option(
    "--live",
    is_flag=True,
    help="Load the weights, and look at a handful of answers; of a service its list of models and one short answer.",
)
@click.option("--fetch", is_flag=True, help="With FILE or --all: download tokenizers that are not here yet.")
@click.option("--explain", "code", metavar="CODE", help="Say what a finding's code means, why, and how to mend it.")
@parameter_option
@trust_option
@registry_option
@key_file_option
@json_option
def check(
    target: str | None,
    everything: bool,
    live: bool,
    fetch: bool,
    code: str | None,
    params: tuple[str, ...],
    trust_remote_code: bool,
    registries: tuple[Path, ...],
    key_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Judge the entry that NAME finds, the entries of FILE, or --all.

    First the entry as written, then its prompt path (template and tokenizer, no weights), and with --live what
    the model answers; a hosted service is asked for its free list of models, and for one token. Exits with 1 where
    there are errors, and with 2 where --live could not be carried out.
    """
    if code is not None:
        return _explain(code, as_json)
    if everything == (target is not None):
        raise click.UsageError("give a model's NAME, a registry FILE, or --all")
    many = everything or _is_file(str(target))
    options = Options(
        live=live,
        fetch=fetch or not many,
        credentials=Credentials.load(key_files),
        trust_remote_code=trust_remote_code,
        progress=True,
    )
    if not many:
        registry = ModelRegistry.load(registries)
        selector = read_selector(str(target))
        verdicts = [check_model(selector, registry, options, read_parameters(params))]
        gone = retirement(registry.find(selector))
    else:
        if params:
            raise click.UsageError("-p goes with a NAME only")
        registry = ModelRegistry.load(registries) if everything else ModelRegistry.from_file(str(target))
        verdicts = list(check_all(registry, registry, options))
        retired = sum(bool(entry.flat.entry.get("retired")) for entry in registry)
        gone = f"{counted(retired, 'entry')} of these {'is' if retired == 1 else 'are'} retired" if retired else None
    print_verdicts(verdicts, as_json=as_json)
    if gone is not None:
        click.echo(f"playbill: note: {printable(gone)}", err=True)
    if live and any(verdict.depth < _DEEPEST and not verdict.wrong for verdict in verdicts):
        return 2
    return 1 if any(verdict.wrong for verdict in verdicts) else 0


def _is_file(target: str) -> bool:
    """Tell whether a registry file is meant; names of models don't end in .json."""
    if target.endswith(".json") and not Path(target).is_file():
        raise InputError(f"there is no file {target}")
    return Path(target).is_file()


def print_verdicts(verdicts: Iterable[Verdict], *, as_json: bool = False) -> None:
    """Verdicts to stdout, one paragraph each; the sum of them to stderr."""
    listed = list(verdicts)
    if as_json:
        click.echo(printable_json([verdict.to_dict() for verdict in listed]))
        return
    for verdict in listed:
        _print(verdict)
    counts = {s: sum(f.severity is s for v in listed for f in v.findings) for s in Severity}
    said = ", ".join(counted(count, severity.value) for severity, count in counts.items())
    click.echo(f"{counted(len(listed), 'entry')}: {said}{_how_deep(listed)}", err=True)


def _how_deep(verdicts: Sequence[Verdict]) -> str:
    """Return at how many of several entries how much was looked at, and at how many not at all that a load needs."""
    if len(verdicts) == 1:
        return ""
    deepest = Counter(verdict.looked_at[-1] for verdict in verdicts)
    parts = [f"{what} of {n}" for what, n in deepest.items()]
    unseen = sum(bool(verdict.unseen) for verdict in verdicts)
    rest = f"; of {unseen} something that a load needs was not looked at" if unseen else ""
    return f"; looked as deep as {', '.join(parts)}{rest}"


def _print(verdict: Verdict) -> None:
    looked = ", ".join(verdict.looked_at)
    unseen = f"; not looked at: {', '.join(verdict.unseen)}" if verdict.unseen else ""
    why = f"{unseen}; no deeper: {verdict.stopped}" if verdict.stopped else unseen
    click.echo(printable(f"{verdict.name or '(no name)'}: looked at {looked}{why}"))
    for finding in verdict.findings:
        click.echo(f"  {describe(finding)}")


def _explain(code: str, as_json: bool) -> int:
    from playbill.runs.audit import RECORD_RULES

    known = {**RULES, **RECORD_RULES}
    rules = [rule for rule in known.values() if rule.code == code.upper() or rule.name == code.lower()]
    if not rules:
        raise InputError(f"no rule has the code '{code}'; docs/reference/rules.md lists them: {', '.join(known)}")
    if as_json:
        click.echo(printable_json([_as_json(rule) for rule in rules]))
    else:
        click.echo("\n\n".join(explain(rule) for rule in rules))
    return 0


def _as_json(rule: Rule) -> dict[str, Any]:
    names = ("code", "name", "severity", "summary", "why", "prevents", "mend")
    return {name: getattr(rule, name) for name in names}
