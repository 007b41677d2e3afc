"""Make a service's engine, or the body of a request, from an entry; the same for every wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbill.backends.engines.base import Context, Loaded, Look, Request
from playbill.backends.engines.remote.connection import model_id, open_connection
from playbill.backends.engines.remote.engine import RemoteEngine
from playbill.backends.engines.remote.wire import Body, Wire
from playbill.backends.errors import CredentialsError, EntryError
from playbill.backends.prompt.messages import Message
from playbill.backends.registry.fields.parameters import resolve_parameters
from playbill.backends.registry.services import SERVICES, Service

__all__ = ["WireFunctions", "wire_functions"]


@dataclass(frozen=True, slots=True)
class WireFunctions:
    """The functions of a backend's module (see `playbill.backends.engines.base`)."""

    load: Callable[[Mapping[str, Any], Context], Loaded]
    look: Callable[[Mapping[str, Any], Context], Look]
    preview: Callable[[Mapping[str, Any], Context], None]
    request_body: Callable[..., Body]


def wire_functions(wire_type: Callable[[Mapping[str, Any], Service], Wire], client: str) -> WireFunctions:
    """Make the functions of a wire's module. ``client`` is the official client with its version, for records."""

    def load(entry: Mapping[str, Any], context: Context) -> Loaded:
        """Return the engine, ready to send; nothing is sent yet."""
        service = SERVICES[entry["backend"]]
        connection = open_connection(entry, service, context.credentials)
        wire = wire_type(entry, service)
        wire.connect(connection)
        return Loaded(RemoteEngine(wire, connection, entry, {"client": client, "model_id": model_id(entry)}))

    def look(entry: Mapping[str, Any], context: Context) -> Look:
        """Tell whether there is a key that may go to the service. Nothing is sent, so its answers stay unknown."""
        try:
            open_connection(entry, SERVICES[entry["backend"]], context.credentials)
        except CredentialsError as e:
            return Look(unseen=f"the service, which a load here would not reach: {e}")
        except EntryError as e:
            if entry.get("base_url") or entry.get("ca_bundle"):
                raise
            return Look(unseen=f"the service, whose address stands beside a key that isn't here: {e}")
        return Look(unseen="the service's answers, which --live asks for")

    def preview(entry: Mapping[str, Any], context: Context) -> None:
        """Return None: services render prompts on their side."""

    def request_body(
        entry: Mapping[str, Any], messages: tuple[Message, ...], params: Mapping[str, Any], folder: Path | None = None
    ) -> Body:
        """Return the body that would be sent for prepared messages; needs no key and opens nothing."""
        wire = wire_type(entry, SERVICES[entry["backend"]])
        resolved = resolve_parameters(entry, params, wire.supported_parameters, entry["backend"], wire.parameter_rules)
        return wire.body(Request(messages=messages, params=resolved.effective, folder=folder))

    return WireFunctions(load, look, preview, request_body)
