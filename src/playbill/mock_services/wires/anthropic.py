"""The mock server's side of Anthropic's Messages API."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from playbill.mock_services.answers import Answer, Ask
from playbill.mock_services.faults import FaultKind as Kind
from playbill.mock_services.wires.base import (
    ErrorReply,
    Json,
    Listed,
    Problem,
    Told,
    WireError,
    as_dict,
    as_int,
    as_strings,
    dump,
    pieces,
    sse,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playbill.mock_services.http import HttpRequest

__all__ = ["AnthropicWire"]

# status, type, message
ERRORS: dict[Kind, tuple[int, str, str]] = {
    Kind.BAD_REQUEST: (400, "invalid_request_error", "The request is invalid."),
    Kind.BAD_KEY: (401, "authentication_error", "invalid x-api-key"),
    Kind.PAYMENT: (402, "billing_error", "There is a problem with your billing."),
    Kind.FORBIDDEN: (403, "permission_error", "Your API key may not use this resource."),
    Kind.NOT_FOUND: (404, "not_found_error", "model: not found"),
    Kind.TIMEOUT: (408, "timeout_error", "The request took too long."),
    Kind.RATE_LIMIT: (429, "rate_limit_error", "This request would exceed your rate limit."),
    Kind.SERVER_ERROR: (500, "api_error", "Internal server error"),
    Kind.BAD_GATEWAY: (502, "api_error", "Bad gateway"),
    Kind.UNAVAILABLE: (503, "api_error", "Service unavailable"),
    Kind.GATEWAY_TIMEOUT: (504, "timeout_error", "Gateway timeout"),
    Kind.OVERLOADED: (529, "overloaded_error", "Overloaded"),
    Kind.QUOTA: (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to "
        "upgrade or purchase credits.",
    ),
    Kind.CONTEXT: (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
}
STOP = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "refused": "refusal",
    "tool": "tool_use",
}


class AnthropicWire:
    """``POST …/messages``."""

    name = "anthropic"

    def serves(self, method: str, path: str) -> bool:
        return method == "POST" and path.endswith("/messages")

    def key(self, request: HttpRequest) -> str | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return request.headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else None)

    def ask(self, request: HttpRequest, body: Json) -> Ask:
        for name, kind in (("model", str), ("messages", list), ("max_tokens", int)):
            if not isinstance(body.get(name), kind):
                raise bad(f"{name}: Field required")
        if not body["messages"]:
            raise bad("messages: at least one message is required")
        messages = [as_dict(m) for m in body["messages"]]
        for place, message in enumerate(messages):
            if message.get("role") not in ("user", "assistant"):
                raise bad(f"messages.{place}.role: Input should be 'user' or 'assistant'")
            if not text_of(message.get("content")) and not isinstance(message.get("content"), list):
                raise bad(f"messages.{place}: all messages must have non-empty content")
        check_sampling(request, body)
        thinking = as_dict(body.get("thinking"))
        check_budget(thinking, body["max_tokens"])
        system = text_of(body.get("system"))
        return Ask(
            model=body["model"],
            messages=(
                *([{"role": "system", "content": system}] if system else []),
                *({"role": m["role"], "content": text_of(m.get("content"))} for m in messages),
            ),
            stream=body.get("stream") is True,
            stream_usage=True,
            max_tokens=as_int(body["max_tokens"]),
            stop=as_strings(body.get("stop_sequences")),
            show_thinking=thinking.get("display") != "omitted",
            body=body,
        )

    def parameters(self, body: Json) -> Json:
        return body

    def unsupported(self, param: str, value: object) -> Problem | None:
        return Problem(Kind.BAD_REQUEST, f"`{param}` is not supported by this model.")

    def error(self, problem: Problem, number: int) -> ErrorReply:
        status, kind, message = ERRORS.get(problem.kind, ERRORS[Kind.SERVER_ERROR])
        request_id = f"req_mock_{number}"
        body = {
            "type": "error",
            "error": {"type": kind, "message": problem.message or message},
            "request_id": request_id,
        }
        return ErrorReply(status, body, (("request-id", request_id),))

    def refusal(self, told: Told) -> ErrorReply:
        refused = replace(told, answer=Answer("", finish="refused"))
        return ErrorReply(200, self.body(refused), events=tuple(self.events(refused)))

    def without_choices(self, told: Told) -> Json:
        frame = self._frame(told)
        return {name: frame[name] for name in ("id", "type", "role", "model")}

    def body(self, told: Told) -> Json:
        answer = told.answer
        return {
            **self._frame(told),
            "content": blocks(answer),
            "stop_reason": STOP[answer.finish],
            "stop_sequence": answer.stop_sequence,
            **answer.extra,
        }

    def events(self, told: Told, *, usage_asked: bool = True) -> list[bytes]:
        started = {**self._frame(told), "content": [], "stop_reason": None}
        started["usage"] = {**started["usage"], "output_tokens": 0}
        events = [event({"type": "message_start", "message": started}), event({"type": "ping"})]
        for index, block in enumerate(blocks(told.answer)):
            events += block_events(index, block)
        delta = {"stop_reason": STOP[told.answer.finish], "stop_sequence": told.answer.stop_sequence}
        events.append(event({"type": "message_delta", "delta": delta, "usage": usage(told)}))
        return [*events, event({"type": "message_stop"})]

    def error_event(self, problem: Problem, number: int) -> bytes:
        return event(self.error(problem, number).body)

    def models(self, listed: Iterable[Listed]) -> Json:
        data = [
            {
                "type": "model",
                "id": model.name,
                "display_name": model.name,
                "created_at": "1970-01-01T00:00:00Z",
                "lifecycle": "retired" if model.retired else "deprecated" if model.ends else "active",
                "retires_at": f"{model.ends}T00:00:00Z" if model.ends else None,
                "max_input_tokens": model.context,
            }
            for model in listed
        ]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
        return {"data": data, "has_more": False, **ends}

    def _frame(self, told: Told) -> Json:
        return {
            "id": f"msg_mock_{told.number}",
            "type": "message",
            "role": "assistant",
            "model": told.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage(told),
        }


def bad(message: str) -> WireError:
    """Return the error for a request of the wrong form."""
    return WireError(Problem(Kind.BAD_REQUEST, message))


def check_sampling(request: HttpRequest, body: Json) -> None:
    """Refuse sampling parameters as API versions from 2026-10-21 on do, even at their default values.

    https://platform.claude.com/docs/en/api/migration-2026-10-21
    """
    if request.headers.get("anthropic-version", "") < "2026-10-21":
        return
    for name in ("temperature", "top_p", "top_k"):
        if name in body:
            raise bad(f"{name}: Extra inputs are not permitted")


def check_budget(thinking: Json, max_tokens: int) -> None:
    """Hold a manual thinking budget to the service's rules."""
    if thinking.get("type") != "enabled":
        return
    budget = as_int(thinking.get("budget_tokens"))
    if budget is None or budget < 1024:
        raise bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if budget >= max_tokens:
        raise bad("`max_tokens` must be greater than `thinking.budget_tokens`")


def blocks(answer: Answer) -> list[Json]:
    """Return the content blocks of an answer; hidden thinking leaves an empty block with a signature."""
    found: list[Json] = []
    if answer.thinking is not None:
        found.append({"type": "thinking", "thinking": answer.thinking, "signature": "bW9jaw=="})
    if answer.finish == "tool":
        found.append({"type": "tool_use", "id": "toolu_mock", "name": "mock_tool", "input": {}})
    elif answer.text:
        found.append({"type": "text", "text": answer.text, "citations": None})
    return found


def event(data: Json) -> bytes:
    """Return one event, named by its type."""
    return sse(dump(data), data["type"])


def block_events(index: int, block: Json) -> list[bytes]:
    """Return the events that tell one content block."""

    def delta(data: Json) -> bytes:
        return event({"type": "content_block_delta", "index": index, "delta": data})

    told: list[bytes] = []
    if block["type"] == "text":
        told = [delta({"type": "text_delta", "text": piece}) for piece in pieces(block["text"])]
        block = {**block, "text": ""}
    elif block["type"] == "thinking":
        told = [delta({"type": "thinking_delta", "thinking": piece}) for piece in pieces(block["thinking"])]
        told.append(delta({"type": "signature_delta", "signature": block["signature"]}))
        block = {**block, "thinking": "", "signature": ""}
    else:
        told = [delta({"type": "input_json_delta", "partial_json": "{}"})]
    start = event({"type": "content_block_start", "index": index, "content_block": block})
    return [start, *told, event({"type": "content_block_stop", "index": index})]


def usage(told: Told) -> Json:
    """Return the token counts, in this wire's names: cached tokens are not among ``input_tokens``."""
    count = told.usage
    return {
        "input_tokens": count.input - count.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": count.cached,
        "output_tokens": count.output,
        "output_tokens_details": {"thinking_tokens": count.thinking},
    }
