"""`playbill check`: judge entries, and say how deep each was looked into and how to mend each finding."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import click

from playbill.backends.common.findings import Rule
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.backends.credentials import Credentials
from playbill.backends.errors import InputError
from playbill.backends.loading import retirement
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.cli.options import (
    from_option,
    jobs_option,
    json_option,
    key_file_option,
    parameter_option,
    read_lines,
    read_parameters,
    read_selector,
    registry_option,
    state_option,
    trust_option,
)
from playbill.cli.verdicts import print_summary, print_verdicts, summary_of
from playbill.proof.bulk import Journal, quiet_downloads
from playbill.proof.check import Options, Verdict, check_model
from playbill.proof.check_many import Judged, check_many
from playbill.proof.rules.table import RULES, explain
from playbill.proof.stamping import keep_stamps, make_stamp

__all__ = ["check"]

_DEEPEST = 3


@click.command()
@click.argument("targets", metavar="[NAME|FILE]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every entry of every registry file.")
@click.option(
    "--live",
    is_flag=True,
    help="Load the weights, and look at a handful of answers; of a service its list of models and one short answer.",
)
@click.option("--fetch", is_flag=True, help="With many entries: download tokenizers that are not here yet.")
@click.option("--stamp", is_flag=True, help="Keep what was proven, beside the registry that holds the entry.")
@click.option("--summary", is_flag=True, help="With many entries: print only the sum by rule.")
@click.option("--explain", "code", metavar="CODE", help="Say what a finding's code means, why, and how to mend it.")
@from_option("A file of names, one a line, to be judged as well.")
@state_option
@jobs_option
@parameter_option
@trust_option
@registry_option
@key_file_option
@json_option
def check(
    targets: tuple[str, ...],
    everything: bool,
    live: bool,
    fetch: bool,
    stamp: bool,
    summary: bool,
    code: str | None,
    listed: Path | None,
    state: Path | None,
    jobs: int | None,
    params: tuple[str, ...],
    trust_remote_code: bool,
    registries: tuple[Path, ...],
    key_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Judge the entries that NAMEs find, those of FILE, or --all.

    First the entry as written, then its prompt path (template and tokenizer, no weights), and with --live what
    the model answers; a hosted service is asked for its free list of models, and for one token. Of many entries
    several are judged side by side, and with --state a second call goes on where the first one ended. Exits with 1
    where there are errors, and with 2 where --live could not be carried out.
    """
    if code is not None:
        return _explain(code, as_json)
    targets = (*targets, *(read_lines(listed) if listed is not None else ()))
    if everything == bool(targets):
        raise click.UsageError("give models' NAMEs, a registry FILE, or --all")
    many = everything or len(targets) > 1 or listed is not None or _is_file(targets[0])
    options = Options(
        live=live,
        fetch=fetch or not many,
        credentials=Credentials.load(key_files),
        trust_remote_code=trust_remote_code,
        progress=not many,
        evidence=stamp,
    )
    if not many:
        registry = ModelRegistry.load(registries)
        judged = [_check_one(targets[0], registry, options, read_parameters(params))]
        gone = retirement(registry.find(read_selector(targets[0])))
    else:
        if params:
            raise click.UsageError("-p goes with one NAME only")
        registry, entries = _entries(targets, registries, everything=everything)
        judged = _check_many(entries, registry, options, Journal(state), jobs or (1 if live else 4 if fetch else 1))
        gone = _retired(entries)
    verdicts = [each.verdict for each in judged]
    if not summary:
        _print(judged, stamp=stamp, as_json=as_json)
    if many or summary:
        _sum_up(verdicts, alone=summary, as_json=as_json)
    if gone is not None:
        click.echo(f"playbill: note: {printable(gone)}", err=True)
    if stamp:
        _keep(judged)
    return _exit_code(verdicts, live=live)


def _exit_code(verdicts: Sequence[Verdict], *, live: bool) -> int:
    if live and any(verdict.depth < _DEEPEST and not verdict.wrong for verdict in verdicts):
        return 2
    return 1 if any(verdict.wrong for verdict in verdicts) else 0


def _retired(entries: Sequence[RegistryEntry]) -> str | None:
    retired = sum(bool(entry.flat.entry.get("retired")) for entry in entries)
    return f"{counted(retired, 'entry')} of these {'is' if retired == 1 else 'are'} retired" if retired else None


def _check_one(target: str, registry: ModelRegistry, options: Options, overrides: dict[str, Any]) -> Judged:
    verdict = check_model(read_selector(target), registry, options, overrides)
    if not options.evidence:
        return Judged(verdict)
    if verdict.entry is None:
        raise click.UsageError("--stamp is for an entry as it stands in a registry: leave -p and selectors' values out")
    return Judged(verdict, make_stamp(verdict, date.today()))


def _entries(
    targets: Sequence[str], registries: Sequence[Path], *, everything: bool
) -> tuple[ModelRegistry, list[RegistryEntry]]:
    """Return the entries that are meant, and the registry that they are judged in."""
    if len(targets) == 1 and _is_file(targets[0]):
        registry = ModelRegistry.from_file(targets[0])
        return registry, list(registry)
    registry = ModelRegistry.load(registries)
    if everything:
        return registry, list(registry)
    found = []
    for target in dict.fromkeys(targets):
        if _is_file(target):
            raise InputError(f"{target} is a registry file, which is judged alone or, with --registry, by --all")
        selector = read_selector(target)
        entry = registry.entry_of(selector)
        if entry is None:
            registry.find(selector)
            raise InputError(f"{target}: no registry has such an entry; a selector's own values are judged alone")
        found.append(entry)
    return registry, found


def _check_many(
    entries: Sequence[RegistryEntry], registry: ModelRegistry, options: Options, journal: Journal, jobs: int
) -> list[Judged]:
    """Judge entries, and return what was found in their own order."""
    found: dict[str, Judged] = {}
    hidden = not (sys.stderr.isatty() and (options.fetch or options.live))
    running = check_many(entries, registry, options, journal=journal, jobs=jobs)
    quiet = quiet_downloads() if options.fetch or options.live else nullcontext()
    with quiet, click.progressbar(running, len(entries), "checked", file=sys.stderr, hidden=hidden) as bar:
        for judged in bar:
            found[judged.verdict.where] = judged
    return [found[entry.where] for entry in entries]


def _print(judged: Sequence[Judged], *, stamp: bool, as_json: bool) -> None:
    if not as_json:
        print_verdicts(each.verdict for each in judged)
        return
    shown = [each.verdict.to_dict() for each in judged]
    if stamp:
        stamps = (each.stamp.to_dict() if each.stamp is not None else None for each in judged)
        shown = [{**verdict, "stamp": found} for verdict, found in zip(shown, stamps, strict=True)]
    click.echo(printable_json(shown))


def _sum_up(verdicts: Sequence[Verdict], *, alone: bool, as_json: bool) -> None:
    """Print the sum by rule; as JSON only where nothing else is printed."""
    if not as_json:
        print_summary(verdicts)
    elif alone:
        click.echo(printable_json(summary_of(verdicts)))


def _keep(judged: Sequence[Judged]) -> None:
    """Write the stamps, and say where; an entry that is wrong gets none."""
    stamps = [
        (each.verdict.entry.file, each.stamp)
        for each in judged
        if each.stamp is not None and each.verdict.entry is not None
    ]
    files = keep_stamps(stamps)
    where = f", in {', '.join(str(file) for file in files)}" if files else "; what has errors gets no stamp"
    depths = sorted({stamp.depth.value for _, stamp in stamps})
    click.echo(f"stamped {len(stamps)} of {len(judged)} ({', '.join(depths) or 'none'}){where}", err=True)


def _is_file(target: str) -> bool:
    """Tell whether a registry file is meant; names of models don't end in .json."""
    if target.endswith(".json") and not Path(target).is_file():
        raise InputError(f"there is no file {target}")
    return Path(target).is_file()


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
