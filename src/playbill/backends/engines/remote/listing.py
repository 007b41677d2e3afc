"""Ask a service for its free list of models, by a plain GET: whether a key is right, a model there, and until when.

Reads the lists of all services alike: a field that a service doesn't have is not told. Generates nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from playbill.backends.engines.base import ListedModel
from playbill.backends.engines.remote.capture import Capture
from playbill.backends.engines.remote.connection import Connection
from playbill.backends.engines.remote.errors import error_of, failure_of, status_failure
from playbill.backends.engines.remote.failure import Failure
from playbill.backends.engines.remote.values import as_object, count
from playbill.backends.engines.remote.wire import Wire

__all__ = ["fetch_context", "fetch_models"]

_NO_LIST = (404, 405, 501)
# OpenAI and others; Anthropic; OpenRouter; Mistral
_ENDS = ("shutdown_date", "retires_at", "expiration_date", "deprecation")
# vLLM and SGLang; OpenRouter, Together and Fireworks; Groq; Anthropic; Google; Mistral
_CONTEXTS = (
    *("max_model_len", "context_length", "context_window", "max_input_tokens", "inputTokenLimit"),
    "max_context_length",
)


async def fetch_models(wire: Wire, connection: Connection) -> list[ListedModel] | None:
    """Return the service's list; None where it has none at this address. Raises as a request of its would."""
    url = wire.models_url(connection)
    body = await _get(wire, connection, url) if url is not None else None
    return None if body is None else [model for item in _items(body) if (model := _model(item)) is not None]


async def fetch_context(wire: Wire, connection: Connection, model: str) -> int | None:
    """Return how long the context is with which an Ollama server has loaded a model: https://docs.ollama.com/api/ps"""
    if connection.service.name != "ollama":
        return None
    parts = urlsplit(connection.base_url)
    body = await _get(wire, connection, f"{parts.scheme}://{parts.netloc}/api/ps")
    names = {model, f"{model}:latest"}
    found = (count(item.get("context_length")) for item in _items(body) if item.get("name") in names)
    return next(found, None)


async def _get(wire: Wire, connection: Connection, url: str) -> Any:
    """Return the JSON at an address, None where there is nothing; raises PlaybillError in the service's words."""
    client = connection.client(wire.sdk, wire.headers(connection))
    capture = Capture()
    try:
        async with client:
            with capture:
                await client.get(url)
    except Exception as e:
        failure = failure_of(e, capture)
        raise (error_of(failure, connection) if isinstance(failure, Failure) else failure) from e
    if capture.status in _NO_LIST:
        return None
    if capture.status is None or capture.status >= 300:
        raise error_of(status_failure(capture), connection)
    try:
        return capture.json()
    except ValueError:
        return None


def _items(body: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the models of a list: it is bare, or under "data" (OpenAI's and Anthropic's) or "models" (Google's)."""
    found = as_object(body).get("data") or as_object(body).get("models") if isinstance(body, dict) else body
    yield from (item for item in found if isinstance(item, dict)) if isinstance(found, list) else ()


def _model(item: Mapping[str, Any]) -> ListedModel | None:
    name = item.get("id") or item.get("name")
    if not isinstance(name, str):
        return None
    ends = next((str(item[key])[:10] for key in _ENDS if isinstance(item.get(key), str)), None)
    stage = item.get("lifecycle")
    return ListedModel(
        name=name.removeprefix("models/"),
        ends=ends,
        stage=stage if isinstance(stage, str) else None,
        context=next((found for key in _CONTEXTS if (found := count(item.get(key)))), None),
    )
