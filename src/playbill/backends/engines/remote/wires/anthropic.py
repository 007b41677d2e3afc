"""Anthropic's Messages API, by the official client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
from anthropic.types import RawMessageStreamEvent

from playbill.backends.engines.base import Completion, Request
from playbill.backends.engines.remote.capture import Capture
from playbill.backends.engines.remote.connection import Connection, model_id
from playbill.backends.engines.remote.errors import checked
from playbill.backends.engines.remote.failure import Failure, Kind
from playbill.backends.engines.remote.loading import wire_functions
from playbill.backends.engines.remote.values import as_object, count
from playbill.backends.engines.remote.wire import Wire
from playbill.backends.engines.remote.wires.images import Image, Text, check_multimodality, parts_of
from playbill.backends.generation import FinishReason, Usage
from playbill.backends.prompt.messages import Message
from playbill.backends.registry.services import Service

__all__ = ["FINISH", "AnthropicWire", "load", "look", "preview", "request_body"]

_PATH = "/v1/messages"
API_VERSION = "2026-10-21"
"""The version of the API that is asked for where the entry names none; that of the client (anthropic 2.13)."""

FINISH = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.REFUSED,
    "tool_use": FinishReason.TOOL_CALLS,
    "pause_turn": FinishReason.TOOL_CALLS,  # amid the service's own tools, which an entry can ask for by extra_body
}


class AnthropicWire(Wire):
    """Bodies, client and answers of Anthropic's wire, for one entry."""

    sdk = f"anthropic/{anthropic.__version__}"
    thinking_tokens = 4_000
    """The budget of thinking where nobody says; clemcore's."""

    def __init__(self, entry: Mapping[str, Any], service: Service) -> None:
        super().__init__(entry, service)
        self._version = str(entry.get("api_version") or API_VERSION)
        self._client: anthropic.AsyncAnthropic | None = None

    def connect(self, connection: Connection) -> None:
        """Make the client; it connects when it sends."""
        self._client = anthropic.AsyncAnthropic(
            api_key=connection.key,
            base_url=connection.base_url,
            max_retries=0,  # one discipline, and it is ours
            timeout=connection.timeout,
            http_client=connection.client(self.sdk, self.headers(connection)),
        )

    def headers(self, connection: Connection) -> dict[str, str]:
        key = self.key_header(connection, self._service.key_header or "authorization")
        return {**key, "anthropic-version": self._version}

    def models_url(self, connection: Connection) -> str | None:
        return f"{connection.base_url}/v1/models?limit=1000" if self._service.name == "anthropic" else None

    def body(self, request: Request) -> dict[str, Any]:
        system: list[dict[str, Any]] = []
        messages: list[dict[str, Any]] = []
        for i, message in enumerate(request.messages):
            content = self._content(message, request, f"messages[{i}]")
            if message["role"] == "system":
                system += content
            else:
                messages.append({"role": message["role"], "content": content})
        body: dict[str, Any] = {"model": model_id(self._entry), "messages": messages}
        if system:
            body["system"] = system
        body |= self._parameters(request.params)
        body |= self._thinking.filled(self._thinking_budget(request.params))
        if self._thinking.effort not in (None, "none"):
            body["output_config"] = {"effort": self._thinking.effort}
        return body | (self._entry.get("extra_body") or {})

    def _content(self, message: Message, request: Request, where: str) -> list[dict[str, Any]]:
        parts = parts_of(message, request.folder, where)
        check_multimodality(parts, self._entry.get("multimodality"), where)
        # The service refuses empty texts beside others.
        return [_part(part) for part in parts if not isinstance(part, Text) or part.text or len(parts) == 1]

    def _parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in params.items():
            if name == "max_tokens":
                found[name] = self._token_limit(params)
            elif name == "stop":
                stops = [value] if isinstance(value, str) else list(value)
                found |= {"stop_sequences": stops} if stops else {}
            elif name != "max_thinking_tokens":
                found[name] = value
        if self._thinking.mode == "adaptive":
            # From Opus 4.7 on the thinking comes back empty unless a summary of it is asked for.
            hidden = self._family is not None and self._family.thinking.text == "empty"
            found["thinking"] = {"type": "adaptive", **({"display": "summarized"} if hidden else {})}
        elif self._thinking.mode and not self._thinking.off:
            found["thinking"] = {"type": "enabled", "budget_tokens": self._thinking_budget(params)}
        return found

    async def send(self, body: dict[str, Any], *, stream: bool) -> None:
        assert self._client is not None
        if not stream:
            await self._client.post(_PATH, body=body, cast_to=httpx2.Response)
            return
        events = await self._client.post(
            _PATH,
            body={**body, "stream": True},
            cast_to=object,
            stream=True,
            stream_cls=anthropic.AsyncStream[RawMessageStreamEvent],
        )
        async with events:
            async for _ in events.response.aiter_bytes():  # the capture reads along
                pass

    def delta(self, event: dict[str, Any]) -> str:
        kind = event.get("type")
        if kind == "content_block_start":
            block = as_object(event.get("content_block"))
            return _text(block, "text") if block.get("type") == "text" else ""
        return _text(as_object(event.get("delta")), "text") if kind == "content_block_delta" else ""

    def read(self, body: dict[str, Any]) -> Completion:
        if not isinstance(body.get("content"), list):
            raise Failure(Kind.BROKEN, "200, but the answer has no content")
        return _completion(body)

    def read_stream(self, capture: Capture) -> Completion:
        message: dict[str, Any] = {}
        blocks: dict[int, dict[str, Any]] = {}
        for event in capture.events:
            kind = event.get("type")
            checked(event)
            if kind == "message_start":
                message = {**as_object(event.get("message"))}
            elif kind == "content_block_start":
                blocks[_index(event)] = {**as_object(event.get("content_block"))}
            elif kind == "content_block_delta":
                _grow(blocks.setdefault(_index(event), {}), as_object(event.get("delta")))
            elif kind == "message_delta":
                message |= as_object(event.get("delta"))
                message["usage"] = {**as_object(message.get("usage")), **as_object(event.get("usage"))}
        if not message.get("stop_reason"):
            raise Failure(Kind.BROKEN, "200, but the stream ended before the answer did")
        whole = _completion({**message, "content": [blocks[index] for index in sorted(blocks)]})
        return replace(whole, text="".join(map(self.delta, capture.events)))  # what was shown

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def _part(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if part.url is not None:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": part.media_type, "data": part.data}}


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0


def _text(found: Mapping[str, Any], name: str) -> str:
    return str(found.get(name) or "")


def _grow(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    if "thinking" in delta:
        block["thinking"] = _text(block, "thinking") + _text(delta, "thinking")


def _completion(message: dict[str, Any]) -> Completion:
    blocks = [block for block in message["content"] if isinstance(block, dict)]
    thoughts = [_text(block, "thinking") for block in blocks if block.get("type") == "thinking"]
    finish = message.get("stop_reason")
    details = {
        "served_model": message.get("model"),
        "response_id": message.get("id"),
        "stop_sequence": message.get("stop_sequence"),
        "refusal": as_object(message.get("stop_details")).get("category"),
        "redacted_thinking": sum(block.get("type") == "redacted_thinking" for block in blocks) or None,
    }
    return Completion(
        finish_reason=FINISH.get(str(finish), FinishReason.UNKNOWN),
        finish_reason_raw=None if finish is None else str(finish),
        text="".join(_text(block, "text") for block in blocks if block.get("type") == "text"),
        thinking="\n\n".join(t for t in thoughts if t) or None,
        usage=_usage(message.get("usage")),
        details={name: value for name, value in details.items() if value is not None},
    )


def _usage(said: Any) -> Usage:
    """Its input tokens leave out what was read from or written to its cache; ours are all of them."""
    said = as_object(said)
    read, written = count(said.get("cache_read_input_tokens")), count(said.get("cache_creation_input_tokens"))
    fresh = count(said.get("input_tokens"))
    thinking = count(as_object(said.get("output_tokens_details")).get("thinking_tokens"))
    total = None if fresh is None else fresh + (read or 0) + (written or 0)
    return Usage(total, count(said.get("output_tokens")), read, thinking)


_functions = wire_functions(AnthropicWire, f"anthropic {anthropic.__version__}")
load = _functions.load
look = _functions.look
preview = _functions.preview
request_body = _functions.request_body
