"""OpenAI's Chat Completions API, by the official client: OpenAI, Azure, and every compatible service.

Differences between services are data in `playbill.backends.registry.services`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import httpx2
import openai

from playbill.backends.engines.base import Completion, Request
from playbill.backends.engines.remote.capture import Capture
from playbill.backends.engines.remote.connection import Connection, model_id
from playbill.backends.engines.remote.errors import checked
from playbill.backends.engines.remote.failure import Failure, Kind
from playbill.backends.engines.remote.loading import wire_functions
from playbill.backends.engines.remote.values import as_object, count
from playbill.backends.engines.remote.wire import Wire
from playbill.backends.engines.remote.wires.images import Image, check_multimodality, parts_of
from playbill.backends.engines.remote.wires.routing import provider_choice
from playbill.backends.generation import FinishReason, Usage
from playbill.backends.prompt.messages import Message
from playbill.backends.registry.service_models import api_of
from playbill.backends.registry.services import Service
from playbill.backends.registry.thinking_plan import merged

__all__ = ["FINISH", "OpenAIWire", "load", "look", "preview", "request_body"]

FINISH = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,  # Together
    "stop_sequence": FinishReason.STOP,
    "complete": FinishReason.STOP,  # Cohere, in capitals
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral
    "content_filter": FinishReason.REFUSED,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "tool_call": FinishReason.TOOL_CALLS,
}
"""Finish reasons in lower case; some services write them in capitals."""
_NO_FINISH = (None, "", "null")  # how servers write, chunk by chunk, that the answer goes on
# OpenRouter, Mistral and Cohere; Cohere; DeepSeek; vLLM and SGLang
_BROKEN_OFF = ("error", "timeout", "insufficient_system_resource", "abort")


class OpenAIWire(Wire):
    """Bodies, client and answers of OpenAI's wire, for one entry."""

    sdk = f"openai/{openai.__version__}"
    path: ClassVar[str] = "/chat/completions"
    thinking_tokens = 25_000
    """What a reasoning model may think where nobody says; OpenAI's guide to reasoning models advises this much."""

    def __init__(self, entry: Mapping[str, Any], service: Service) -> None:
        super().__init__(entry, service)
        self._client: openai.AsyncOpenAI | None = None

    def connect(self, connection: Connection) -> None:
        """Make the client; it connects when it sends."""
        common: dict[str, Any] = {
            "api_key": connection.key,
            "max_retries": 0,  # one discipline, and it is ours
            "timeout": connection.timeout,
            "http_client": connection.client(self.sdk, self.headers(connection)),
        }
        if version := self._dated_azure:
            self._client = openai.AsyncAzureOpenAI(azure_endpoint=connection.base_url, api_version=version, **common)
            return
        self._client = openai.AsyncOpenAI(base_url=self._address(connection), **common)

    @property
    def _dated_azure(self) -> str | None:
        """The dated version of Azure's API that the entry names; None where its v1 is spoken, or another service."""
        return self._entry.get("api_version") if self._service.name == "azure" else None

    def _address(self, connection: Connection) -> str:
        suffix = "/openai/v1" if self._service.name == "azure" and "/openai" not in connection.base_url else ""
        return connection.base_url + suffix

    def headers(self, connection: Connection) -> dict[str, str]:
        return self.key_header(connection, "api-key" if self._dated_azure else "authorization")

    def models_url(self, connection: Connection) -> str | None:
        if self._service.name == "azure":
            return None  # it lists models, and an entry names a deployment
        return f"{self._address(connection)}/models"

    def body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model_id(self._entry),
            "messages": [self._message(m, request, f"messages[{i}]") for i, m in enumerate(request.messages)],
        }
        body |= self._parameters(request.params) | self._fixed_fields()
        fragment = self._thinking.filled(self._thinking_budget(request.params))
        effort = self._thinking.effort
        if self._service.name == "openrouter" and not self._thinking.off:  # one object for all providers
            budgeted = not effort and "max_thinking_tokens" not in self.parameter_rules.ignored
            wanted = {
                "effort": effort,
                "max_tokens": request.params.get("max_thinking_tokens") if budgeted else None,
            }
            if wanted := {name: value for name, value in wanted.items() if value is not None}:
                body["reasoning"] = wanted
        elif effort:
            body["reasoning_effort"] = effort
        return self._with_extra_body(merged(body, fragment))

    def _with_extra_body(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body with the entry's own fields, which win; who may answer is chosen by both."""
        extra = self._entry.get("extra_body") or {}
        if isinstance(extra.get("provider"), Mapping) and "provider" in body:
            extra = {**extra, "provider": {**body["provider"], **extra["provider"]}}
        return body | extra

    def _fixed_fields(self) -> dict[str, Any]:
        """Return the fields that every request to this service has, and how the entry wants it routed."""
        fields = {name: value for name, value in self._service.always.items() if name not in self.left_out}
        return {**fields, **provider_choice(self._entry)}

    def _message(self, message: Message, request: Request, where: str) -> dict[str, Any]:
        parts = parts_of(message, request.folder, where)
        check_multimodality(parts, self._entry.get("multimodality"), where)
        rest = {name: value for name, value in message.items() if name not in ("content", "image")}
        if not any(isinstance(part, Image) for part in parts):
            return {**rest, "content": message.get("content")}
        shown = [
            {"type": "image_url", "image_url": {"url": part.data_url}}
            if isinstance(part, Image)
            else {"type": "text", "text": part.text}
            for part in parts
        ]
        return {**rest, "content": shown}

    def _parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in {**self._switched_off(params), **params}.items():
            if name == "logprobs":
                counted = self._service.counts_logprobs
                found |= {"logprobs": value} if counted else {"logprobs": True, "top_logprobs": value}
            elif name == "max_tokens":
                found[self.name_of(name)] = self._token_limit(params)
            elif name == "stop":
                stops = [value] if isinstance(value, str) else list(value)
                found |= {"stop": stops} if stops else {}
            elif name != "max_thinking_tokens":
                found[self.name_of(name)] = value
        return found

    async def send(self, body: dict[str, Any], *, stream: bool) -> None:
        assert self._client is not None
        if not stream:
            await self._client.post(self.path, body=body, cast_to=httpx2.Response)
            return
        events: openai.AsyncStream[object] = await self._client.post(
            self.path,
            body={**body, "stream": True, **self._stream_options()},
            cast_to=object,
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        async with events:
            async for _ in events.response.aiter_bytes():  # the capture reads along
                pass

    def _stream_options(self) -> dict[str, Any]:
        """Return what asks for the usage at a stream's end; Mistral tells it unasked, and refuses the field."""
        if self._service.name == "mistral" or "stream_options" in self.left_out:
            return {}
        return {"stream_options": {"include_usage": True}}

    def defaults(self, request: Request) -> frozenset[str]:
        return super().defaults(request) | {"stream_options", *self._service.always}

    def delta(self, event: dict[str, Any]) -> str:
        return "".join(_texts(_delta(choice).get("content")).text for choice in _choices(event))

    def read(self, body: dict[str, Any]) -> Completion:
        choices = _choices(body)
        if not choices:
            raise Failure(Kind.BROKEN, "200, but the answer has no choices")
        message = choices[0].get("message")
        if message is None and FINISH.get(str(choices[0].get("finish_reason")).lower()) is FinishReason.REFUSED:
            message = {}  # what was to be said was filtered, whole
        if not isinstance(message, dict):
            raise Failure(Kind.BROKEN, "200, but the answer's first choice has no message")
        return _completion(message, choices[0].get("finish_reason"), body, choices[0].get("logprobs"))

    def read_stream(self, capture: Capture) -> Completion:
        for event in capture.events:
            checked(event)
        choices = [choice for event in capture.events for choice in _choices(event)[:1]]
        finish = next((c["finish_reason"] for c in choices if c.get("finish_reason") not in _NO_FINISH), None)
        if finish is None:
            raise Failure(Kind.BROKEN, "200, but the stream ended before the answer did")
        message: dict[str, Any] = {}
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            pieces = [delta[name] for delta in map(_delta, choices) if delta.get(name)]
            if pieces:
                listed = any(isinstance(piece, list) for piece in pieces)
                message[name] = _flat(pieces) if listed else "".join(map(str, pieces))
        frame: dict[str, Any] = {}
        for event in capture.events:  # usage comes last, identity first
            frame |= {name: value for name, value in event.items() if value is not None and name != "choices"}
        places = (as_object(choice.get("logprobs")).get("content") for choice in choices)
        logprobs = [place for found in places if isinstance(found, list) for place in found]
        whole = _completion(message, finish, frame, {"content": logprobs} if logprobs else None)
        return replace(whole, text="".join(map(self.delta, capture.events)))  # what was shown

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


class _Shown:
    """The text and the thinking of a content, which may be a string or a list of parts."""

    def __init__(self, text: str, thinking: str | None) -> None:
        self.text = text
        self.thinking = thinking


def _texts(content: Any) -> _Shown:
    if isinstance(content, str):
        return _Shown(content, None)
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    text = "".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
    # Mistral's reasoning models: {"type": "thinking", "thinking": [{"type": "text", "text": …}]}
    thoughts = [_texts(part.get("thinking")).text for part in parts if part.get("type") == "thinking"]
    return _Shown(text, "".join(thoughts) if thoughts else None)


def _completion(message: dict[str, Any], finish: Any, frame: dict[str, Any], logprobs: Any) -> Completion:
    if str(finish).lower() in _BROKEN_OFF:
        raise Failure(Kind.SERVER, f"200, but the answer broke off ({finish})")
    shown = _texts(message.get("content"))
    thinking = message.get("reasoning_content") or message.get("reasoning") or shown.thinking
    refusal = message.get("refusal")
    reason = FinishReason.REFUSED if refusal else FINISH.get(str(finish).lower(), FinishReason.UNKNOWN)
    details = {
        "served_model": frame.get("model"),
        "provider": frame.get("provider"),
        "fingerprint": frame.get("system_fingerprint"),
        "response_id": frame.get("id"),
        "refusal": refusal,
        "logprobs": logprobs,
    }
    return Completion(
        finish_reason=reason,
        finish_reason_raw=None if finish is None else str(finish),
        text=shown.text,
        thinking=thinking if isinstance(thinking, str) and thinking else None,
        usage=_usage(frame.get("usage")),
        details={name: value for name, value in details.items() if value is not None},
    )


def _usage(said: Any) -> Usage:
    said = as_object(said)
    prompt, answer = count(said.get("prompt_tokens")), count(said.get("completion_tokens"))
    cached = count(as_object(said.get("prompt_tokens_details")).get("cached_tokens"))
    if cached is None:
        cached = count(said.get("prompt_cache_hit_tokens"))  # DeepSeek
    thinking = count(as_object(said.get("completion_tokens_details")).get("reasoning_tokens"))
    if (
        thinking
        and prompt is not None
        and answer is not None
        and said.get("total_tokens") == prompt + answer + thinking
    ):
        answer += thinking  # xAI counts them apart
    return Usage(prompt, answer, cached, thinking)


def _choices(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = body.get("choices")
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    return [choice for choice in found if choice.get("index") in (0, None)]  # of several answers, the first


def _delta(choice: Mapping[str, Any]) -> dict[str, Any]:
    return as_object(choice.get("delta"))


def _flat(pieces: Iterable[Any]) -> list[Any]:
    """Content parts of several chunks; strings among them are texts."""
    return [p for piece in pieces for p in (piece if isinstance(piece, list) else [{"type": "text", "text": piece}])]


def _wire(entry: Mapping[str, Any], service: Service) -> OpenAIWire:
    """Return the wire of an entry: the API that it names, or that its model's family answers on alone."""
    from playbill.backends.engines.remote.wires.responses import ResponsesWire  # which builds on this module

    return (ResponsesWire if api_of(entry) == "responses" else OpenAIWire)(entry, service)


_functions = wire_functions(_wire, f"openai {openai.__version__}")
load = _functions.load
look = _functions.look
preview = _functions.preview
request_body = _functions.request_body
