"""From an entry to the engine of a service, and to the body that would be sent; the same for every wire."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from playbill.backends.engines.base import Context, Loaded, Request
from playbill.backends.engines.remote.connection import Connection, model_id, open_connection
from playbill.backends.engines.remote.engine import RemoteEngine, Wire
from playbill.backends.prompt.messages import Message
from playbill.backends.registry.fields.parameters import resolve_parameters
from playbill.backends.registry.service_models import refused_by_model
from playbill.backends.registry.services import SERVICES, Service

__all__ = ["body_of", "supported_parameters", "load_remote"]


class _Connectable(Wire, Protocol):
    def connect(self, connection: Connection) -> None: ...


class _WireType(Protocol):
    def __call__(self, entry: Mapping[str, Any], service: Service) -> _Connectable: ...


def load_remote(wire_type: _WireType, entry: Mapping[str, Any], context: Context, client: str) -> Loaded:
    """The engine, ready to send; nothing is sent yet. ``client`` is the official client and its version."""
    service = SERVICES[entry["backend"]]
    connection = open_connection(entry, service, context.credentials)
    wire = wire_type(entry, service)
    wire.connect(connection)
    facts = {"client": client, "model_id": model_id(entry)}
    return Loaded(RemoteEngine(wire, connection, entry, facts))


def body_of(
    wire_type: _WireType,
    entry: Mapping[str, Any],
    messages: tuple[Message, ...],
    params: Mapping[str, Any],
    folder: Path | None = None,
) -> dict[str, Any]:
    """The body that would be sent for prepared messages; needs no key and opens nothing."""
    wire = wire_type(entry, SERVICES[entry["backend"]])
    effective = resolve_parameters(entry, params, wire.supported_parameters, entry["backend"]).effective
    return wire.body(Request(messages=messages, params=effective, folder=folder))


def supported_parameters(entry: Mapping[str, Any], service: Service, *, thinks: bool) -> frozenset[str]:
    """The parameters that a model takes: its service's, without what it refuses, and a limit of thinking."""
    refused = {
        *(entry.get("refuses") or ()),
        *(service.reasoning_refuses if thinks else ()),
        *refused_by_model(service.name, model_id(entry), entry),
    }
    return (service.supported_parameters - refused) | ({"max_thinking_tokens"} if thinks else set())
