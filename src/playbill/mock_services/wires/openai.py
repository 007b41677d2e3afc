"""The mock server's side of OpenAI's Chat Completions, Azure's deployments included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playbill.backends.registry.service_models import family_of
from playbill.mock_services.answers import Ask
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

    from playbill.mock_services.answers import Answer
    from playbill.mock_services.http import HttpRequest

__all__ = ["OpenAIWire"]

# status, type, code, message
ERRORS: dict[Kind, tuple[int, str, str | None, str]] = {
    Kind.BAD_REQUEST: (400, "invalid_request_error", None, "The request is invalid."),
    Kind.BAD_KEY: (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    Kind.PAYMENT: (402, "invalid_request_error", None, "Insufficient credits."),
    Kind.FORBIDDEN: (403, "invalid_request_error", "unsupported_country_region_territory", "Not allowed."),
    Kind.NOT_FOUND: (404, "invalid_request_error", "model_not_found", "The model does not exist."),
    Kind.TIMEOUT: (408, "timeout", None, "The request took too long."),
    Kind.RATE_LIMIT: (429, "requests", "rate_limit_exceeded", "Rate limit reached. Please try again."),
    Kind.SERVER_ERROR: (500, "server_error", None, "The server had an error processing your request."),
    Kind.BAD_GATEWAY: (502, "server_error", None, "Bad gateway."),
    Kind.UNAVAILABLE: (
        503,
        "server_error",
        None,
        "The engine is currently overloaded, please try again later.",
    ),
    Kind.GATEWAY_TIMEOUT: (504, "server_error", None, "Gateway timeout."),
    Kind.OVERLOADED: (529, "server_error", None, "Overloaded."),
    Kind.QUOTA: (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    Kind.REFUSED: (
        400,
        "invalid_request_error",
        "content_filter",
        "The prompt was refused by the content filter.",
    ),
    Kind.CONTEXT: (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 10383 "
        "tokens. Please reduce the length of the messages.",
    ),
}
FINISH = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "refused": "content_filter",
    "tool": "tool_calls",
}
TOOL_CALL = {"id": "call_mock", "type": "function", "function": {"name": "mock_tool", "arguments": "{}"}}


class OpenAIWire:
    """``POST …/chat/completions``."""

    name = "openai"

    def serves(self, method: str, path: str) -> bool:
        return method == "POST" and path.endswith("/chat/completions")

    def key(self, request: HttpRequest) -> str | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else request.headers.get("api-key")

    def ask(self, request: HttpRequest, body: Json) -> Ask:
        if not isinstance(body.get("model"), str):
            raise bad("you must provide a model parameter", "model")
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise bad("Invalid 'messages': expected a non-empty array of objects.", "messages")
        limit = as_int(body.get("max_completion_tokens"))
        return Ask(
            model=body["model"],
            messages=tuple(
                {"role": str(as_dict(m).get("role")), "content": text_of(as_dict(m).get("content"))} for m in messages
            ),
            stream=body.get("stream") is True,
            stream_usage=as_dict(body.get("stream_options")).get("include_usage") is True,
            max_tokens=limit if limit is not None else as_int(body.get("max_tokens")),
            stop=as_strings(body.get("stop")),
            show_thinking=not shows_no_thinking(body["model"]),
            body=body,
        )

    def parameters(self, body: Json) -> Json:
        return body

    def unsupported(self, param: str, value: object) -> Problem | None:
        if param == "temperature":
            if value in (None, 1):
                return None
            words = f"Unsupported value: 'temperature' does not support {value} with this model. "
            words += "Only the default (1) value is supported."
            return Problem(Kind.BAD_REQUEST, words, param, "unsupported_value")
        words = f"Unsupported parameter: '{param}' is not supported with this model."
        if param == "max_tokens":
            words += " Use 'max_completion_tokens' instead."
        return Problem(Kind.BAD_REQUEST, words, param, "unsupported_parameter")

    def error(self, problem: Problem, number: int) -> ErrorReply:
        status, kind, code, message = ERRORS.get(problem.kind, ERRORS[Kind.SERVER_ERROR])
        error = {
            "message": problem.message or message,
            "type": kind,
            "param": problem.param,
            "code": problem.code or code,
        }
        return ErrorReply(status, {"error": error}, (("x-request-id", f"req_mock_{number}"),))

    def refusal(self, told: Told) -> ErrorReply:
        return self.error(Problem(Kind.REFUSED, param="prompt"), told.number)

    def without_choices(self, told: Told) -> Json:
        return {**self._frame(told, "chat.completion"), "choices": [], "usage": usage(told)}

    def body(self, told: Told) -> Json:
        choice: Json = {
            "index": 0,
            "message": message_of(told.answer),
            "logprobs": None,
            "finish_reason": FINISH[told.answer.finish],
        }
        return {
            **self._frame(told, "chat.completion"),
            "choices": [choice],
            "usage": usage(told),
            **told.answer.extra,
        }

    def events(self, told: Told, *, usage_asked: bool = True) -> list[bytes]:
        frame = self._frame(told, "chat.completion.chunk")

        def chunk(delta: Json, finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return sse(dump({**frame, "choices": [choice]}))

        events = [chunk({"role": "assistant", "content": ""}), *map(chunk, deltas(told.answer))]
        events.append(chunk({}, FINISH[told.answer.finish]))
        if usage_asked:
            events.append(sse(dump({**frame, "choices": [], "usage": usage(told)})))
        return [*events, sse(b"[DONE]")]

    def error_event(self, problem: Problem, number: int) -> bytes:
        return sse(dump(self.error(problem, number).body))

    def models(self, listed: Iterable[Listed]) -> Json:
        rest = {"object": "model", "created": 0, "owned_by": "mock"}
        data = [{"id": m.name, **rest, "shutdown_date": m.ends} for m in listed if not m.retired]
        return {"object": "list", "data": data}

    def _frame(self, told: Told, kind: str) -> Json:
        frame: Json = {"id": f"chatcmpl-mock-{told.number}", "object": kind, "created": told.created}
        frame |= {"model": told.model, "system_fingerprint": told.answer.system_fingerprint}
        return frame if told.answer.provider is None else {**frame, "provider": told.answer.provider}


def shows_no_thinking(model: str) -> bool:
    """Tell whether a model's thoughts stay at the service: those of OpenAI's own are counted, and not shown."""
    family = family_of("openai", model)
    return family is not None and family.thinking.text == "no"


def bad(message: str, param: str) -> WireError:
    """Return the error for a request of the wrong form."""
    return WireError(Problem(Kind.BAD_REQUEST, message, param))


def message_of(answer: Answer) -> Json:
    """Return the assistant's message, thinking and refusal included."""
    message: Json = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.finish == "tool":
        message |= {"content": None, "tool_calls": [TOOL_CALL]}
    if not answer.thinking:
        return message
    if answer.thinking_as == "tags":
        message["content"] = f"<think>{answer.thinking}</think>{answer.text or ''}"
    elif answer.thinking_as == "parts":
        message["content"] = [thinking_part(answer.thinking), {"type": "text", "text": answer.text or ""}]
    else:
        message[answer.thinking_as] = answer.thinking
    return message


def thinking_part(text: str) -> Json:
    """Thinking as a content part, the form of Mistral's reasoning models."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def deltas(answer: Answer) -> list[Json]:
    """Return what the chunks of a stream add, one after the other."""
    if answer.finish == "tool":
        return [{"tool_calls": [{"index": 0, **TOOL_CALL}]}]
    text: list[Json] = [{"content": piece} for piece in pieces(answer.text or "")]
    if not answer.thinking:
        return text
    if answer.thinking_as == "tags":
        return [{"content": piece} for piece in pieces(f"<think>{answer.thinking}</think>")] + text
    if answer.thinking_as == "parts":
        return [{"content": [thinking_part(piece)]} for piece in pieces(answer.thinking)] + text
    thinking: list[Json] = [{answer.thinking_as: piece} for piece in pieces(answer.thinking)]
    return thinking + text


def usage(told: Told) -> dict[str, Any]:
    """Return the token counts, in this wire's names."""
    count = told.usage
    return {
        "prompt_tokens": count.input,
        "completion_tokens": count.output,
        "total_tokens": count.input + count.output,
        "prompt_tokens_details": {"cached_tokens": count.cached},
        "completion_tokens_details": {"reasoning_tokens": count.thinking},
    }
