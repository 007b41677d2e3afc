"""`playbill bench NAME`: how fast a local model answers on this machine, beside other ways to run it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from playbill import __version__
from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.credentials import Credentials
from playbill.backends.errors import InputError, PlaybillError
from playbill.backends.loading import find_spec, load_spec
from playbill.backends.registry.lookup import ModelRegistry
from playbill.bench.measure import Complete, Rate, completed_by, measure, peak_memory
from playbill.bench.peers import PEERS, running
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


@click.command()
@model_argument
@click.option("--rows", default=_ROWS, show_default=True, help="How many requests at once, separated by commas.")
@click.option("--prompt", "length", default=256, show_default=True, help="Tokens of each prompt.")
@click.option("--new", default=64, show_default=True, help="New tokens of each answer.")
@click.option(
    "--against",
    default="",
    metavar="WAYS",
    help=f"Measure other ways as well, separated by commas: {', '.join(PEERS)}.",
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write all that was found into a file, as JSON.")
@parameter_option
@registry_option
@key_file_option
@trust_option
def bench(
    name: str,
    rows: str,
    length: int,
    new: int,
    against: str,
    file: Path | None,
    params: tuple[str, ...],
    registries: tuple[Path, ...],
    key_files: tuple[Path, ...],
    trust_remote_code: bool,
) -> None:
    """Measure the local model NAME: device, kernels, self-test, milliseconds a step, tokens a second, memory.

    Prompts are random tokens. `-p batch_size=64` lets 64 requests be computed at once. A way that can't run here is
    said, and the others go on. Nothing else should use the machine meanwhile.
    """
    counts, ways = _counts(rows), _ways(against)
    spec = find_spec(read_selector(name), registry=ModelRegistry.load(registries), overrides=read_parameters(params))
    credentials = Credentials.load(key_files)
    begin = time.perf_counter()
    with load_spec(spec, credentials=credentials, trust_remote_code=trust_remote_code, progress=True) as model:
        loading = time.perf_counter() - begin
        if model.prompt_path is None:
            raise InputError(f"{model.name} runs elsewhere; bench measures models that run here")
        facts, most = dict(model.engine.facts()), model.concurrency
        _say(facts, loading)
        found = {"playbill": _measured("playbill", completed_by(model), [n for n in counts if n <= most], length, new)}
        memory = peak_memory()
    if left := [n for n in counts if n > most]:
        click.echo(
            f"not measured: {', '.join(map(str, left))} requests at once; {most} are computed together", err=True
        )
    for way in ways:
        try:
            with running(way, spec, credentials, trust=trust_remote_code) as complete:
                found[way] = _measured(way, complete, [n for n in counts if n <= most], length, new)
        except (PlaybillError, RuntimeError, ValueError, TypeError) as e:
            click.echo(printable(f"{way}: {e}"), err=True)
    for device, used in memory.items():
        click.echo(f"memory of {device}: {used / 2**30:.1f} GiB at the most, before other ways were loaded")
    if file is not None:
        content = {
            "playbill": __version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "spec": spec.to_dict(),
            "engine": facts,
            "loading_seconds": loading,
            "prompt_tokens": length,
            "new_tokens": new,
            "rates": {way: [asdict(rate) for rate in rates] for way, rates in found.items()},
            "memory_bytes": memory,
        }
        file.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


def _counts(rows: str) -> list[int]:
    try:
        found = [int(part) for part in rows.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise InputError(f"--rows {rows}: say numbers of requests, as {_ROWS}")
    return found


def _ways(against: str) -> list[str]:
    found = [way.strip() for way in against.split(",") if way.strip()]
    if strange := [way for way in found if way not in PEERS]:
        raise InputError(f"--against {strange[0]}: there is no such way; known are {', '.join(PEERS)}")
    return found


def _say(facts: Mapping[str, Any], loading: float) -> None:
    """Print what computes."""
    for key in ("class", "dtype", "device", "threads", "torch", "transformers"):
        if key in facts:
            click.echo(printable(f"{key}: {facts[key]}"))
    for key, value in dict(facts.get("batching") or {}).items():
        click.echo(printable(f"batching {key}: {printable_json(value, indent=None)}"))
    click.echo(f"loading: {loading:.1f} s, self-test included\n")


def _measured(way: str, complete: Complete, counts: Sequence[int], length: int, new: int) -> list[Rate]:
    found = [measure(complete, n, prompt=length, new=new, seed=10 * n) for n in counts]
    rows = [(way, str(r.rows), f"{r.step_ms:.1f}", f"{r.rate:.1f}", f"{r.prompt_rate:.0f}") for r in found]
    print_columns(("WAY", "REQUESTS", "MS A STEP", "TOKENS/S", "PROMPT TOKENS/S"), rows)
    click.echo("")
    return found
