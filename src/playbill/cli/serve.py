"""`playbill serve NAME …`: serve the named models over an OpenAI-compatible API."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from playbill.backends.credentials import Credentials
from playbill.backends.errors import BackendUnavailable
from playbill.backends.model import Model
from playbill.backends.registry.lookup import ModelRegistry
from playbill.cli.options import (
    key_file_option,
    parameter_option,
    read_parameters,
    registry_option,
    trust_option,
)
from playbill.cli.places import opened_places, ray_option, replicas_option, tell
from playbill.serve.loaders import make_loaders

if TYPE_CHECKING:
    from playbill.serve.server import Server

__all__ = ["serve"]

_UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)


class _Size(click.ParamType[int]):
    """A size of memory, as 8GB or 500M."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value).strip())
        if not found:
            self.fail(f"{value!r} is not a size, as 8GB or 500MB", param, ctx)
        return int(float(found[1]) * _UNITS[found[2].upper()])


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=None, type=click.IntRange(0, 65535), help="The port; 8790 by default, 0 is a free one.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A further name of this server. Repeatable.")
@click.option("--allow-origin", "origins", multiple=True, metavar="URL", help="A web page that may ask. Repeatable.")
@click.option("--unload-after", type=float, metavar="SECONDS", help="Unload a model that nobody used for so long.")
@click.option("--memory", type=_Size(), help="Unload models that are not in use while more than this is in memory.")
@click.option("--max-body", type=_Size(), default="16MB", show_default=True, help="The largest request taken.")
@click.option("--max-requests", type=click.IntRange(1), default=1024, show_default=True, help="Requests at a time.")
@click.option("--dialogues", type=click.IntRange(1), help="How many dialogues to expect at once.")
@replicas_option
@ray_option
@parameter_option
@trust_option
@registry_option
@key_file_option
def serve(
    names: tuple[str, ...],
    host: str,
    port: int | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    unload_after: float | None,
    memory: int | None,
    max_body: int,
    max_requests: int,
    dialogues: int | None,
    replicas: int | None,
    ray: str | None,
    params: tuple[str, ...],
    trust_remote_code: bool,
    registries: tuple[Path, ...],
    key_files: tuple[Path, ...],
) -> None:
    """Serve the models NAME... to OpenAI clients, on this machine alone unless --host says otherwise.

    A model is loaded when it is first asked for. Its address is printed on stdout. With a key (PLAYBILL_SERVE_KEY,
    or `playbill keys set serve`) every client needs it; without one no other machine may ask.
    """
    credentials = Credentials.load(key_files)
    with opened_places(replicas, ray) as places:
        loaders = make_loaders(
            names,
            registry=ModelRegistry.load(registries),
            credentials=credentials,
            # Clients know what they send: messages go on as they were given, unless -p says otherwise.
            params={"consecutive_roles": "keep", **read_parameters(params)},
            trust_remote_code=trust_remote_code,
            dialogues=dialogues,
            places=places,
            key_files=key_files,
            say=tell,
        )
        _serve(loaders, host, port, hosts, origins, credentials, unload_after, memory, max_body, max_requests)


def _serve(
    loaders: Mapping[str, Callable[[], Model]],
    host: str,
    port: int | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    credentials: Credentials,
    idle_seconds: float | None,
    memory_limit: int | None,
    body_limit: int,
    most_requests: int,
) -> None:
    try:
        from playbill.serve.guard import LOOPBACK_HOSTS, Rules
        from playbill.serve.server import DEFAULT_PORT, Server, is_loopback
    except ImportError as e:
        raise BackendUnavailable(f'serving needs {e.name}; install with: pip install "playbill[serve]"') from e
    found = credentials.get("serve")
    server = Server(
        loaders=loaders,
        host=host,
        port=DEFAULT_PORT if port is None else port,
        rules=Rules(
            hosts=(*LOOPBACK_HOSTS, host.lower(), *(h.lower() for h in hosts)) if is_loopback(host) or hosts else None,
            origins=origins,
            key=found.api_key if found else None,
            body_limit=body_limit,
            most_requests=most_requests,
        ),
        idle_seconds=idle_seconds,
        memory_limit=memory_limit,
    )
    click.echo(server.url)
    click.echo(f"playbill: serving {', '.join(loaders)}; Ctrl-C ends it", err=True)
    _until_a_signal(server)


def _until_a_signal(server: Server) -> None:
    """Serve until Ctrl-C or SIGTERM, which is how a server ends well, and no interruption."""
    both = (signal.SIGINT, signal.SIGTERM)
    for number in both:
        # uvicorn puts its own handler in place, ends, and raises the signal once more for the handler before.
        signal.signal(number, signal.SIG_IGN)
    server.run()
    for number in both:
        signal.signal(number, signal.SIG_DFL)
