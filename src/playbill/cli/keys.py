"""`playbill keys`: list which services have an API key and from where, and set one."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from playbill.backends.common.terminal import printable, printable_json
from playbill.backends.credentials import Credential, Credentials, allow, near_service, set_key
from playbill.backends.errors import InputError
from playbill.backends.registry.services import SERVICES, Service
from playbill.cli.help import HelpGroup
from playbill.cli.options import json_option, key_file_option
from playbill.cli.tables import echo_wrapped, print_columns

__all__ = ["keys"]


@dataclass(frozen=True)
class _Row:
    service: str
    key: str | None
    source: str | None
    goes_to: str | None
    also_to: tuple[str, ...]
    variables: tuple[str, ...]


def _row(name: str, found: Credentials) -> _Row:
    service, credential = SERVICES.get(name), found.get(name)
    shared = found.get(service.key_section) if service and service.key_section else None
    if credential is None and shared is not None and shared.base_url is None:  # then it serves here too
        credential = shared
    own = service.base_url if service else None
    return _Row(
        service=name,
        key=credential.api_key.masked if credential and credential.api_key else None,
        source=credential.source if credential else None,
        goes_to=(credential.base_url if credential else None) or own,
        also_to=_also_to(service, credential),
        variables=service.variables if service else (),
    )


def _also_to(service: Service | None, credential: Credential | None) -> tuple[str, ...]:
    """Further addresses: the service's own, where the key is for the service's own address, and those allowed."""
    own = service.more_addresses if service and not (credential and credential.base_url) else ()
    return (*own, *(credential.allowed_urls if credential else ()))


@click.group(cls=HelpGroup, invoke_without_command=True)
@key_file_option
@json_option
@click.pass_context
def keys(ctx: click.Context, key_files: tuple[Path, ...], as_json: bool) -> None:
    """List which services have an API key, masked, and from where."""
    if ctx.invoked_subcommand is not None:
        return
    found = Credentials.load(key_files)
    names = dict.fromkeys([*SERVICES, *(credential.service for credential in found)])
    rows = [_row(name, found) for name in names]
    if as_json:
        click.echo(printable_json([asdict(row) for row in rows]))
        return
    there = [row for row in rows if row.key is not None]
    if there:
        print_columns(("SERVICE", "KEY", "FROM", "GOES TO"), [_of_key(row) for row in there])
        click.echo("")
    print_columns(("WITHOUT A KEY", "SET", "GOES TO"), [_without_key(row) for row in rows if row.key is None])
    echo_wrapped("To store a key: playbill keys set SERVICE", err=True)


def _of_key(row: _Row) -> tuple[str, str, str, str]:
    return row.service, row.key or "", row.source or "", ", ".join([_home(row), *row.also_to])


def _without_key(row: _Row) -> tuple[str, str, str]:
    """Return what to set; of several variables the first, which all clients know."""
    variable = f"${row.variables[0]}" if row.variables else ""
    needed = "(needs none)" if _is_keyless(row.service) else "a section of key.json"
    return row.service, variable or needed, ", ".join([_home(row), *row.also_to])


def _home(row: _Row) -> str:
    if row.service == "serve":
        return "nowhere: clients of `playbill serve` send it"
    return row.goes_to or "nowhere yet: `base_url` says where"


def _is_keyless(name: str) -> bool:
    return name in SERVICES and SERVICES[name].keyless


@keys.command("set")
@click.argument("service")
@click.option("--base-url", metavar="URL", help="The address the key belongs to, where it isn't the service's own.")
@click.option(
    "--file", type=click.Path(path_type=Path), help="The key file; by default the one in your config directory."
)
def set_(service: str, base_url: str | None, file: Path | None) -> None:
    """Store the API key of SERVICE. It is asked for without echo, or read from the standard input."""
    if not base_url and (near := near_service(service)):
        raise InputError(f"'{service}' is no service; did you mean '{near}'? With --base-url any name is taken.")
    key = click.prompt(f"API key for {service}", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    path = set_key(service, key, base_url, path=file)
    click.echo(printable(f"stored in {path}, readable by you only"), err=True)


@keys.command("allow")
@click.argument("service")
@click.argument("url")
@click.option(
    "--file", type=click.Path(path_type=Path), help="The key file; by default the one in your config directory."
)
def allow_(service: str, url: str, file: Path | None) -> None:
    """Let the key of SERVICE also be sent to URL (its scheme, host and port)."""
    path = allow(service, url, path=file)
    click.echo(printable(f"the key for {service} may now go to {url}; remembered in {path}"), err=True)
