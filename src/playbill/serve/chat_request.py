"""A request of OpenAI's chat completions, read and checked: what is asked of which model. Knows no model, no HTTP.

Whatever can't be done is refused by name; what changes no answer is let pass. Messages stay as the client gave
them, but for keys that are null, which in OpenAI's form mean that there is no such key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from playbill.backends.common.jsonfile import parse_json
from playbill.backends.errors import FileFormatError
from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.serve.faults import ApiError

__all__ = ["IGNORED", "ChatRequest", "read_chat_request"]

IGNORED = frozenset(
    {"metadata", "parallel_tool_calls", "safety_identifier", "service_tier", "user", "prompt_cache_retention"}
)
"""Fields that are accepted and change nothing."""

_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "store": (False,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Fields that are accepted with these values only: Playbill does what they say anyway."""

_OWN = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_completion_tokens",
        "top_logprobs",
        "prompt_cache_key",
        "playbill",
    }
)
_MESSAGE_KEYS = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content", "reasoning"}
)

_SAYS_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "type": ("message", "text"),
    "annotations": ([],),
    "function_call": ({},),
}
"""Keys of a message that clients send back with a past answer; with these values they are dropped.
So are keys that are not known here and hold nothing."""

_BOOKKEEPING = frozenset({"id", "object", "status", "created", "created_at", "index"})
"""Keys by which clients and services file a message, dropped whatever they say: no model sees them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a client asks for. ``params`` are Playbill's generation parameters.

    ``dialogue`` tells which requests extend each other. ``record`` asks for what Playbill knows of the generation
    beside the answer: True for all of it, "clembench" for the objects that clembench stores.
    """

    model: str
    messages: list[dict[str, Any]]
    params: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    include_usage: bool = False
    dialogue: str | None = None
    record: bool | str = False

    @property
    def stop(self) -> tuple[str, ...]:
        stop = self.params.get("stop") or ()
        return (stop,) if isinstance(stop, str) else tuple(stop)


def read_chat_request(body: bytes) -> ChatRequest:
    """Read the body of a request; raises ApiError with status 400, naming the field."""
    fields = {name: value for name, value in _object(body).items() if value is not None}
    _refuse_what_cannot_be_done(fields)
    options = _object_field(fields, "stream_options", {"include_usage", "include_obfuscation"})
    if options and not fields.get("stream"):
        raise _bad("stream_options", "only goes with 'stream': true")
    own = _object_field(fields, "playbill", {"dialogue", "record"})
    return ChatRequest(
        model=_typed(fields, "model", str, "a string", needed=True),
        messages=_messages(fields),
        params=_params(fields),
        stream=_typed(fields, "stream", bool, "true or false") or False,
        include_usage=_typed(options, "include_usage", bool, "true or false", "stream_options") or False,
        dialogue=_typed(own, "dialogue", str, "a string", "playbill")
        or _typed(fields, "prompt_cache_key", str, "a string"),
        record=_record(own),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = parse_json(body.decode(), "body")
    except UnicodeDecodeError:
        raise ApiError(400, "the body is not UTF-8", code="invalid_json") from None
    except FileFormatError as e:
        raise ApiError(400, str(e), code="invalid_json") from None
    if not isinstance(content, dict):
        raise ApiError(400, "the body is not a JSON object", code="invalid_json")
    return content


def _refuse_what_cannot_be_done(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if name in _NEUTRAL:
            if not any(value == neutral and type(value) is type(neutral) for neutral in _NEUTRAL[name]):
                raise ApiError(400, f"'{name}' is not supported here", code="unsupported_parameter", param=name)
        elif name not in _OWN and name not in PARAMETERS and name not in IGNORED:
            raise ApiError(400, f"unrecognized request argument '{name}'", code="unknown_parameter", param=name)


def _params(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Playbill's parameters out of OpenAI's fields; values are judged where models judge them."""
    params = {name: fields[name] for name in PARAMETERS if name in fields and name != "logprobs"}
    if "max_completion_tokens" in fields:
        kind = PARAMETERS["max_tokens"].type
        if not kind.accepts(fields["max_completion_tokens"]):
            raise _bad("max_completion_tokens", f"is not {kind.name}")
        if params.get("max_tokens", fields["max_completion_tokens"]) != fields["max_completion_tokens"]:
            raise _bad("max_tokens", "says something else than 'max_completion_tokens'")
        params["max_tokens"] = fields["max_completion_tokens"]
    top = fields.get("top_logprobs", 0)
    if type(top) is not int or not 0 <= top <= 20:
        raise _bad("top_logprobs", "is not a number from 0 to 20")
    if _typed(fields, "logprobs", bool, "true or false"):
        params["logprobs"] = max(top, 1)
    elif top:
        raise _bad("top_logprobs", "only goes with 'logprobs': true")
    return params


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = _typed(fields, "messages", list, "a list", needed=True)
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise _bad(where, "is not an object")
    kept = {
        key: value
        for key, value in message.items()
        if key == "content" or not (value is None or key in _BOOKKEEPING or _says_nothing(key, value))
    }
    if unknown := sorted(kept.keys() - _MESSAGE_KEYS):
        raise _bad(f"{where}.{unknown[0]}", "is not supported here")
    if isinstance(kept.get("content"), list):
        for j, part in enumerate(kept["content"]):
            _check_part(part, f"{where}.content[{j}]")
    return kept


def _says_nothing(key: str, value: Any) -> bool:
    if key in _SAYS_NOTHING:
        return value in _SAYS_NOTHING[key]
    return key not in _MESSAGE_KEYS and value in ("", [], {})


def _check_part(part: Any, where: str) -> None:
    """Text, or an image that is all here: Playbill fetches nothing from an address that a client names."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return
    if kind != "image_url":
        raise _bad(where, "is neither a part of type 'text' nor of type 'image_url'")
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url.startswith("data:image/") or ";base64," not in url[:100]:
        raise _bad(f"{where}.image_url.url", "is no data URL, data:image/…;base64,…; no other images are taken")
    if unknown := sorted(part.keys() - {"type", "image_url"}) + sorted(image.keys() - {"url", "detail"}):
        raise _bad(f"{where}.{unknown[0]}", "is not supported here")


def _record(own: Mapping[str, Any]) -> bool | str:
    record = own.get("record")
    if record is None or isinstance(record, bool) or record == "clembench":
        return record or False
    raise _bad("playbill.record", "is neither true, false nor 'clembench'")


def _object_field(fields: Mapping[str, Any], name: str, known: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = _typed(fields, name, dict, "an object") or {}
    if unknown := sorted(found.keys() - known):
        raise ApiError(400, f"unrecognized '{name}.{unknown[0]}'", code="unknown_parameter", param=name)
    return found


def _typed(
    fields: Mapping[str, Any], name: str, kind: type, said: str, parent: str = "", *, needed: bool = False
) -> Any:
    """Return a field's value, or None where there is none; raises ApiError where it has another type."""
    value = fields.get(name)
    where = f"{parent}.{name}" if parent else name
    if value is None and needed:
        raise _bad(where, "is missing")
    if value is not None and not isinstance(value, kind):
        raise _bad(where, f"is not {said}")
    return value


def _bad(param: str, what: str) -> ApiError:
    return ApiError(400, f"'{param}' {what}", code="invalid_value", param=param)
