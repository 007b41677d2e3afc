"""`playbill run INPUT … -m NAME …`: let models answer dialogues, and keep records."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.credentials import Credentials
from playbill.backends.errors import PlaybillError
from playbill.backends.generation import Outcome
from playbill.backends.registry.lookup import ModelRegistry
from playbill.cli.options import (
    fetch_option,
    json_option,
    key_file_option,
    model_option,
    parameter_option,
    read_parameters,
    registry_option,
    trust_option,
)
from playbill.cli.places import opened_places, ray_option, replicas_option
from playbill.cli.tables import echo_wrapped, print_columns

if TYPE_CHECKING:
    from playbill.cli.progress import RunProgress
    from playbill.cli.progress_json import JsonProgress
    from playbill.runs import RunInterrupted, RunResult

__all__ = ["run"]

_REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: try again, as job schedulers understand it


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@model_option
@click.option("-o", "--out", metavar="DIR", type=click.Path(path_type=Path), help="Where the records go.")
@click.option("--repeat", metavar="N", default=1, type=click.IntRange(min=1), help="Samples of each dialogue.")
@click.option("--seed", metavar="S", type=click.IntRange(min=0), help="Seed; each turn of each sample gets its own.")
@click.option("--shard", metavar="I/N", help="Run the I-th of N parts of the dialogues; `playbill merge` joins them.")
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(min=1),
    help="Requests that a service gets at once. Without it the number adapts to what the service takes.",
)
@replicas_option
@ray_option
@parameter_option
@trust_option
@fetch_option
@registry_option
@key_file_option
@json_option
def run(
    inputs: tuple[str, ...],
    models: tuple[str, ...],
    out: Path | None,
    repeat: int,
    seed: int | None,
    shard: str | None,
    concurrency: int | None,
    replicas: int | None,
    ray: str | None,
    params: tuple[str, ...],
    trust_remote_code: bool,
    fetch_pictures: bool,
    registries: tuple[Path, ...],
    key_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Let models answer dialogues, and keep a record of every answer.

    INPUT is JSONL or JSON: {"id", "messages"}, {"id", "turns", "system"?}, MT-Bench's {"question_id", "turns"}, or
    OpenAI's {"custom_id", "body"}; - is the standard input. The same command goes on where it was interrupted.

    \b
    playbill run dialogues.jsonl -m SmolLM2-135M-Instruct-Q4
    playbill run dialogues.jsonl -m mock -m 'warm={"model_name": "mock", "temperature": 0.7}'

    Ctrl-C ends it soon; SIGTERM and SIGUSR1 finish the answers that are running, and a second one ends at once.
    Exits with 1 where records ended in an error, and with 75 after SIGTERM or SIGUSR1: the same command goes on.
    """
    from playbill.runs import RunInterrupted, parse_model
    from playbill.runs import run as run_dialogues

    progress = _progress(as_json)
    try:
        with progress, opened_places(replicas, ray, partial(progress.said, "")) as places:
            result = run_dialogues(
                list(inputs),
                [parse_model(text) for text in models],
                out=out,
                repeat=repeat,
                seed=seed,
                shard=shard,
                params=read_parameters(params),
                concurrency=concurrency,
                places=places,
                key_files=key_files,
                registry=ModelRegistry.load(registries),
                credentials=Credentials.load(key_files),
                observer=progress,
                trust_remote_code=trust_remote_code,
                progress=True,
                fetch_pictures=fetch_pictures,
                command=["playbill", *sys.argv[1:]],
            )
    except RunInterrupted as e:
        return _interrupted(e, as_json)
    except PlaybillError as e:
        return _failed(e, progress)
    return _ended(result, as_json)


def _failed(e: PlaybillError, progress: RunProgress | JsonProgress) -> int:
    """Return the exit code of a run whose only error was said already; raise any other."""
    if not progress.has_said(str(e)):
        raise e
    return 2


def _ended(result: RunResult, as_json: bool) -> int:
    _print(result, as_json)
    return 0 if result.ok else 1


def _interrupted(e: RunInterrupted, as_json: bool) -> int:
    _print(e.result, as_json)
    click.echo(printable(f"playbill: {e}"), err=True)
    return _REQUEUE if e.drained else 130


def _progress(as_json: bool) -> RunProgress | JsonProgress:
    # Imported here: these bring rich, and `run` alone needs it.
    from playbill.cli.progress import RunProgress
    from playbill.cli.progress_json import JsonProgress

    return JsonProgress() if as_json else RunProgress()


def _print(result: RunResult, as_json: bool) -> None:
    if as_json:
        content = {
            "folder": str(result.folder),
            "models": {label: summary.to_dict() for label, summary in result.models.items()},
            "files": {label: str(path) for label, path in _written(result).items()},
        }
        click.echo(printable_json(content))
        return
    models = result.models.values()
    outcomes = [o.value for o in Outcome if any(m.outcomes.get(o.value) for m in models)]
    partly = any(m.missing for m in models)
    rows = [
        (
            summary.label,
            f"{summary.records:,} of {summary.records + summary.missing:,}" if partly else f"{summary.records:,}",
            *(f"{summary.outcomes.get(outcome, 0):,}" for outcome in outcomes),
            _count(summary.input_tokens),
            _count(summary.output_tokens),
            f"{summary.tokens_per_second:,.1f}" if summary.tokens_per_second else "-",
        )
        for summary in models
    ]
    heads = ("DONE" if partly else "RECORDS", *(o.upper() for o in outcomes), "TOKENS IN", "OUT", "OUT/S")
    click.echo("")
    print_columns(("MODEL", *heads), rows)
    click.echo("")
    for summary in models:
        for message, count in summary.faults.items():
            times = f" ({count:,} times)" if count > 1 else ""
            echo_wrapped(f"{summary.label}: error{times}: {message}", indent="  ")
    for path in _written(result).values():
        click.echo(printable(f"records: {path}"))


def _written(result: RunResult) -> dict[str, Path]:
    """Return the files of records that are there; of a model that never began there is none."""
    return {label: path for label, path in result.files.items() if path.is_file()}


def _count(tokens: int | None) -> str:
    return "-" if tokens is None else f"{tokens:,}"
