"""`playbill bench NAME`: how fast a local model answers on this machine, beside other ways to run it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from playbill import __version__
from playbill.backends.common.terminal import printable
from playbill.backends.errors import InputError, PlaybillError
from playbill.backends.loading import find_spec
from playbill.backends.registry.fields.local import LOCAL
from playbill.backends.registry.lookup import ModelRegistry
from playbill.backends.registry.spec import ModelSpec
from playbill.bench.device import describe_machine
from playbill.bench.measure import Work
from playbill.bench.report import HEAD, describe_load, describe_machine_line, missed, table
from playbill.bench.ways import OWN, PEERS, Job
from playbill.bench.worker import measure_apart
from playbill.bridges.clem.places import find_clem_python
from playbill.cli.options import (
    key_file_option,
    model_argument,
    parameter_option,
    read_parameters,
    read_selector,
    registry_option,
    trust_option,
)
from playbill.cli.tables import print_columns

__all__ = ["bench"]

_ROWS = "1,8,32,64"
_WAYS = (*PEERS, *(way for way in OWN if way != "playbill"))


@click.command()
@model_argument
@click.option(
    "--against",
    default="",
    metavar="WAYS",
    help=f"Measure other ways as well, separated by commas: {', '.join(_WAYS)}.",
)
@click.option("--rows", default=_ROWS, show_default=True, help="How many requests at once, separated by commas.")
@click.option(
    "--tokens",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="New tokens of each answer.",
)
@click.option("--prompt", type=click.IntRange(1), default=256, show_default=True, help="Tokens of each prompt.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="How often each is measured.")
@click.option("--json", "file", metavar="FILE", type=click.Path(path_type=Path), help="Keep all figures, as JSON.")
@click.option("--clem-python", metavar="PYTHON", help="A Python that has clemcore[huggingface], for `clemcore`.")
@parameter_option
@registry_option
@key_file_option
@trust_option
def bench(
    name: str,
    against: str,
    rows: str,
    tokens: int,
    prompt: int,
    repeats: int,
    file: Path | None,
    clem_python: str | None,
    params: tuple[str, ...],
    registries: tuple[Path, ...],
    key_files: tuple[Path, ...],
    trust_remote_code: bool,
) -> int:
    """Measure the local model NAME on this machine: milliseconds a step, tokens a second, prompt rate, memory.

    Prompts are random tokens, answers greedy and of a fixed length; figures are medians. Each way is a process of its
    own, one after the other. One that can't run here is said, with what to install. Nothing else should use the
    machine meanwhile.
    """
    work, ways = Work(_counts(rows), prompt, tokens, repeats), _ways(against)
    spec = find_spec(read_selector(name), registry=ModelRegistry.load(registries), overrides=read_parameters(params))
    if spec.get("backend") not in LOCAL:
        raise InputError(f"{spec.get('model_name')} runs elsewhere; bench measures models that run here")
    machine = describe_machine()
    click.echo(printable(describe_machine_line(machine)))
    results = []
    for way in ("playbill", *ways):
        job = Job(way, spec, work, key_files, trust_remote_code)
        found = _measured(job, clem_python)
        results.append(found)
        if way == "playbill":
            for line in describe_load(found["loads"][0]) if found["loads"] else ():
                click.echo(printable(line))
    click.echo("")
    if measured := table(results):
        print_columns(HEAD, measured)
    for line in missed(results):
        click.echo(printable(line), err=True)
    if file is not None:
        file.write_text(_kept(spec, work, machine, results), encoding="utf-8")
    return 2 if results[0]["error"] is not None else 0


def _measured(job: Job, clem_python: str | None) -> dict[str, Any]:
    if job.way != "clemcore":
        return measure_apart(job)
    try:
        python = find_clem_python(clem_python)
    except PlaybillError as e:
        return {"way": job.way, "loads": [], "left": list(job.work.rows), "error": str(e)}
    return measure_apart(Job(job.way, job.spec, job.work, job.key_files, job.trust_remote_code, python))


def _kept(spec: ModelSpec, work: Work, machine: dict[str, Any], results: list[dict[str, Any]]) -> str:
    content = {
        "playbill": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["playbill", *sys.argv[1:]],
        "spec": spec.to_dict(),
        "prompt_tokens": work.prompt,
        "new_tokens": work.tokens,
        "repeats": work.repeats,
        "machine": machine,
        "ways": results,
    }
    return json.dumps(content, indent=2, default=str) + "\n"


def _counts(rows: str) -> tuple[int, ...]:
    try:
        found = sorted({int(part) for part in rows.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise InputError(f"--rows {rows}: say numbers of requests, as {_ROWS}")
    return tuple(found)


def _ways(against: str) -> list[str]:
    found = list(dict.fromkeys(way.strip() for way in against.split(",") if way.strip()))
    if strange := [way for way in found if way not in _WAYS]:
        raise InputError(f"--against {strange[0]}: there is no such way; known are {', '.join(_WAYS)}")
    return found
