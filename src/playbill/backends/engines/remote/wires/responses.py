"""OpenAI's Responses API, by the official client: for models that answer only there, or show their thinking only there.

Stateless: nothing is stored at the service, and each request holds the whole dialogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from playbill.backends.engines.base import Completion, Request
from playbill.backends.engines.remote.capture import Capture
from playbill.backends.engines.remote.connection import model_id
from playbill.backends.engines.remote.failure import Failure, Kind, classify
from playbill.backends.engines.remote.values import as_object, count
from playbill.backends.engines.remote.wires.images import Image, Text, check_multimodality, parts_of
from playbill.backends.engines.remote.wires.openai import OpenAIWire
from playbill.backends.engines.remote.wires.routing import provider_choice
from playbill.backends.generation import FinishReason, Usage
from playbill.backends.prompt.messages import Message
from playbill.backends.registry.thinking_plan import merged

__all__ = ["FINISH", "ResponsesWire"]

FINISH = {
    "completed": FinishReason.STOP,
    "max_output_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.REFUSED,
}
_LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed")


class ResponsesWire(OpenAIWire):
    """Bodies and answers of the Responses API, for one entry. The client is that of chat completions."""

    path = "/responses"
    least_tokens = 16  # github.com/openai/openai-openapi, max_output_tokens

    def name_of(self, parameter: str) -> str:
        return {"max_tokens": "max_output_tokens", "logprobs": "top_logprobs"}.get(parameter, parameter)

    def defaults(self, request: Request) -> frozenset[str]:
        unsent = {"stream_options", *self._service.always}
        return (super().defaults(request) - unsent) | {"reasoning.summary"}

    def body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model_id(self._entry),
            "input": [self._item(m, request, f"messages[{i}]") for i, m in enumerate(request.messages)],
            "store": False,
        }
        body |= self._parameters(request.params)
        if reasoning := self._reasoning():
            body["reasoning"] = reasoning
        return merged(body | provider_choice(self._entry), self._entry.get("extra_body") or {})

    def _item(self, message: Message, request: Request, where: str) -> dict[str, Any]:
        parts = parts_of(message, request.folder, where)
        check_multimodality(parts, self._entry.get("multimodality"), where)
        role = message["role"]
        if role == "assistant":  # its own words come back as they went out
            return {"role": role, "content": "".join(part.text for part in parts if isinstance(part, Text))}
        return {"role": role, "content": [_part(part) for part in parts]}

    def _parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in params.items():
            if name == "max_tokens":
                found["max_output_tokens"] = self._token_limit(params)
            elif name == "logprobs":
                found |= {"top_logprobs": value, "include": ["message.output_text.logprobs"]}
            elif name != "max_thinking_tokens":
                found[name] = value
        return found

    def _reasoning(self) -> dict[str, Any]:
        """Return how the model is told to think, and that a summary of its thoughts comes back."""
        effort, family = self._thinking.effort, self._family
        if self._thinking.off:
            told = self._thinking.fragment.get("reasoning_effort", effort)
            return {"effort": told} if told else {}
        wanted: dict[str, Any] = {"effort": effort} if effort else {}
        show = family.thinking.show if family is not None and family.thinking.text_api == "responses" else None
        if self._thinks and show is not None and "reasoning.summary" not in self.left_out:
            wanted |= show.get("reasoning", {})
        return wanted

    def _stream_options(self) -> dict[str, Any]:
        return {}  # the usage comes unasked

    def delta(self, event: dict[str, Any]) -> str:
        return str(event.get("delta") or "") if event.get("type") == "response.output_text.delta" else ""

    def read(self, body: dict[str, Any]) -> Completion:
        if not isinstance(body.get("output"), list):
            raise Failure(Kind.BROKEN, "200, but the answer has no output")
        return _completion(body)

    def read_stream(self, capture: Capture) -> Completion:
        for event in capture.events:
            if event.get("type") == "error":
                raise classify(500, {}, {"error": {**event, "type": event.get("code")}})
        last = next((e for e in reversed(capture.events) if e.get("type") in _LAST_EVENTS), None)
        if last is None:
            raise Failure(Kind.BROKEN, "200, but the stream ended before the answer did")
        whole = self.read(as_object(last.get("response")))
        return replace(whole, text="".join(map(self.delta, capture.events)))  # what was shown


def _part(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    return {"type": "input_image", "image_url": part.data_url, "detail": "auto"}


def _completion(body: Mapping[str, Any]) -> Completion:
    status = body.get("status")
    if status in ("failed", "cancelled"):
        raise classify(500, {}, {"error": as_object(body.get("error")) or {"message": f"the answer {status}"}})
    why = as_object(body.get("incomplete_details")).get("reason")
    finish = str(why if status == "incomplete" else status)
    items = [item for item in body["output"] if isinstance(item, dict)]
    parts = [part for item in items if item.get("type") == "message" for part in _objects(item.get("content"))]
    texts = [part for part in parts if part.get("type") == "output_text"]
    refusal = "".join(str(part.get("refusal") or "") for part in parts if part.get("type") == "refusal")
    called = any(str(item.get("type")).endswith("_call") for item in items)
    reason = FinishReason.REFUSED if refusal else FINISH.get(finish, FinishReason.UNKNOWN)
    logprobs = [place for part in texts for place in _objects(part.get("logprobs"))]
    details = {
        "served_model": body.get("model"),
        "response_id": body.get("id"),
        "refusal": refusal or None,
        "logprobs": {"content": logprobs} if logprobs else None,
    }
    return Completion(
        finish_reason=FinishReason.TOOL_CALLS if called and reason is FinishReason.STOP else reason,
        finish_reason_raw=finish,
        text="".join(str(part.get("text") or "") for part in texts),
        thinking="\n\n".join(_thoughts(items)) or None,
        usage=_usage(body.get("usage")),
        details={name: value for name, value in details.items() if value is not None},
    )


def _thoughts(items: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the texts of reasoning items: the thoughts themselves where the service shows them, else their summary."""
    for item in items:
        if item.get("type") == "reasoning":
            shown = _objects(item.get("content")) or _objects(item.get("summary"))
            yield from (text for part in shown if (text := str(part.get("text") or "")))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [inner for inner in value if isinstance(inner, dict)] if isinstance(value, list) else []


def _usage(said: Any) -> Usage:
    said = as_object(said)
    return Usage(
        count(said.get("input_tokens")),
        count(said.get("output_tokens")),
        count(as_object(said.get("input_tokens_details")).get("cached_tokens")),
        count(as_object(said.get("output_tokens_details")).get("reasoning_tokens")),
    )
