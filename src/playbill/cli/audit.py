"""`playbill audit DIR|FILE …`: judge records, and say how much of a run each fault touches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.common.words import counted
from playbill.backends.errors import PlaybillError
from playbill.cli.options import json_option
from playbill.cli.tables import print_columns
from playbill.runs.audit import RECORD_RULES, Audit, Judged, Source, find_sources
from playbill.runs.folder.manifest import read_manifest

__all__ = ["audit"]

_WRONG = 1
_UNREADABLE = 2


@click.command()
@click.argument("paths", metavar="DIR|FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--summary", is_flag=True, help="Only the counts, not each finding.")
@json_option
def audit(paths: tuple[Path, ...], summary: bool, as_json: bool) -> int:
    """Judge records: those of `playbill run`, and results of clembench and clemcore.

    Every generation is checked for failures of the layer around the model: special tokens in answers, prompts
    with two BOS tokens, thinking taken as the answer, empty answers that cost tokens, and more; docs/reference/rules.md
    lists them. Where a record lacks the evidence, that is counted as "cannot tell".

    Exits with 1 where there is an error, and with 2 where a file can't be read.
    """
    sources = find_sources(paths)
    auditor = Audit()
    problems: list[str] = []
    found = _findings(auditor, sources, problems)
    if as_json:
        _print_json(auditor, sources, found, problems, summary=summary)
    else:
        for judged in found:
            if not summary:
                rule = judged.finding
                click.echo(f"{rule.severity.value} {rule.code} {rule.name}: {printable(str(rule))}")
        _print_totals(auditor, sources)
    for problem in problems:
        click.echo(f"playbill: error: {printable(problem)}", err=True)
    return _UNREADABLE if problems else _WRONG if auditor.errors or _problems(sources) else 0


def _findings(auditor: Audit, sources: Sequence[Source], problems: list[str]) -> Iterator[Judged]:
    """Yield the findings of all files; a file that can't be read is noted, and the others are judged still."""
    for source in sources:
        try:
            auditor.expect(source.expected())
            yield from auditor.judge(source.calls())
        except PlaybillError as e:
            problems.append(str(e))
    yield from auditor.close()


def _problems(sources: Sequence[Source]) -> list[tuple[str, str]]:
    """Return the models of these runs that were not run to their ends, each with the reason."""
    found: dict[tuple[str, str], None] = {}
    for run in dict.fromkeys(source.run for source in sources):
        with suppress(PlaybillError):  # where it can't be read, that was said of its records
            for label, described in read_manifest(Path(run))["models"].items():
                if described.get("problem"):
                    found[label, str(described["problem"])] = None
    return list(found)


def _print_json(
    auditor: Audit, sources: Sequence[Source], found: Iterator[Judged], problems: list[str], *, summary: bool
) -> None:
    """One object, written as it comes about, so that millions of findings need no memory."""
    click.echo('{"findings": [', nl=False)
    comma = "\n"
    for judged in found:
        if not summary:
            click.echo(comma + printable_json(judged.to_dict(), indent=None), nl=False)
            comma = ",\n"
    rest: dict[str, Any] = {
        "models": {name: totals.to_dict() for name, totals in auditor.models.items()},
        "cannot_tell": [{"reason": reason, **group} for reason, group in auditor.cannot_tell.items()],
        "files": len(sources),
        "errors": auditor.errors,
        "not_run_to_the_end": dict(_problems(sources)),
        "unreadable": problems,
    }
    click.echo(f"\n],{printable_json(rest)[1:]}")


def _print_totals(auditor: Audit, sources: Sequence[Source]) -> None:
    rows = []
    for model, totals in auditor.models.items():
        calls = f"{counted(totals.calls, 'call')}, {counted(totals.dialogues, 'dialogue')}"
        if not totals.findings:
            rows.append((model, calls, "nothing found", ""))
        for code, n in sorted(totals.findings.items()):
            rule = RECORD_RULES[code]
            share = f"{counted(n, 'call')}, {totals.share(code):.0%} of dialogues"
            rows.append((model, calls, f"{rule.severity.value} {code} {rule.name}", share))
    click.echo("")
    print_columns(("MODEL", "AUDITED", "FOUND", "HOW OFTEN"), rows)
    left_out = sum(totals.left_out for totals in auditor.models.values())
    if left_out:
        click.echo(f"left out: {counted(left_out, 'call')} of programs and people, who are no models")
    for reason, group in auditor.cannot_tell.items():
        names = ", ".join(RECORD_RULES[code].name for code in group["rules"])
        where = counted(group["calls"], "call")
        if len(auditor.models) > 1:
            where += f" of {counted(len(group['models']), 'model')}"
        click.echo(printable(f"cannot tell {names} ({where}): {reason}"))
    problems = _problems(sources)
    for label, problem in problems:
        click.echo(printable(f"{label} was not run to its end: {problem}"))
    errors = counted(auditor.errors, "error", none="no")
    unfinished = f", and {counted(len(problems), 'model')} not run to the end" if problems else ""
    click.echo(f"{counted(len(sources), 'file')}: {errors}{unfinished}")
