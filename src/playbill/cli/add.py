"""`playbill add SOURCE`: derive a model's entry, show where each value comes from, and write it."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import Context
from playbill.backends.errors import InputError
from playbill.backends.registry.lookup import FILE_NAME, ModelRegistry
from playbill.cli.check import print_verdicts
from playbill.cli.options import json_option, key_file_option
from playbill.cli.tables import print_columns
from playbill.proof.add.insert import Insertion, plan_insertion
from playbill.proof.add.sources import Proposal, propose
from playbill.proof.check import Options, check_all

__all__ = ["add"]


@click.command()
@click.argument("source")
@click.option("--name", metavar="NAME", help="The name of the model; without it, it follows from the source.")
@click.option("--filename", metavar="GLOB", help="Which GGUF file, where there are several: '*Q4_K_M.gguf'.")
@click.option("--file", type=click.Path(path_type=Path), default=Path(FILE_NAME), help=f"By default ./{FILE_NAME}.")
@click.option("-y", "--yes", is_flag=True, help="Write without asking.")
@key_file_option
@json_option
def add(
    source: str,
    name: str | None,
    filename: str | None,
    file: Path,
    yes: bool,
    key_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Derive an entry from SOURCE, and put it into ./model_registry.json.

    SOURCE is a repository of the hub (org/name), a model's folder, a GGUF file, or the address of an
    OpenAI-compatible server, each of whose models gets an entry. The rest of the file stays as it is. The new
    entry is then judged as by `playbill check`.
    """
    credentials = Credentials.load(key_files)
    context = Context(credentials=credentials, date=datetime.now().replace(microsecond=0), progress=True)
    proposals = propose(source, context, filename=filename)
    _rename(proposals, name)
    insertion = plan_insertion(file, [proposal.entry for proposal in proposals])
    if not as_json:
        _show(proposals, insertion)
    if not yes:
        _ask(file)
    insertion.write()
    if as_json:
        shown = [{"entry": proposal.entry, "origins": proposal.origins} for proposal in proposals]
        click.echo(printable_json({"file": str(file), "added": shown}))
    return _check(proposals, file, Options(credentials=credentials, progress=True), quiet=as_json)


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
