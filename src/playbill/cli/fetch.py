"""`playbill fetch NAME…`: bring models' files here, for machines without a network, or before a long night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal

from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.credentials import Credentials
from playbill.backends.errors import PlaybillError
from playbill.backends.loading import fetch_model, find_spec
from playbill.backends.registry.lookup import ModelRegistry
from playbill.cli.options import (
    json_option,
    key_file_option,
    models_argument,
    parameter_option,
    read_parameters,
    read_selector,
    registry_option,
)
from playbill.cli.tables import print_columns

__all__ = ["fetch"]


@click.command()
@models_argument
@parameter_option
@registry_option
@key_file_option
@json_option
def fetch(
    names: tuple[str, ...],
    params: tuple[str, ...],
    registries: tuple[Path, ...],
    key_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Download the weights and tokenizers of models, and what else they load from.

    What is here already stays. Afterwards the models load without a network: on a cluster, fetch on the login node,
    and set HF_HUB_OFFLINE=1 in the job. A model that fails doesn't stop the others; then the exit code is 2.
    """
    registry, credentials = ModelRegistry.load(registries), Credentials.load(key_files)
    overrides = read_parameters(params)
    results = [_fetch(name, registry, credentials, overrides) for name in names]
    if as_json:
        click.echo(printable_json(results))
    elif shown := [(r["name"], decimal(r["bytes"]), r["revision"] or "", r["folder"]) for r in results if r["folder"]]:
        print_columns(("NAME", "SIZE", "REVISION", "FOLDER"), shown)
    return 2 if any(result["error"] for result in results) else 0


def _fetch(name: str, registry: ModelRegistry, credentials: Credentials, overrides: dict[str, Any]) -> dict[str, Any]:
    """Fetch one model; say on stderr what was not fetched, and why."""
    found: dict[str, Any] = {"name": name, "bytes": None, "revision": None, "folder": None, "files": [], "error": None}
    try:
        spec = find_spec(read_selector(name), registry=registry, overrides=overrides)
        found["name"] = str(spec["model_name"])
        fetched = fetch_model(spec, credentials=credentials, progress=True)
    except PlaybillError as e:
        click.echo(printable(f"{found['name']}: {e}"), err=True)
        return {**found, "error": str(e)}
    if fetched is None:
        click.echo(printable(f"{found['name']}: nothing to fetch, {spec['backend']} has no files here"), err=True)
        return found
    files = [str(file) for file in fetched.files]
    folder = str(fetched.files[0].parent) if fetched.files else None
    return {**found, "bytes": fetched.size, "revision": fetched.revision, "folder": folder, "files": files}
