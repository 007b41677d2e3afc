"""Google's generateContent API, by the official client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google import genai
from google.genai import types

from playbill.backends.engines.base import Completion, Request
from playbill.backends.engines.remote.capture import Capture
from playbill.backends.engines.remote.connection import Connection, model_id
from playbill.backends.engines.remote.errors import checked
from playbill.backends.engines.remote.failure import Failure, Kind
from playbill.backends.engines.remote.loading import wire_functions
from playbill.backends.engines.remote.values import as_object, count
from playbill.backends.engines.remote.wire import Wire
from playbill.backends.engines.remote.wires.images import Image, Text, check_multimodality, parts_of
from playbill.backends.errors import MessageError
from playbill.backends.generation import FinishReason, Usage
from playbill.backends.prompt.messages import Message
from playbill.backends.registry.services import Service

__all__ = ["FINISH", "GoogleWire", "load", "look", "preview", "request_body"]


FINISH = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.REFUSED,
    "RECITATION": FinishReason.REFUSED,
    "BLOCKLIST": FinishReason.REFUSED,
    "PROHIBITED_CONTENT": FinishReason.REFUSED,
    "SPII": FinishReason.REFUSED,
    "LANGUAGE": FinishReason.REFUSED,
    "IMAGE_SAFETY": FinishReason.REFUSED,
    "ESCALATION": FinishReason.REFUSED,
    "MODEL_ARMOR": FinishReason.REFUSED,
    "PUP_LIMITED_DISABLED": FinishReason.REFUSED,
    "CONTINUATION": FinishReason.LENGTH,
    "MALFORMED_FUNCTION_CALL": FinishReason.TOOL_CALLS,
    "UNEXPECTED_TOOL_CALL": FinishReason.TOOL_CALLS,
    "TOO_MANY_TOOL_CALLS": FinishReason.TOOL_CALLS,
}
_BROKEN_OFF = ("MALFORMED_RESPONSE",)
"""The service couldn't read what its own model wrote; another attempt may go well."""
_NO_SIGNATURE = "MISSING_THOUGHT_SIGNATURE"
# https://ai.google.dev/gemini-api/docs/safety-settings: the filters that can be adjusted
_HARMS = tuple(
    f"HARM_CATEGORY_{harm}" for harm in ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
)


class GoogleWire(Wire):
    """Bodies, client and answers of Google's wire, for one entry."""

    sdk = f"google-genai/{genai.__version__}"
    thinking_tokens = 4_000
    """The budget of thinking where nobody says; about clemcore's."""

    def __init__(self, entry: Mapping[str, Any], service: Service) -> None:
        super().__init__(entry, service)
        self._version = str(entry.get("api_version") or "v1beta")
        self._client: genai.Client | None = None

    def connect(self, connection: Connection) -> None:
        """Make the client; it connects when it sends. It must live as long as its requests."""
        options = types.HttpOptions(
            base_url=connection.base_url,
            api_version=self._version,
            httpx_async_client=connection.client(self.sdk, self.headers(connection)),
            retry_options=types.HttpRetryOptions(attempts=1),  # one discipline, and it is ours
        )
        self._client = genai.Client(api_key=connection.key, http_options=options, vertexai=False)

    def headers(self, connection: Connection) -> dict[str, str]:
        return self.key_header(connection, "x-goog-api-key")

    def models_url(self, connection: Connection) -> str | None:
        return f"{connection.base_url}/{self._version}/models?pageSize=1000"

    def body(self, request: Request) -> dict[str, Any]:
        system: list[dict[str, Any]] = []
        contents: list[dict[str, Any]] = []
        for i, message in enumerate(request.messages):
            parts = self._parts(message, request, f"messages[{i}]")
            if message["role"] == "system":
                system += parts
            else:
                contents.append({"role": "model" if message["role"] == "assistant" else "user", "parts": parts})
        body: dict[str, Any] = {"contents": contents}
        if system:
            body["systemInstruction"] = {"role": "user", "parts": system}
        config = self._parameters(request.params)
        if config:
            body["generationConfig"] = config
        if safety := _safety_settings(self._entry.get("safety_settings")):
            body["safetySettings"] = safety
        return body | (self._entry.get("extra_body") or {})

    def _parts(self, message: Message, request: Request, where: str) -> list[dict[str, Any]]:
        parts = parts_of(message, request.folder, where)
        check_multimodality(parts, self._entry.get("multimodality"), where)
        return [_part(part, where) for part in parts]

    def _parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in params.items():
            if name == "max_tokens":
                found["maxOutputTokens"] = self._token_limit(params)
            elif name == "stop":
                stops = [value] if isinstance(value, str) else list(value)
                found |= {"stopSequences": stops} if stops else {}
            elif name == "logprobs":
                found |= {"responseLogprobs": True, "logprobs": value}
            elif name != "max_thinking_tokens":
                found[self._service.renamed.get(name, name)] = value
        if thinking := self._thinking_config(params):
            found["thinkingConfig"] = thinking
        return found

    def _thinking_config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the family wants, and what the entry's own keys say."""
        plan, shown = self._thinking, self._entry.get("include_thoughts")
        budget = self._thinking_budget(params)
        config: dict[str, Any] = plan.filled(budget).get("generationConfig", {}).get("thinkingConfig", {})
        if self._thinks or shown:
            config["includeThoughts"] = shown is not False
        if plan.effort not in (None, "none"):  # which is no level
            config["thinkingLevel"] = plan.effort.upper()
        elif plan.mode is True or (plan.takes_budget and params.get("max_thinking_tokens") is not None):
            config["thinkingBudget"] = budget
        return config

    async def send(self, body: dict[str, Any], *, stream: bool) -> None:
        assert self._client is not None
        rest = {name: value for name, value in body.items() if name != "contents"}
        # The client builds the body from its own types; what it has no type for goes beside them.
        options = types.HttpOptions(extra_body=rest) if rest else None
        arguments: dict[str, Any] = {
            "model": model_id(self._entry),
            "contents": body["contents"],
            "config": types.GenerateContentConfig(http_options=options, automatic_continuation=False),
        }
        if not stream:
            await self._client.aio.models.generate_content(**arguments)
            return
        async for _ in await self._client.aio.models.generate_content_stream(**arguments):
            pass  # the capture reads along

    def delta(self, event: dict[str, Any]) -> str:
        return "".join(_texts(_content_parts(event), thoughts=False))

    def read(self, body: dict[str, Any]) -> Completion:
        return _completion([body])

    def read_stream(self, capture: Capture) -> Completion:
        return _completion([checked(event) for event in capture.events])

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aio.aclose()


def _safety_settings(chosen: Any) -> list[dict[str, str]]:
    """Return the service's form of one threshold for all of its adjustable categories, or of one by category."""
    by_category = dict.fromkeys(_HARMS, chosen) if isinstance(chosen, str) else chosen or {}
    return [{"category": category, "threshold": threshold} for category, threshold in by_category.items()]


def _part(part: Text | Image, where: str) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"text": part.text}
    if part.url is not None:
        raise MessageError(f"{where}: this service fetches no images from other addresses; give a path or a data URL")
    return {"inlineData": {"mimeType": part.media_type, "data": part.data}}


def _candidate(body: Mapping[str, Any]) -> dict[str, Any]:
    candidates = body.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    return first if isinstance(first, dict) else {}


def _content_parts(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = _candidate(body).get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _texts(parts: list[dict[str, Any]], *, thoughts: bool) -> list[str]:
    return [str(part["text"]) for part in parts if part.get("text") and bool(part.get("thought")) is thoughts]


def _completion(bodies: list[dict[str, Any]]) -> Completion:
    """Return the completion in one body, or in those of a stream together."""
    frame: dict[str, Any] = {}
    for body in bodies:
        frame |= {name: value for name, value in body.items() if value is not None and name != "candidates"}
    finish = next((r for body in reversed(bodies) if (r := _candidate(body).get("finishReason"))), None)
    blocked = as_object(frame.get("promptFeedback")).get("blockReason")
    if finish is None and blocked is None:
        raise Failure(Kind.BROKEN, "200, but the answer has no candidate that came to its end")
    if finish in _BROKEN_OFF:
        raise Failure(Kind.SERVER, f"200, but the answer broke off ({finish})")
    if finish == _NO_SIGNATURE:
        words = f"200, but the service wants back signatures of thoughts, which dialogues don't hold ({finish})"
        raise Failure(Kind.REQUEST, words)
    parts = [part for body in bodies for part in _content_parts(body)]
    called = any("functionCall" in part for part in parts)
    reason = FinishReason.REFUSED if blocked else FINISH.get(str(finish), FinishReason.UNKNOWN)
    details = {
        "served_model": frame.get("modelVersion"),
        "response_id": frame.get("responseId"),
        "safety_ratings": next((r for b in reversed(bodies) if (r := _candidate(b).get("safetyRatings"))), None),
        "logprobs": next((r for b in reversed(bodies) if (r := _candidate(b).get("logprobsResult"))), None),
    }
    return Completion(
        finish_reason=FinishReason.TOOL_CALLS if called and reason is FinishReason.STOP else reason,
        finish_reason_raw=str(blocked or finish),
        text="".join(_texts(parts, thoughts=False)),
        thinking="".join(_texts(parts, thoughts=True)) or None,
        usage=_usage(frame.get("usageMetadata")),
        details={name: value for name, value in details.items() if value is not None},
    )


def _usage(said: Any) -> Usage:
    """It counts thoughts beside the candidate's tokens; our output tokens include them."""
    said = as_object(said)
    answer, thinking = count(said.get("candidatesTokenCount")), count(said.get("thoughtsTokenCount"))
    output = None if answer is None and thinking is None else (answer or 0) + (thinking or 0)
    return Usage(count(said.get("promptTokenCount")), output, count(said.get("cachedContentTokenCount")), thinking)


_functions = wire_functions(GoogleWire, f"google-genai {genai.__version__}")
load = _functions.load
look = _functions.look
preview = _functions.preview
request_body = _functions.request_body
