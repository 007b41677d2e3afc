"""`playbill run INPUT … -m NAME …`: let models answer dialogues, and keep records."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from playbill.backends.common.terminal import printable_json
from playbill.backends.credentials import Credentials
from playbill.backends.generation import Outcome
from playbill.backends.registry.lookup import ModelRegistry
from playbill.cli.listing import print_columns
from playbill.cli.options import (
    json_option,
    key_file_option,
    model_option,
    parameter_option,
    read_parameters,
    registry_option,
    trust_option,
)
from playbill.cli.places import opened_places, ray_option, replicas_option

if TYPE_CHECKING:
    from playbill.cli.progress import RunProgress
    from playbill.cli.progress_json import JsonProgress
    from playbill.runs import RunResult

__all__ = ["run"]


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
    playbill run dialogues.jsonl -m mock --ray=10.0.0.1:6379

    Exits with 1 where records ended in an error.
    """
    from playbill.runs import RunInterrupted, parse_model
    from playbill.runs import run as run_dialogues

    try:
        with opened_places(replicas, ray) as places, _progress(as_json) as progress:
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
                command=["playbill", *sys.argv[1:]],
            )
    except RunInterrupted as e:
        _print(e.result, as_json)
        click.echo(f"playbill: {e}", err=True)
        return 130
    _print(result, as_json)
    return 0 if result.ok else 1


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
            "files": {label: str(path) for label, path in result.files.items()},
        }
        click.echo(printable_json(content))
        return
    outcomes = [o.value for o in Outcome if any(m.outcomes.get(o.value) for m in result.models.values())]
    rows = [
        (
            summary.label,
            str(summary.records),
            *(str(summary.outcomes.get(outcome, 0)) for outcome in outcomes),
            *([str(summary.missing)] if any(m.missing for m in result.models.values()) else []),
            _count(summary.input_tokens),
            _count(summary.output_tokens),
            f"{summary.tokens_per_second:.1f}" if summary.tokens_per_second else "-",
        )
        for summary in result.models.values()
    ]
    missing = ["MISSING"] if any(m.missing for m in result.models.values()) else []
    click.echo("")
    print_columns(("MODEL", "RECORDS", *(o.upper() for o in outcomes), *missing, "TOKENS IN", "OUT", "OUT/S"), rows)
    click.echo("")
    for path in result.files.values():
        click.echo(f"records: {path}")


def _count(tokens: int | None) -> str:
    return "-" if tokens is None else f"{tokens:,}"
