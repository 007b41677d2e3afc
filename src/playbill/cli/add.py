"""`playbill add SOURCE...`: derive models' entries, show where each value comes from, and write them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import click

from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import Context
from playbill.backends.errors import InputError, PlaybillError
from playbill.backends.registry.lookup import FILE_NAME, ModelRegistry
from playbill.cli.options import from_option, jobs_option, json_option, key_file_option, read_lines, state_option
from playbill.cli.tables import print_columns
from playbill.cli.verdicts import print_summary, print_verdicts, summary_of
from playbill.proof.add.insert import Insertion, plan_insertion
from playbill.proof.add.many import Chosen, Derived, choose_new, derive_many, expand_sources
from playbill.proof.add.sources import Proposal, propose
from playbill.proof.bulk import Journal, quiet_downloads
from playbill.proof.check import Options, Verdict, check_all
from playbill.proof.check_many import check_many

__all__ = ["add"]

_JOBS = 4


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1)
@click.option("--name", metavar="NAME", help="The name of the model; without it, it follows from the source.")
@click.option("--filename", metavar="GLOB", help="Which GGUF file, where there are several: '*Q4_K_M.gguf'.")
@click.option("--file", type=click.Path(path_type=Path), default=Path(FILE_NAME), help=f"By default ./{FILE_NAME}.")
@from_option("A file of sources, one a line, to be added as well.")
@state_option
@jobs_option
@click.option("-y", "--yes", is_flag=True, help="Write without asking.")
@key_file_option
@json_option
def add(
    sources: tuple[str, ...],
    name: str | None,
    filename: str | None,
    file: Path,
    listed: Path | None,
    state: Path | None,
    jobs: int | None,
    yes: bool,
    key_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Derive an entry from each SOURCE, and put it into ./model_registry.json.

    SOURCE is a repository of the hub (org/name), a model's folder, a GGUF file, the address of an OpenAI-compatible
    server, each of whose models gets an entry; or a folder of models' folders, or the hub's cache. The rest of the
    file stays as it is. The new entries are then judged as by `playbill check`.

    Of many sources several are read side by side, one that can't be had stops no other, and with --state a second
    call goes on where the first one ended. Exits with 1 where an entry has errors or a source gave none.
    """
    credentials = Credentials.load(key_files)
    given = [*sources, *(read_lines(listed) if listed is not None else ())]
    if not given:
        raise click.UsageError("give a SOURCE, or --from FILE")
    every = expand_sources(given)
    many = len(every) > 1 or listed is not None or state is not None
    context = Context(credentials=credentials, date=datetime.now().replace(microsecond=0), progress=not many)
    if many:
        if name is not None:
            raise InputError(f"--name is for one model, and there are {len(every)} sources")
        with quiet_downloads():
            return _add_many(every, file, context, filename, Journal(state), jobs or _JOBS, yes=yes, as_json=as_json)
    proposals = propose(every[0], context, filename=filename)
    _rename(proposals, name)
    insertion = plan_insertion(file, [proposal.entry for proposal in proposals])
    if not as_json:
        _show(proposals, insertion)
    if not yes:
        _ask(file)
    insertion.write()
    if as_json:
        click.echo(printable_json({"file": str(file), "added": [_as_json(proposal) for proposal in proposals]}))
    return _check(proposals, file, Options(credentials=credentials, progress=True), quiet=as_json)


def _as_json(proposal: Proposal) -> dict[str, object]:
    return {"entry": proposal.entry, "origins": proposal.origins}


def _rename(proposals: list[Proposal], name: str | None) -> None:
    if name is None:
        return
    if len(proposals) > 1:
        raise InputError(f"--name is for one model, and there are {len(proposals)}")
    proposals[0].replace("model_name", name, "given")


def _show(proposals: list[Proposal], insertion: Insertion) -> None:
    for proposal in proposals:
        rows = [(k, printable_json(v, indent=None), proposal.origins[k]) for k, v in proposal.entry.items()]
        print_columns(("KEY", "VALUE", "BECAUSE"), rows)
        click.echo("")
    click.echo(printable(insertion.diff()), nl=False)


def _ask(file: Path) -> None:
    try:
        agreed = click.confirm(f"write this to {file}?", default=True, err=True)
    except click.Abort:
        agreed = False
        if not sys.stdin.isatty():
            raise InputError("nothing was written, since nobody could be asked; -y writes without asking") from None
    if not agreed:
        raise InputError("nothing was written")


def _check(proposals: list[Proposal], file: Path, options: Options, *, quiet: bool) -> int:
    registry = ModelRegistry.from_file(file)
    names = {proposal.values["model_name"] for proposal in proposals}
    verdicts = list(check_all([entry for entry in registry if entry.name in names], registry, options))
    if not quiet:
        click.echo("")
        print_verdicts(verdicts)
    return 1 if any(verdict.wrong for verdict in verdicts) else 0


def _add_many(
    sources: Sequence[str],
    file: Path,
    context: Context,
    filename: str | None,
    journal: Journal,
    jobs: int,
    *,
    yes: bool,
    as_json: bool,
) -> int:
    running = derive_many(sources, context, filename=filename, journal=journal, jobs=jobs)
    derived = _with_bar(running, sources)
    chosen = choose_new(derived, ModelRegistry.from_file(file) if file.exists() else ())
    if not chosen.names:
        for failure in chosen.failed:
            click.echo(printable(f"{failure.source}: {failure.error}"), err=True)
        raise PlaybillError(f"none of {len(sources)} sources gave an entry; nothing was written")
    if chosen.proposals:
        insertion = plan_insertion(file, [proposal.entry for proposal in chosen.proposals])
        if not as_json:
            _list(chosen)
        if not yes:
            _ask(file)
        insertion.write()
    return _report(chosen, file, _judge(chosen, file, context, journal, jobs), as_json=as_json)


def _with_bar(running: Iterable[Derived], sources: Sequence[str]) -> list[Derived]:
    """Return what was derived, in the order of the sources, with a bar for who watches."""
    with click.progressbar(
        running, length=len(sources), label="read", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        found = {each.source: each for each in bar}
    return [found[source] for source in sources]


def _list(chosen: Chosen) -> None:
    rows = [
        tuple(str(proposal.values.get(key, "")) for key in ("model_name", "backend", "parameters", "context_size"))
        for proposal in chosen.proposals
    ]
    print_columns(("NEW", "BACKEND", "SIZE", "CONTEXT"), rows)
    click.echo("")


def _judge(chosen: Chosen, file: Path, context: Context, journal: Journal, jobs: int) -> list[Verdict]:
    registry = ModelRegistry.from_file(file)
    entries = [entry for entry in registry if entry.name in chosen.names]
    options = Options(credentials=context.credentials)
    judged = {j.verdict.where: j.verdict for j in check_many(entries, registry, options, journal=journal, jobs=jobs)}
    return [judged[entry.where] for entry in entries]


def _report(chosen: Chosen, file: Path, verdicts: Sequence[Verdict], *, as_json: bool) -> int:
    """Say what was added, what was there already, what gave nothing, and what is wrong with it all."""
    if as_json:
        failed = [{"source": each.source, "error": each.error} for each in chosen.failed]
        added = [_as_json(proposal) for proposal in chosen.proposals]
        shown = {"file": str(file), "added": added, "already_there": list(chosen.taken), "failed": failed}
        click.echo(printable_json({**shown, "summary": summary_of(verdicts)}))
    else:
        print_verdicts(verdicts)
        print_summary(verdicts)
    for each in chosen.failed:
        click.echo(printable(f"{each.source}: {each.error}"), err=True)
    there = f", {len(chosen.taken)} were there already" if chosen.taken else ""
    sources = f"{len(chosen.failed)} source{'s' * (len(chosen.failed) != 1)}"
    gave = f", {sources} gave none: the same call tries again" if chosen.failed else ""
    click.echo(f"{file}: {len(chosen.proposals)} added{there}{gave}", err=True)
    return 1 if chosen.failed or any(verdict.wrong for verdict in verdicts) else 0
